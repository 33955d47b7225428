"""Acting at a mapped site for a north caller, with exactly the roles of his token (R5.1), as the site understands them.

Roles belong to the token, not to the user: the shadow user has the union of all sets seen. While that is just the
caller's set he signs in himself: services may exchange such a token, as Cinder does before it detaches a volume. Beside
other sets he holds an application credential per set, with just its roles.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import BadReply, Conflict, Fault, SiteTimeout
from cascade.model.reply import Reply
from cascade.sites.directory import Calls, Directory, PairRows
from cascade.sites.limits import Limits
from cascade.sites.registry import Sites
from cascade.sites.secrets import Secrets, roles_hash
from cascade.sites.tokens import Token, TokenCache
from cascade.store.roles import RoleSet

log = structlog.get_logger(__name__)

Key = tuple[str, str, str, tuple[str, ...]]
"""(site, north user, north project, sorted role names)."""
_TRIES = 4
_SECOND = 1.1


class RoleRows(Protocol):
    """``store.roles``."""

    async def get(self, site: str, user_id: str, project_id: str, roles: tuple[str, ...]) -> RoleSet | None: ...
    async def put(self, role_set: RoleSet) -> None: ...


class ShadowStore(Protocol):
    """As much of the store as this module needs."""

    @property
    def pairs(self) -> PairRows: ...
    @property
    def roles(self) -> RoleRows: ...


class _Gone(Exception):
    """The shadow project or user is not at the site any more."""


class Shadow:
    """Shadow projects, users and tokens of every mapped site. At a shared site all ids are the north ones."""

    def __init__(
        self,
        calls: Calls,
        sites: Sites,
        store: ShadowStore,
        *,
        master_key: bytes,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._calls, self._sites, self._store, self._limits, self._clock = calls, sites, store, limits, clock
        self._secrets = Secrets(master_key)
        self._directory = Directory(calls, sites, store.pairs, self._secrets)
        self._tokens: TokenCache[Key] = TokenCache(clock=clock)
        self._logins: dict[str, asyncio.Semaphore] = {}

    async def project(self, site: str, project_id: str) -> str:
        """The site's id of a hub project; made there if it is missing. Raises SiteError, Terminal."""
        if self._sites.get(site).identity == "shared":
            return project_id
        return await self._directory.project(site, project_id)

    async def user(self, site: str, caller: Caller) -> str:
        """The site's id of the caller's user; made there if it is missing."""
        if self._sites.get(site).identity == "shared":
            return caller.user_id
        return await self._directory.user(site, caller.user_id)

    async def token(self, site: str, caller: Caller) -> Token:
        """A token of the caller's shadow with the caller's roles, as far as the site has them.

        Raises Fault 403 for a caller without a project and for one of whose roles the site knows none; SiteError.
        """
        key = await self._key(site, caller)
        return await self._tokens.get(key, lambda: self._login(key))

    async def refused(self, site: str, caller: Caller, token: Token) -> None:
        """The site answered 401 to this token."""
        self._tokens.forget(await self._key(site, caller), token)

    def forget(self, site: str) -> None:
        """Drop all tokens of a site (removed, or its identity changed)."""
        self._tokens.forget_where(lambda key: key[0] == site)

    async def close(self) -> None:
        """End logins under way."""
        await self._tokens.close()

    async def _key(self, site: str, caller: Caller) -> Key:
        if caller.project_id is None:
            raise Fault(403, "This request needs a token with a project.")
        known = await self._directory.known_roles(site, caller.roles)
        if not known:
            raise Fault(403, "None of the roles of this token is known in the availability zone.")
        return site, caller.user_id, caller.project_id, tuple(sorted(known))

    async def _login(self, key: Key) -> Token:
        site = key[0]
        gate = self._logins.setdefault(site, asyncio.Semaphore(self._limits.logins))
        try:
            # Waiting for one's turn is bounded by each caller's own deadline: after a restart the queue is long.
            async with gate, asyncio.timeout(self._limits.login):
                try:
                    return await self._try(key)
                except _Gone:
                    await self._directory.forget_missing(site, key[2], key[1])
                    return await self._try(key)
        except _Gone as e:
            raise BadReply(site, "the shadow account cannot be made") from e
        except TimeoutError as e:
            raise SiteTimeout(site, "no token for the caller within the deadline") from e

    async def _try(self, key: Key) -> Token:
        """Sign in as the user, else with the role set's credential; make it, or its next version, where none works."""
        site, user_id, project_id, roles = key
        project = await self._directory.project(site, project_id)
        user = await self._directory.user(site, user_id)
        known = await self._store.roles.get(site, user_id, project_id, roles)
        if known is None and (token := await self._himself(key, project, user)) is not None:
            return token
        version = known.version if known is not None else 1
        credential = known.app_cred_id if known is not None else None
        for _ in range(_TRIES):
            if credential is None:
                credential = await self._make_credential(key, project, user, version)
                with contextlib.suppress(Conflict):  # another gateway put the same: one name, one credential
                    made = RoleSet(
                        site=site, user_id=user_id, project_id=project_id, roles=roles, app_cred_id=credential, version=version
                    )  # fmt: skip
                    await self._store.roles.put(made)
            secret = self._secrets.credential(site, user_id, project_id, roles, version)
            method = {"methods": ["application_credential"], "application_credential": {"id": credential, "secret": secret}}
            reply = await self._authenticate(site, {"identity": method})
            if reply.status == 201:
                token, granted = self._token(site, reply)
                if await self._exact(key, granted) and token.project_id == project:
                    return token
                log.warning("a token with other roles than asked for is not used", site=site, asked=roles, got=sorted(granted))
            elif reply.status in (401, 404):
                log.info("application credential is not valid any more; making the next", site=site, version=version)
            else:
                raise BadReply(site, f"login of a shadow user answered {reply.status}")
            await self._delete_credential(site, user, credential)
            credential, version = None, version + 1
        raise BadReply(site, f"no application credential with roles {list(roles)} works as soon as it is made")

    async def _himself(self, key: Key, project: str, user: str) -> Token | None:
        """The shadow user's own token, if its roles are the caller's. Raises _Gone."""
        site, user_id, _project_id, roles = key
        with contextlib.suppress(_Gone):  # no role in the project yet: what else is missing is seen by the grant
            token, granted = await self._password_token(site, user_id, user, project)
            if granted >= set(roles):
                return token if await self._exact(key, granted) else None
        await self._grant(key, project, user)
        token, granted = await self._password_token(site, user_id, user, project)
        return token if await self._exact(key, granted) else None

    async def _exact(self, key: Key, granted: set[str]) -> bool:
        """The site's own implied roles come with any token there; anything beyond them is not the caller's."""
        site, _user, _project, roles = key
        return granted >= set(roles) and not granted - await self._directory.implied(site, roles)

    async def _grant(self, key: Key, project: str, user: str) -> dict[str, str]:
        """The shadow user has the caller's roles too: name -> the site's id. Raises _Gone."""
        site, _user, _project, roles = key
        ids = await self._directory.known_roles(site, roles)
        if set(ids) != set(roles) or not await self._directory.grant(site, project, user, ids.values()):
            raise _Gone
        return dict(ids)

    async def _make_credential(self, key: Key, project: str, user: str, version: int) -> str:
        """An application credential with exactly these roles; an equal one made before (its name says so) is used again."""
        site, user_id, project_id, roles = key
        ids = await self._grant(key, project, user)
        name = f"cascade-{project_id}-{roles_hash(roles)}-v{version}"
        path = f"/v3/users/{user}/application_credentials"
        body = {
            "name": name, "description": ", ".join(roles), "roles": [{"id": i} for i in ids.values()], "unrestricted": False,
            "secret": self._secrets.credential(site, user_id, project_id, roles, version),
        }  # fmt: skip
        for pause in (0.0, _SECOND):
            # Keystone revokes what was issued in or before the very second in which a password changed or a role was
            # taken away: a fresh token may be dead already, and one of the next second lives.
            await asyncio.sleep(pause)
            headers = {"x-auth-token": (await self._password_token(site, user_id, user, project))[0].value}
            reply = await self._calls.anonymous(
                site, "identity", "POST", path, headers=headers, json={"application_credential": body}
            )
            if reply.status != 401:
                break
        if reply.status == 201:
            return str(reply.json()["application_credential"]["id"])
        if reply.status == 409:
            found = await self._calls.anonymous(site, "identity", "GET", path, headers=headers, params=[("name", name)])
            for row in found.expect(200).json()["application_credentials"]:
                if row["name"] == name:  # what it really holds is seen in its token
                    return str(row["id"])
        raise BadReply(site, f"application credential refused: {reply.status} {reply.body[:200]!r}")

    async def _password_token(self, site: str, user_id: str, user: str, project: str) -> tuple[Token, set[str]]:
        who = {"id": user, "password": self._secrets.password(site, user_id)}
        identity = {"methods": ["password"], "password": {"user": who}}
        scope = {"project": {"id": project}}
        reply = await self._authenticate(site, {"identity": identity, "scope": scope})
        if reply.status == 401:  # the master key was changed, or somebody at the site set another password
            if not await self._directory.reset_password(site, user_id, user):
                raise _Gone
            await asyncio.sleep(_SECOND)
            reply = await self._authenticate(site, {"identity": identity, "scope": scope})
        if reply.status in (401, 404):
            raise _Gone
        if reply.status != 201:
            raise BadReply(site, f"login of a shadow user answered {reply.status}")
        return self._token(site, reply)

    async def _delete_credential(self, site: str, user: str, credential: str) -> None:
        """By the site's account; that it is gone already is the usual case."""
        reply = await self._calls.call(site, "identity", "DELETE", f"/v3/users/{user}/application_credentials/{credential}")
        if reply.status not in (204, 404):
            log.warning("old application credential stays", site=site, status=reply.status)

    async def _authenticate(self, site: str, auth: dict[str, Any]) -> Reply:
        return await self._calls.anonymous(
            site, "identity", "POST", "/v3/auth/tokens", headers={}, json={"auth": auth}, params=[("nocatalog", "1")], again=True
        )

    def _token(self, site: str, reply: Reply) -> tuple[Token, set[str]]:
        """The token of an answer, and its role names. Its life is counted by our clock: the site's may be skewed."""
        try:
            doc = reply.json()["token"]
            life = _time(doc["expires_at"]) - _time(doc["issued_at"])
            now = self._clock()
            token = Token(
                value=reply.headers["x-subject-token"], issued_at=now, expires_at=now + life,
                project_id=doc["project"]["id"], user_id=doc["user"]["id"],
            )  # fmt: skip
            return token, {r["name"] for r in doc["roles"]}
        except (KeyError, TypeError, ValueError) as e:
            raise BadReply(site, f"not a token document: {e!r}") from e


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
