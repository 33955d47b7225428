"""The one HTTP client. Everything southbound passes here: deadline, size, concurrency, breaker, accounting.

What an error means to whoever wrote something: SiteUnreachable = it was certainly not carried out (no connection);
SiteTimeout = it may have been (deadline passed, or the connection was lost before the answer was complete).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from cascade import telemetry, tracing
from cascade.model.errors import BadReply, Fault, SiteBusy, SiteLost, SiteRefused, SiteTimeout, SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.trace import tenant
from cascade.sites.connector import Connector
from cascade.sites.health import Monitor
from cascade.sites.limits import Limits
from cascade.sites.turns import Full, Turns
from cascade.sites.wire import UNSENDABLE, Params, address, length, sent_headers

_GATEWAY = frozenset({502, 503, 504})
_READS = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class StreamReply:
    """An answer whose body has not been read. ``headers`` keys are lower-case."""

    target: str
    status: int
    headers: Mapping[str, str]
    _response: aiohttp.ClientResponse

    async def chunks(self, size: int = 1 << 18) -> AsyncIterator[bytes]:
        """The body in pieces of at most ``size`` bytes. Raises SiteTimeout where it breaks off."""
        try:
            async for chunk in self._response.content.iter_chunked(size):
                yield chunk
        except (TimeoutError, aiohttp.ClientError) as e:
            raise SiteTimeout(self.target, f"the stream broke off: {_words(e)}") from e

    async def read(self, limit: int = 1 << 20) -> bytes:
        """The body, at most ``limit`` bytes of it: for error answers."""
        out = bytearray()
        async for chunk in self.chunks():
            out += chunk
            if len(out) >= limit:
                break
        return bytes(out[:limit])


class _Lane:
    """What belongs to one target: its connections, its caps, its calls in flight that may be given up."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | bool) -> None:
        self.tls = tls
        self.calls = Turns(limits.concurrency, queue=limits.waiting, each=limits.waiting, patience=limits.patience)
        self.streams = asyncio.Semaphore(limits.streams)
        self.reading: set[asyncio.Timeout] = set()
        # Turns and semaphore count, not the connector: a probe must not queue behind the calls that hang.
        self.session = self._session(limits.connect, limits.fail_seconds)
        # To the kernel one who reads no further, as an image service does while it writes, is silent too.
        self.streaming = self._session(limits.connect, limits.stream_idle)

    def _session(self, seconds: float, silence: float) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=Connector(seconds, silence, limit=0, ssl=self.tls, keepalive_timeout=15, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=["Content-Type", "User-Agent", "Accept"],
            trust_env=False,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self.session.close()
        await self.streaming.close()


class Transport:
    """Stateless but for connections. Knows URLs and headers, no tokens and no catalogues."""

    def __init__(self, limits: Limits, monitor: Monitor) -> None:
        self._limits, self._monitor = limits, monitor
        self._lanes: dict[str, _Lane] = {}
        self._closing: set[asyncio.Task[None]] = set()
        monitor.on_down.append(self._give_up_reads)

    async def request(
        self,
        target: str,
        service: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Params | None = None,
        body: bytes | None = None,
        tls: ssl.SSLContext | bool = True,
        timeout: float | None = None,
        probe: bool = False,
    ) -> Reply:
        """One exchange, the whole answer in memory. Raises SiteUnreachable (SiteBusy too), SiteTimeout, BadReply.

        A probe neither waits for a free place nor heeds the breaker, and is not reported as traffic.
        """
        first = not probe and telemetry.asked(target)
        if not probe:
            if method not in _READS:
                await self._settled(target, service, self._limits.call if timeout is None else timeout)
            self._admit(target, service)
        lane = self._lane(target, tls)
        begun, outcome, result, remote = time.monotonic(), "error", "cancelled", ""
        slow = None if probe else asyncio.get_running_loop().call_later(
            self._limits.probe_deadline, self._monitor.poke, target, service
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._limits.call if timeout is None else timeout) as limit:
                if probe:
                    reply = await self._exchange(lane, target, method, url, headers, params, body)
                else:
                    reply = await self._in_turn(limit, lane, target, service, method, url, headers, params, body, sure=not first)
            outcome = f"{reply.status // 100}xx"
            result, remote = str(reply.status), _remote(reply.headers)
            return reply
        except BadReply:
            result = "bad answer"
            raise
        except (TimeoutError, aiohttp.ClientError) as e:
            error = self._failed(target, service, e, probe=probe)
            outcome = result = "timeout" if isinstance(error, SiteTimeout) else "error"
            raise error from e
        finally:
            if slow is not None:
                slow.cancel()
            if not probe and (span := tracing.current.get()) is not None:
                span.called(begun, target, service, method, urlsplit(url).path, result, remote)
            telemetry.south_seconds(target, service, outcome).observe(time.monotonic() - begun)

    @asynccontextmanager
    async def stream(
        self,
        target: str,
        service: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Params | None = None,
        data: AsyncIterator[bytes] | None = None,
        tls: ssl.SSLContext | bool = True,
    ) -> AsyncIterator[StreamReply]:
        """One exchange whose bodies flow: no overall deadline, but no silence longer than ``stream_idle``."""
        telemetry.asked(target)
        self._admit(target, service)
        lane = self._lane(target, tls)
        idle = self._limits.stream_idle
        timeout = aiohttp.ClientTimeout(total=None, sock_read=idle)
        sent = sent_headers(headers)
        if data is not None and (size := length(headers)) is not None:
            sent["Content-Length"] = str(size)
        try:
            async with asyncio.timeout(self._limits.call):
                await lane.streams.acquire()
        except TimeoutError:
            raise SiteTimeout(target, f"{service}: too many streams already") from None
        upload = None if data is None else _Upload(data, idle)
        begun, result, remote = time.monotonic(), "error", ""
        try:
            try:
                async with asyncio.timeout(idle) as limit:
                    response = await lane.streaming.request(
                        method, address(url, params), headers=sent, data=None if upload is None else upload.paced(limit),
                        allow_redirects=False, timeout=timeout,
                    )  # fmt: skip
            except (TimeoutError, aiohttp.ClientError) as e:
                if upload is not None and upload.broken is not None:  # what we were given broke, not the site
                    raise upload.broken from e
                raise self._failed(target, service, e, probe=False) from e
            except ValueError as e:
                raise Fault(400, UNSENDABLE) from e
            async with response:
                self._account(target, service, response.status)
                back = _lower(response)
                result, remote = str(response.status), _remote(back)
                yield StreamReply(target, response.status, back, response)
        finally:
            lane.streams.release()
            if (span := tracing.current.get()) is not None:
                span.called(begun, target, service, method, urlsplit(url).path, result, remote)

    def waiting(self) -> dict[str, int]:
        """Calls that wait for their turn, by target."""
        return {target: lane.calls.waiting for target, lane in self._lanes.items()}

    async def close(self) -> None:
        """Close every connection."""
        for lane in self._lanes.values():
            await lane.close()
        self._lanes.clear()

    def _lane(self, target: str, tls: ssl.SSLContext | bool) -> _Lane:
        lane = self._lanes.get(target)
        if lane is None or lane.tls is not tls:
            if lane is not None:  # the site's certificates changed: calls in flight may end first
                asyncio.get_running_loop().call_later(self._limits.call, self._retire, lane)
            lane = self._lanes[target] = _Lane(self._limits, tls)
        return lane

    def _retire(self, lane: _Lane) -> None:
        task = asyncio.get_running_loop().create_task(lane.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _admit(self, target: str, service: str) -> None:
        if not self._monitor.allows(target, service):
            raise SiteUnreachable(target, f"{service}: counts as down, not tried")

    async def _settled(self, target: str, service: str, seconds: float) -> None:
        """A write is not sent into a silence that probes are already looking into. Raises SiteUnreachable: not sent."""
        try:
            async with asyncio.timeout(seconds):
                await self._monitor.settle(target, service)
        except TimeoutError:
            raise SiteUnreachable(target, f"{service}: it is not clear whether it is there, not tried") from None

    def _account(self, target: str, service: str, status: int) -> None:
        if status in _GATEWAY:  # a proxy before a dead service says so too: neither life nor death is proven
            self._monitor.poke(target, service)
        else:
            self._monitor.answered(target, service)

    def _failed(self, target: str, service: str, e: BaseException, *, probe: bool) -> SiteUnreachable | SiteTimeout | BadReply:
        """The error tree's member for a failed exchange, reported to health where it says something about it."""
        words = f"{service}: {_words(e)}"
        if isinstance(e, aiohttp.InvalidURL | aiohttp.ClientResponseError):
            return BadReply(target, words)
        unconnected = isinstance(e, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        if isinstance(e, TimeoutError) and not unconnected:
            if not probe:  # a slow call proves nothing about the site: let a probe find out
                self._monitor.poke(target, service)
            return SiteTimeout(target, f"{service}: no complete answer within the deadline")
        if unconnected:
            if not probe:
                self._monitor.failed(target, service, words)
            refused = isinstance(e, aiohttp.ClientConnectorError) and isinstance(e.os_error, ConnectionError)
            return (SiteRefused if refused else SiteUnreachable)(target, words)
        if not probe:  # one request may have killed its worker, and must not shut the door for everybody: a probe decides
            self._monitor.poke(target, service)
        return SiteLost(target, f"{words} (connection lost before the answer was complete)")

    def _give_up_reads(self, target: str) -> None:
        """Reads in flight end when their site goes down; writes keep their deadline, they may yet be carried out."""
        lane = self._lanes.get(target)
        now = asyncio.get_running_loop().time()
        for limit in list(lane.reading) if lane else ():
            limit.reschedule(now)

    async def _in_turn(
        self,
        limit: asyncio.Timeout,
        lane: _Lane,
        target: str,
        service: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        params: Params | None,
        body: bytes | None,
        *,
        sure: bool,
    ) -> Reply:
        """``sure``: the request this belongs to was let in here before; to give it up halfway would be work for nothing."""
        if method in _READS:
            lane.reading.add(limit)
        who = tenant.get()
        try:
            begun = await lane.calls.acquire(who, sure=sure)
            try:
                self._admit(target, service)  # it may have gone down while we waited
                reply = await self._exchange(lane, target, method, url, headers, params, body)
            finally:
                lane.calls.release(who, begun)
        except Full as e:
            telemetry.SITE_REFUSED.labels(target, e.reason.value).inc()
            raise SiteBusy(target, f"{service}: {lane.calls.waiting} calls wait, not sent", e.after) from e
        finally:
            lane.reading.discard(limit)
        self._account(target, service, reply.status)
        return reply

    async def _exchange(
        self, lane: _Lane, target: str, method: str, url: str, headers: Mapping[str, str], params: Params | None, body: bytes | None
    ) -> Reply:
        try:
            pending = lane.session.request(
                method, address(url, params), headers=sent_headers(headers), data=body or None, allow_redirects=False
            )
            async with pending as response:
                return Reply(target, response.status, _lower(response), await self._body(target, response))
        except aiohttp.ClientError:
            raise
        except ValueError as e:
            raise Fault(400, UNSENDABLE) from e

    async def _body(self, target: str, response: aiohttp.ClientResponse) -> bytes:
        """All of it, of a bounded length. Raises BadReply."""
        limit = self._limits.reply_bytes
        if (response.content_length or limit + 1) <= limit and "Content-Encoding" not in response.headers:
            return await response.read()  # it is as long as it says
        out = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            out += chunk
            if len(out) > limit:
                response.close()
                raise BadReply(target, f"answer larger than {limit} bytes")
        return bytes(out)


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Lower-case names, repeated ones joined as RFC 9110 has it; cookies and transfer framing are dropped."""
    out: dict[str, str] = {}
    encoded = "Content-Encoding" in response.headers  # decoded already
    for name, value in response.headers.items():
        key = name.lower()
        if key in ("set-cookie", "transfer-encoding", "connection", "content-encoding") or (encoded and key == "content-length"):
            continue
        out[key] = f"{out[key]}, {value}" if key in out else value
    return out


class _Upload:
    """Data on its way south. ``broken`` is what its source raised, if it did."""

    def __init__(self, data: AsyncIterator[bytes], idle: float) -> None:
        self._data, self._idle = data, idle
        self.broken: Exception | None = None

    async def paced(self, limit: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The data as it comes, pushing the deadline on with each piece: a source or a site silent too long ends it."""
        loop = asyncio.get_running_loop()
        source = aiter(self._data)
        while True:
            try:
                chunk = await anext(source)
            except StopAsyncIteration:
                break
            except Exception as e:  # whatever it is, it belongs to the source's owner and is raised to him
                self.broken = e
                raise
            with contextlib.suppress(RuntimeError):  # the answer came before the data ended: no deadline any more
                limit.reschedule(loop.time() + self._idle)
            yield chunk
        with contextlib.suppress(RuntimeError):
            limit.reschedule(loop.time() + self._idle)


def _remote(headers: Mapping[str, str]) -> str:
    """The other side's own request id."""
    return headers.get("x-openstack-request-id") or headers.get("x-compute-request-id") or ""


def _words(e: BaseException) -> str:
    """An error for the log: never empty, and without what was sent."""
    return f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
