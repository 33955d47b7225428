"""What Cascade keeps in a mapped site's Keystone: one domain, a project per hub project, a user per hub user.

Everything is found by name in our own domain, so it is made once whoever races and found again after the database
was lost; the stamp in ``description`` says whose it is. Written by the site's service account, at fixed paths only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cascade.model.caller import Caller
from cascade.model.errors import BadReply, Conflict, Fault, Terminal
from cascade.model.reply import Reply
from cascade.sites.registry import Sites
from cascade.sites.secrets import Secrets
from cascade.sites.tokens import Flights
from cascade.store.pairs import Pair

ROLES_FOR = 300.0
"""Seconds a site's list of role names is believed; a name it lacks asks again after ``ROLES_AGAIN``."""
ROLES_AGAIN = 30.0
OPTIONS = (
    "ignore_password_expiry", "ignore_lockout_failure_attempts", "ignore_change_password_upon_first_use",
    "ignore_user_inactivity",
)  # fmt: skip
"""Without them PCI-style sites lock every shadow user out in time (R5.5)."""


class PairRows(Protocol):
    """``store.pairs``."""

    async def get(self, kind: str, hub_id: str, site: str) -> Pair | None: ...
    async def put(self, pair: Pair) -> None: ...
    async def drop(self, kind: str, hub_id: str, site: str) -> None: ...


class Calls(Protocol):
    """The part of South that identity work uses."""

    async def call(
        self, target: str, service: str, method: str, path: str, *, as_: Caller | None = None, json: Any = None,
        params: Sequence[tuple[str, str]] | Mapping[str, str] | None = None,
    ) -> Reply: ...  # fmt: skip

    async def anonymous(
        self, target: str, service: str, method: str, path: str, *, headers: Mapping[str, str], json: Any = None,
        params: Sequence[tuple[str, str]] | Mapping[str, str] | None = None, again: bool = False,
    ) -> Reply: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class _SiteRoles:
    asked: float
    ids: Mapping[str, str]
    implies: Mapping[str, set[str]]


