"""The joining report: what would happen if this cloud became a site. Reads only; the first step of every join.

Nothing here raises for a site that fails: that is a finding. Only the hub's silence does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from cascade.model.caller import Caller
from cascade.model.errors import BadReply, NativeFault, SiteError
from cascade.model.reply import Reply
from cascade.model.site import HUB, Site
from cascade.reconcile import conflicts
from cascade.reconcile.findings import Findings, judge_window
from cascade.reconcile.pages import everything
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.sites.versions import Window, parse

Report = dict[str, Any]
Doc = dict[str, Any]

DEADLINE = 15.0
"""Seconds for each single question."""
SKEW = 30.0
"""Seconds a site's clock may be off before the report says so."""
_SERVICES = {"identity": True, "compute": True, "network": True, "image": True, "volume": False}
"""Service -> whether a site cannot be one without it."""
_RIGHTS: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    ("projects of every domain", "identity", "/v3/projects", {"limit": "1"}),
    ("users of every domain", "identity", "/v3/users", {"limit": "1"}),
    ("servers of every project", "compute", "/servers", {"all_tenants": "1", "limit": "1"}),
    ("hypervisors", "compute", "/os-hypervisors", {}),
    ("volume services", "volume", "/os-services", {}),
)
"""What only an administrator may read: the account of a *full* site can do all of it."""
_FLAVORS = "2.61"


