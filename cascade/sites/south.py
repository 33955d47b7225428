"""South: one way to call any service of the hub or a site, as the service account or as a north caller."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec

from cascade.model.caller import Caller
from cascade.model.errors import BadReply, SiteLost, SiteRefused, SiteTimeout, SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.sites import versions
from cascade.sites.buildrequest import Seals
from cascade.sites.clouds import Clouds, Place
from cascade.sites.grants import Grants
from cascade.sites.limits import Limits
from cascade.sites.owntime import LONGEST
from cascade.sites.registry import Sites
from cascade.sites.shadow import Shadow, ShadowStore
from cascade.sites.transport import StreamReply, Transport
from cascade.sites.tunnel import Tunnels
from cascade.sites.wire import Params

T = TypeVar("T")
_VERSION_TAIL = re.compile(r"/v\d+(\.\d+)?(/.*)?$")
_VERSIONED = {"compute": "/v2.1", "volume": "/v3"}
"""Services whose paths are relative to a version root; all others' begin with their version, or have none."""


@dataclass(frozen=True, slots=True)
class _Actor:
    """Whose token a call carries. ``refuse`` is None for a token that is not of our making."""

    token: str
    project_id: str | None
    refuse: Callable[[], Awaitable[None]] | None = None


class South:
    """Everything southbound. ``start`` begins health probes; ``close`` ends everything."""

    def __init__(
        self,
        sites: Sites,
        clouds: Clouds,
        store: ShadowStore,
        *,
        master_key: bytes,
        limits: Limits | None = None,
        hub: str = HUB,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``hub`` is the entry of clouds.yaml with the service account at the hub."""
        self._sites, self._clouds, self._hub = sites, clouds, hub
        self._limits = limits or sites.limits
        self._transport = Transport(self._limits, sites.health)
        sites.health.on_silence.append(self._doubt)
        self._tunnels = Tunnels(self._limits)
        self.grants = Grants(master_key)
        self.seals = Seals(master_key)
        self.shadow = Shadow(self, sites, store, master_key=master_key, limits=self._limits, clock=clock)

    def start(self) -> None:
        """Begin to probe."""
        self._sites.health.start(self.probe)

    def waiting(self) -> dict[str, int]:
        """Calls that wait for their turn, by target."""
        return self._transport.waiting()

    async def close(self) -> None:
        """Stop probing, end logins, close connections."""
        await self._sites.health.close()
        await self.shadow.close()
        await self._clouds.close()
        await self._transport.close()
        await self._tunnels.close()

    async def call(
        self,
        target: str,
        service: str,
        method: str,
        path: str,
        *,
        as_: Caller | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        timeout: float | None = None,
        version: str | None = None,
        again: bool = False,
    ) -> Reply:
        """One call, as the target's service account or (``as_``) as a north caller with exactly his roles.

        ``path`` is relative to the service's version root (compute, volume) or begins with the version (others).
        ``timeout`` (seconds; default ``Limits.call``) bounds everything, making a token included. Any HTTP status is
        an answer. A 401 to a token we made is tried once more with a fresh one. ``again``: so is, at once, what found its
        connection refused or lost it: for a call that many wait for, and that may be carried out twice.
        Raises SiteUnreachable (certainly not carried out), SiteTimeout (may have been), BadReply (too large), Fault 403 (no role
        known at the site).
        """
        async with _Deadline(target, self._limits.call if timeout is None else timeout) as left:
            self._admit(target, service)
            sent, data = _content(headers, json, body)
            if version is not None:
                sent = {k: v for k, v in sent.items() if k not in ("openstack-api-version", "x-openstack-nova-api-version")}
                sent |= versions.headers(service, version)
            for last in (False, True):
                actor = await self._actor(target, as_)
                place = await self._place(target)
                url = _join(target, service, place, path, actor.project_id)
                reply = await (self._twice if again else self._transport.request)(
                    target, service, method, url, headers={**sent, "x-auth-token": actor.token}, params=params, body=data,
                    tls=place.tls, timeout=left(),
                )  # fmt: skip
                if reply.status != 401 or actor.refuse is None or last:
                    break
                await actor.refuse()
            return reply

    async def anonymous(
        self,
        target: str,
        service: str,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        json: Any = None,
        params: Params | None = None,
        body: bytes | None = None,
        rooted: bool = False,
        timeout: float | None = None,
        again: bool = False,
    ) -> Reply:
        """One call to which no token is added: ``headers`` may hold the caller's own X-Auth-Token.

        ``again``: as of ``call``. ``rooted``: the path is relative to the service's root, before any version.
        """
        async with _Deadline(target, self._limits.call if timeout is None else timeout) as left:
            self._admit(target, service)
            place = await self._place(target)
            url = service_root(_endpoint(target, service, place)) + path if rooted else _join(target, service, place, path, None)
            sent, data = _content(headers, json, body)
            return await (self._twice if again else self._transport.request)(
                target, service, method, url, headers=sent, params=params, body=data, tls=place.tls, timeout=left()
            )

    async def root(self, service: str, path: str = "/", *, headers: Mapping[str, str] | None = None, target: str = HUB) -> Reply:
        """GET a version document: no token, ``path`` relative to the service's root."""
        return await self.anonymous(target, service, "GET", path, headers=headers or {}, rooted=True)

    @asynccontextmanager
    async def stream(
        self,
        target: str,
        service: str,
        method: str,
        path: str,
        *,
        as_: Caller | None = None,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        data: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[StreamReply]:
        """One call whose bodies flow. A download is tried again once on 401; data sent cannot be sent twice."""
        async with _Deadline(target, self._limits.call):
            self._admit(target, service)
            actor, place = await self._actor(target, as_), await self._place(target)
        url = _join(target, service, place, path, actor.project_id)
        sent = {**_lower(headers), "x-auth-token": actor.token}
        async with self._transport.stream(
            target, service, method, url, headers=sent, params=params, data=data, tls=place.tls
        ) as first:
            if first.status != 401 or actor.refuse is None:
                yield first
                return
            await actor.refuse()
            if data is not None:
                yield first
                return
        sent["x-auth-token"] = (await self._actor(target, as_)).token
        async with self._transport.stream(target, service, method, url, headers=sent, params=params, tls=place.tls) as second:
            yield second

    @asynccontextmanager
    async def console_page(self, target: str, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A file from a site's console proxy. Raises SiteUnreachable."""
        place = await self._place(target)
        async with self._tunnels.page(target, url, place.tls) as response:
            yield response

    async def console_socket(
        self, target: str, url: str, *, origin: str | None, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """A websocket to a site's console proxy. Raises SiteUnreachable."""
        place = await self._place(target)
        return await self._tunnels.socket(target, url, place.tls, origin=origin, protocols=protocols)

    def base_urls(self, target: str) -> dict[str, str]:
        """Service -> its URL in the target's catalogue, for rewriting links; empty until the target was first reached."""
        place = self._clouds.known_place(self._cloud(target))
        return dict(place.endpoints) if place else {}

    async def offers(self, target: str, service: str) -> bool:
        """Whether the target's catalogue has such a service. Raises SiteError where it cannot be reached for the first time."""
        return service in (await self._place(target)).endpoints

    async def project_id(self, target: str, caller: Caller | None) -> str | None:
        """The project a call there acts in: the caller's own, his shadow project, or the service account's."""
        if caller is None:
            return (await self._clouds.token(self._cloud(target), target)).project_id
        if target == HUB or caller.project_id is None:
            return caller.project_id
        return await self.shadow.project(target, caller.project_id)

    async def probe(self, target: str, service: str) -> None:
        """Ask for the service's version document, and be able to sign in. Raises SiteError; used by the health monitor."""
        cloud = self._cloud(target)
        place = await self._clouds.place(cloud, target)
        if service == "identity":
            await self._clouds.token(cloud, target)
        if service not in place.endpoints:
            return
        reply = await self._transport.request(
            target, service, "GET", service_root(place.endpoints[service]) + "/", headers={"accept": "application/json"},
            tls=place.tls, timeout=self._limits.probe_deadline * LONGEST, probe=True,
        )  # fmt: skip
        if reply.status >= 500:
            raise BadReply(target, f"{service}: its version document answers {reply.status}")

    def _doubt(self, target: str) -> None:
        """It may be somewhere else by now. A site that has been removed meanwhile is nowhere."""
        with suppress(SiteUnreachable):
            self._clouds.doubt(self._cloud(target), target)

    async def _twice(self, *what: Any, timeout: float, **how: Any) -> Reply:
        """``Transport.request``, once more where it raises SiteRefused or SiteLost, within the same time."""
        begun = time.monotonic()
        try:
            return await self._transport.request(*what, timeout=timeout, **how)
        except (SiteRefused, SiteLost):
            return await self._transport.request(*what, timeout=timeout - (time.monotonic() - begun), **how)

    def forget(self, target: str) -> None:
        """Learn a target's endpoints and tokens anew: its row or its clouds.yaml entry was changed."""
        self._clouds.forget(self._cloud(target))
        self.shadow.forget(target)

    def _admit(self, target: str, service: str) -> None:
        """Refuse at once what the breaker would refuse later, before any login is tried."""
        if not self._sites.health.allows(target, service):
            raise SiteUnreachable(target, f"{service}: counts as down, not tried")

    def _cloud(self, target: str) -> str:
        return self._hub if target == HUB else self._sites.get(target).cloud

    async def _place(self, target: str) -> Place:
        place = self._clouds.known_place(self._cloud(target))
        if place is not None:
            return place
        return await self._reached(target, self._clouds.place(self._cloud(target), target))

    async def _actor(self, target: str, caller: Caller | None) -> _Actor:
        if caller is None:
            cloud = self._cloud(target)
            token = await self._reached(target, self._clouds.token(cloud, target))
            return _Actor(token.value, token.project_id, _refusal(lambda: self._clouds.refused(cloud, token)))
        if target == HUB or self._sites.get(target).identity == "shared":
            return _Actor(caller.token, caller.project_id)
        shadow = await self.shadow.token(target, caller)
        return _Actor(shadow.value, shadow.project_id, lambda: self.shadow.refused(target, caller, shadow))

    async def _reached(self, target: str, login: Awaitable[T]) -> T:
        """Report a login that found nobody there: without it a site dead from the start would never count as down."""
        try:
            return await login
        except SiteUnreachable as e:
            self._sites.health.failed(target, "identity", str(e))
            raise


def _refusal(forget: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        forget()

    return refuse


@lru_cache(maxsize=4096)
def service_root(url: str) -> str:
    """``http://h:8774/v2.1`` -> ``http://h:8774``; ``http://h/volume/v3/<project>`` -> ``http://h/volume``."""
    return _VERSION_TAIL.sub("", url.rstrip("/"))


def _endpoint(target: str, service: str, place: Place) -> str:
    try:
        return place.endpoints[service]
    except KeyError:
        raise SiteUnreachable(target, f"its catalogue has no {service} endpoint for the account's region and interface") from None


def _join(target: str, service: str, place: Place, path: str, project_id: str | None) -> str:
    root = service_root(_endpoint(target, service, place))
    version = _VERSIONED.get(service, "")
    project = f"/{project_id}" if service == "volume" and project_id else ""
    return f"{root}{version}{project}{path}"


def _content(headers: Mapping[str, str] | None, json: Any, body: bytes | None) -> tuple[dict[str, str], bytes | None]:
    sent = _lower(headers)
    sent.setdefault("accept", "application/json")
    if json is not None:
        sent["content-type"] = "application/json"
        return sent, msgspec.json.encode(json)
    return sent, body


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {k.lower(): v for k, v in (headers or {}).items()}


class _Deadline:
    """Bound a block; what it gives says how many seconds are left. A class, since a generator costs a call thrice as much."""

    __slots__ = ("_seconds", "_target", "_timeout")

    def __init__(self, target: str, seconds: float) -> None:
        self._target, self._seconds = target, seconds

    async def __aenter__(self) -> Callable[[], float]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        self._timeout = asyncio.timeout_at(end)
        await self._timeout.__aenter__()
        return lambda: max(0.001, end - loop.time())

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            error = TimeoutError()
        if isinstance(error, TimeoutError):
            raise SiteTimeout(self._target, f"no complete answer within {self._seconds:g} s") from None