class Directory:
    """Idempotent: every method may be repeated and raced."""

    def __init__(
        self, calls: Calls, sites: Sites, pairs: PairRows, secrets: Secrets, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls, self._sites, self._pairs, self._secrets, self._clock = calls, sites, pairs, secrets, clock
        self._domains: dict[str, str] = {}
        self._roles: dict[str, _SiteRoles] = {}
        self._flights: Flights[tuple[str, str, str], str] = Flights()

    async def project(self, site: str, hub_id: str) -> str:
        """The site's id of a hub project, made if need be."""
        pair = await self._pairs.get("project", hub_id, site)
        if pair is not None:
            return pair.site_id
        return await self._flights.do(("project", hub_id, site), lambda: self._make(site, "project", hub_id, {}))

    async def user(self, site: str, hub_id: str) -> str:
        """The site's id of a hub user, made if need be."""
        pair = await self._pairs.get("user", hub_id, site)
        if pair is not None:
            return pair.site_id
        body = {"password": self._secrets.password(site, hub_id), "options": dict.fromkeys(OPTIONS, True)}
        return await self._flights.do(("user", hub_id, site), lambda: self._make(site, "user", hub_id, body))

    async def known_roles(self, site: str, wanted: Iterable[str]) -> dict[str, str]:
        """Those of the role names that exist at the site, with their ids there."""
        names = set(wanted)
        known = await self._site_roles(site, names)
        return {n: i for n, i in known.ids.items() if n in names}

    async def implied(self, site: str, roles: Iterable[str]) -> set[str]:
        """The roles and all that they imply by the site's own rules: its Keystone puts these into every token."""
        known, out, todo = await self._site_roles(site, set()), set[str](), list(roles)
        while todo:
            role = todo.pop()
            if role not in out:
                out.add(role)
                todo.extend(known.implies.get(role, ()))
        return out

    async def _site_roles(self, site: str, names: set[str]) -> _SiteRoles:
        kept, now = self._roles.get(site), self._clock()
        age = now - kept.asked if kept else ROLES_FOR
        if kept is None or age >= ROLES_FOR or (age >= ROLES_AGAIN and names - kept.ids.keys()):
            rows = _rows((await self._calls.call(site, "identity", "GET", "/v3/roles")).expect(200), "roles")
            rules = _rows((await self._calls.call(site, "identity", "GET", "/v3/role_inferences")).expect(200), "role_inferences")
            implies = {r["prior_role"]["name"]: {i["name"] for i in r["implies"]} for r in rules}
            kept = self._roles[site] = _SiteRoles(now, {r["name"]: r["id"] for r in rows}, implies)
        return kept

    async def grant(self, site: str, project: str, user: str, roles: Iterable[str]) -> bool:
        """Assign role ids (all of them site ids); False where the project or the user is not there any more."""
        for role in roles:
            path = f"/v3/projects/{project}/users/{user}/roles/{role}"
            reply = await self._calls.call(site, "identity", "PUT", path)
            if reply.status == 404:
                self._roles.pop(site, None)
                return False
            reply.expect(204)
        return True

    async def reset_password(self, site: str, hub_id: str, user: str) -> bool:
        """Set the derived password; False where the user is gone. Raises Fault 403 where the site's owner disabled him."""
        reply = await self._calls.call(site, "identity", "GET", f"/v3/users/{user}")
        if reply.status == 404:
            return False
        if not reply.expect(200).json()["user"].get("enabled", True):
            raise Fault(403, "The account in this availability zone is disabled.")
        body = {"user": {"password": self._secrets.password(site, hub_id)}}
        (await self._calls.call(site, "identity", "PATCH", f"/v3/users/{user}", json=body)).expect(200)
        return True

    async def forget_missing(self, site: str, project: str, user: str) -> None:
        """Ask after both and drop the pairs of what the site says it has no more; their successors are made at next use."""
        for kind, hub_id in (("project", project), ("user", user)):
            pair = await self._pairs.get(kind, hub_id, site)
            if pair is None:
                continue
            reply = await self._calls.call(site, "identity", "GET", f"/v3/{kind}s/{pair.site_id}")
            if reply.status == 404:
                await self._pairs.drop(kind, hub_id, site)
                self._domains.pop(site, None)
            else:
                reply.expect(200)

    async def _make(self, site: str, kind: str, hub_id: str, extra: Mapping[str, Any]) -> str:
        stamp = f"cascade:{hub_id}"
        domain = await self._domain(site)
        body = {"name": hub_id, "domain_id": domain, "description": stamp, "enabled": True, **extra}
        reply = await self._calls.call(site, "identity", "POST", f"/v3/{kind}s", json={kind: body})
        if reply.status == 400 and "options" in body:  # an older Keystone that does not know them all
            del body["options"]
            reply = await self._calls.call(site, "identity", "POST", f"/v3/{kind}s", json={kind: body})
        if reply.status == 409:
            where = [("name", hub_id), ("domain_id", domain)]
            found = await self._calls.call(site, "identity", "GET", f"/v3/{kind}s", params=where)
            row = next(iter(_rows(found.expect(200), f"{kind}s")), None)
            if row is None:
                raise BadReply(site, f"{kind} {hub_id} exists and cannot be found")
            if row.get("description") != stamp:
                raise Terminal(f"{site}: {kind} {hub_id} in Cascade's domain was not made by Cascade")
        else:
            if reply.status == 404:  # the domain went away under us
                self._domains.pop(site, None)
            row = reply.expect(201).json()[kind]
        site_id = str(row["id"])
        owner = hub_id if kind == "project" else None
        pair = Pair(kind=kind, hub_id=hub_id, site=site, site_id=site_id, project_id=owner)
        try:
            await self._pairs.put(pair)
        except Conflict:  # a row of what stood here before; names are unique, so what the site says now is right
            await self._pairs.drop(kind, hub_id, site)
            await self._pairs.put(pair)
        return site_id

    async def _domain(self, site: str) -> str:
        if site not in self._domains:
            name = self._sites.get(site).options.get("domain", "cascade")
            self._domains[site] = await self._flights.do(("domain", name, site), lambda: self._make_domain(site, name))
        return self._domains[site]

    async def _make_domain(self, site: str, name: str) -> str:
        for _ in range(2):
            found = await self._calls.call(site, "identity", "GET", "/v3/domains", params=[("name", name)])
            for row in _rows(found.expect(200), "domains"):
                return str(row["id"])
            body = {"domain": {"name": name, "description": "Projects and users of Cascade", "enabled": True}}
            made = await self._calls.call(site, "identity", "POST", "/v3/domains", json=body)
            if made.status != 409:
                return str(made.expect(201).json()["domain"]["id"])
        raise BadReply(site, f"domain {name} exists and cannot be found")


def _rows(reply: Reply, key: str) -> list[dict[str, Any]]:
    doc = reply.json()
    if not isinstance(doc, dict) or not isinstance(doc.get(key), list):
        raise BadReply(reply.target, f"no {key} in the answer")
    rows: list[dict[str, Any]] = doc[key]
    return rows