class Joining:
    """Asks a candidate and the hub; ``report`` says what was found, in words and in data."""

    def __init__(self, south: South, sites: Sites) -> None:
        self._south, self._sites = south, sites

    async def report(
        self, site: Site, *, caller: Caller, cloud_windows: Mapping[str, Window], zones: Mapping[str, str], lower: bool
    ) -> Report:
        """``cloud_windows``: what the cloud offers now. ``zones``: north zone -> site, now. ``lower``: the operator
        consents to a smaller window. ``ok`` in the report says whether the site may join. Raises SiteError of the hub.
        """
        with self._sites.trial(site) as name:
            self._south.forget(name)  # its entry of clouds.yaml may just have been corrected
            return await self._report(site, name, caller, cloud_windows, zones, lower)

    async def _report(
        self, site: Site, name: str, caller: Caller, cloud: Mapping[str, Window], zones: Mapping[str, str], lower: bool
    ) -> Report:
        out = Findings(name, site.name)
        services = await self._services(name, out)
        reached = all(services[s]["ok"] for s, needed in _SERVICES.items() if needed)
        report: Report = {"site": site.name, "cloud": site.cloud, "identity": site.identity, "reachable": reached}
        report["services"] = services
        report["windows"] = [conflicts.window(s, services[s].get("window"), cloud[s]) for s in ("compute", "volume")]
        for w in report["windows"]:
            judge_window(w, lower, out)
        if mine := self._south.base_urls(name).get("compute"):
            for other in (HUB, *(s.name for s in self._sites.all())):
                if other != site.name and self._south.base_urls(other).get("compute") == mine:
                    out.stop("twice", f"This cloud is {other} already: its compute endpoint is the same.")
        if reached:
            account, network, kinds, where = await asyncio.gather(
                self._account(site, name, caller, out), self._network(site, name, out), self._kinds(name, out),
                self._zones(site, name, zones, out),
            )  # fmt: skip
            report |= {"account": account, "network": network, **kinds, "zones": where}
        report["findings"] = out.rows
        report["ok"] = out.may_join
        return report

    # -- one part after another ------------------------------------------------------------------------------------

    async def _services(self, name: str, out: Findings) -> Doc:
        """Identity first: every other question needs the account's login, and one refusal is to be said once."""
        identity = await self._root(name, "identity", out)
        if not identity["ok"]:
            out.stop("unreachable", f"The account cannot log in: {identity['error']}")
            nothing: Doc = {"ok": False, "error": "not asked, as there is no login"}
            return {s: identity if s == "identity" else nothing for s in _SERVICES}
        rest = [s for s in _SERVICES if s != "identity"]
        asked = await asyncio.gather(*(self._root(name, s, out) for s in rest))
        found = {"identity": identity, **dict(zip(rest, asked, strict=True))}
        for service, doc in found.items():
            if doc["ok"]:
                if abs(doc.get("skew", 0)) > SKEW:
                    out.warn("clock", f"The clock of {service} is {doc['skew']:+.0f} s away from ours.")
            elif _SERVICES[service]:
                out.stop("unreachable", f"{service} does not answer: {doc['error']}")
            else:
                out.warn("no-service", f"No {service} service could be reached ({doc['error']}).")
        return found

    async def _root(self, name: str, service: str, out: Findings) -> Doc:
        """Is it there, and in which versions."""
        try:
            if service == "identity":
                reply = await self._south.call(name, service, "GET", "/v3", timeout=DEADLINE)
            else:
                reply = await self._south.anonymous(name, service, "GET", "/", headers={}, rooted=True, timeout=DEADLINE)
            if reply.status >= 400:
                raise BadReply(name, f"its root answered {reply.status}")
            doc: Doc = {"ok": True}
            if service in ("compute", "volume"):
                doc["window"] = window_of(reply)
            if service == "compute":
                doc["release"] = conflicts.release(doc["window"][1])
            if (skew := _skew(reply)) is not None:
                doc["skew"] = round(skew, 1)
            return doc
        except SiteError as e:
            return {"ok": False, "error": out.plain(str(e))}

    async def _account(self, site: Site, name: str, caller: Caller, out: Findings) -> Doc:
        async def may(service: str, path: str, params: Mapping[str, str]) -> str:
            try:
                reply = await self._south.call(name, service, "GET", path, params=params, timeout=DEADLINE)
            except SiteError as e:
                return f"failed: {e}"
            return "yes" if reply.ok else "no" if reply.status in (401, 403) else f"failed: status {reply.status}"

        asked = [r for r in _RIGHTS if site.identity == "mapped" or r[1] != "identity"]
        answers = await asyncio.gather(*(may(service, path, params) for _, service, path, params in asked))
        rights = {what: answer for (what, *_), answer in zip(asked, answers, strict=True)}
        grade = "full" if all(a == "yes" for w, a in rights.items() if w != "volume services") else "guest"
        if grade == "guest":
            lacking = ", ".join(w for w, a in rights.items() if a != "yes")
            out.stop("account", f"The account may not read: {lacking}. Only sites where it is an administrator are supported.")
        await self._same_keystone(site, name, caller, out)
        return {"grade": grade, "rights": rights}

    async def _same_keystone(self, site: Site, name: str, caller: Caller, out: Findings) -> None:
        """A site said to have its own Keystone must have it, a shared one must trust the hub's."""
        try:
            if site.identity == "shared":
                reply = await self._south.call(name, "compute", "GET", "/limits", as_=caller, timeout=DEADLINE)
                if reply.status == 401:
                    out.stop("identity", "The site's Nova does not accept a token of the hub's Keystone: it is not a shared site.")
            elif caller.project_id is not None:
                reply = await self._south.call(name, "identity", "GET", f"/v3/projects/{caller.project_id}", timeout=DEADLINE)
                if reply.ok:
                    out.stop("identity", "The site's Keystone knows the hub's projects: it is the hub's own. Join it as shared.")
        except SiteError as e:
            out.stop("identity", f"Identity could not be proven: {e}")

    async def _network(self, site: Site, name: str, out: Findings) -> Doc:
        hub, there, agents, externals = await asyncio.gather(
            self._rows(HUB, "network", "/v2.0/extensions", "extensions"),
            self._rows(name, "network", "/v2.0/extensions", "extensions", out),
            self._rows(name, "network", "/v2.0/agents", "agents", out),
            self._rows(name, "network", "/v2.0/networks", "networks", out, params={"router:external": "true"}),
        )
        lacking = sorted({e["alias"] for e in hub} - {e["alias"] for e in there})
        if lacking:
            out.note("extensions", f"Neutron at the site lacks {len(lacking)} of the hub's extensions: {', '.join(lacking)}.")
        physnets = sorted({p for a in agents for p in _physnets(a)})
        wan, wanted = site.options.get("wan_physnet", "wan"), site.options.get("external_network")
        if physnets and wan not in physnets:
            out.stop("wan-physnet", f"No agent there has the physical network {wan!r}, on which networks are made; set wan_physnet "
                                    f"to one of {_list(physnets)}.")  # fmt: skip
        elif not physnets:
            out.note("wan-physnet", f"No agent says which physical networks it has; {wan!r} is taken on trust (wan_physnet).")
        names = sorted(str(n["name"]) for n in externals)
        if wanted is not None and not any(wanted in (n["id"], n["name"]) for n in externals):
            out.warn("external-network", f"External network {wanted!r} is not there; the site has {_list(names)}.")
        elif not externals:
            out.warn("external-network", "There is no external network: no router gateways and floating IPs at this site.")
        elif wanted is None and len(externals) > 1:
            out.note("external-network", f"The external networks are {_list(names)}; set external_network to say which one serves.")
        return {"extensions_lacking": lacking, "physical_networks": physnets, "external_networks": names}

    async def _kinds(self, name: str, out: Findings) -> Doc:
        """Flavors and volume types: what bears the same name or id at both."""
        every = {"is_public": "none"}
        hub_flavors, flavors, hub_types, types = await asyncio.gather(
            self._rows(HUB, "compute", "/flavors/detail", "flavors", params=every, version=_FLAVORS),
            self._rows(name, "compute", "/flavors/detail", "flavors", out, params=every, version=_FLAVORS),
            self._rows(HUB, "volume", "/types", "volume_types", params={"is_public": "none"}),
            self._rows(name, "volume", "/types", "volume_types", out, params={"is_public": "none"}),
        )
        found = conflicts.flavors(hub_flavors, flavors)
        for row in found["conflicts"]:
            if "differs" in row:
                fields = ", ".join(f"{k} {v['site']} instead of {v['hub']}" for k, v in row["differs"].items())
                out.warn("flavor", f"Flavor {row['id']} ({row['name']}) cannot be used there, its shape differs: {fields}.")
            else:
                out.note("flavor", f"The flavor name {row['name']} is taken at the site; the copy gets a private name.")
        return {"flavors": found, "volume_types": conflicts.volume_types(hub_types, types)}

    async def _zones(self, site: Site, name: str, others: Mapping[str, str], out: Findings) -> Doc:
        rows = await self._rows(name, "compute", "/os-availability-zone", "availabilityZoneInfo", out)
        found = conflicts.zones(site, {r["zoneName"] for r in rows}, others)
        for clash in found["clashes"]:
            out.stop("zone", f"Its zone {clash['zone']} would be shown as {clash['north']}, which is {clash['site']}'s already. "
                             f"Give it another name (zones: {clash['zone']}=...).")  # fmt: skip
        if not found["north"]:
            out.warn("zone", "The site shows no availability zone: it has no compute host yet.")
        elif not found["default_found"]:
            out.warn("zone", f"It has no zone {found['default']!r}; set default_zone to one of {_list(sorted(found['north']))}.")
        return found

    async def _rows(
        self,
        target: str,
        service: str,
        path: str,
        key: str,
        out: Findings | None = None,
        *,
        params: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> list[Doc]:
        """A whole list. With ``out`` a failure is a finding and the list is empty; without, it is raised."""
        try:
            if key in ("flavors",):
                pairs = list((params or {}).items())
                return await everything(self._south, target, service, path, key, params=pairs, version=version)
            reply = await self._south.call(target, service, "GET", path, params=params, version=version, timeout=DEADLINE)
            rows: list[Doc] = reply.expect(200).json()[key]
            return rows
        except (SiteError, NativeFault) as e:
            if out is None:
                raise
            out.warn("unread", f"{service} {path} could not be read: {e}")
            return []


def window_of(reply: Reply) -> Window:
    """The microversions of a Nova or Cinder root document. Raises BadReply where it names none."""
    doc = reply.json()
    rows = doc.get("versions", ()) if isinstance(doc, dict) else ()
    found = [(r["min_version"], r["version"]) for r in rows if r.get("version") and r.get("min_version")]
    if not found:
        raise BadReply(reply.target, "its version document names no microversions")
    try:
        return max(found, key=lambda w: parse(w[1]))
    except ValueError as e:
        raise BadReply(reply.target, f"its version document: {e}") from e


def _skew(reply: Reply) -> float | None:
    date = reply.headers.get("date")
    try:
        return parsedate_to_datetime(date).timestamp() - time.time() if date else None
    except ValueError:
        return None


def _physnets(agent: Doc) -> list[str]:
    """Of an OVS or OVN agent: ``bridge_mappings`` is an object or ``a:br-a,b:br-b``."""
    configured = agent.get("configurations") or {}
    mappings = configured.get("bridge_mappings") or configured.get("bridge-mappings") or {}
    if isinstance(mappings, dict):
        return list(mappings)
    return [m.partition(":")[0] for m in str(mappings).split(",") if m]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
