"""Clouds that misbehave on purpose: which requests suffer, how, and what is answered then.

A fault is a mode with options: ``slow:seconds=0.1..2,rate=0.3,service=compute``. The same seed draws the same numbers for a
cloud in every run; which request gets which of them depends on the order the requests come in.
"""

from __future__ import annotations

import asyncio
import fnmatch
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sim.faults import Refused, phrase

PATIENCE = 3600.0
"""Seconds a hung cloud keeps a connection, when nothing else was said."""
MODES = {
    "ok": "as it should be",
    "down": "the connection is dropped at once",
    "hang": "no answer for SECONDS, an hour by default",
    "slow": "an answer after SECONDS",
    "429": "told to come back after SECONDS",
    "500": "the service's own internal error",
    "502": "a proxy has lost the service",
    "503": "a proxy finds no service",
    "504": "a proxy waited too long; the request is carried out",
    "401": "the token is forgotten where it was made, and the request refused",
    "cut": "half of an answer, then the end of the connection; the request is carried out",
    "reset": "the same, but the connection is reset",
    "trickle": "the answer in small pieces over SECONDS",
    "twice": "the request is delivered twice, as by a proxy that tries again",
    "garbage": "200 and no JSON",
    "wrong-json": "the request is carried out; the answer is JSON that means nothing",
    "skew": "the clock is SECONDS ahead",
    "no-host": "servers end in ERROR",
    "slow-bits": "image data is taken in only after SECONDS, or when the mode changes",
    "no-bits": "image data is not taken in at all: 500",
}
"""What a fault may be, in one line."""
STANDING = ("skew", "no-host", "slow-bits", "no-bits")
"""A state of the cloud, and nothing that happens to a request."""
OPTIONS = ("seconds", "rate", "service", "method", "count", "for")
WRONG = (b"[]", b"null", b"{}", b'{"servers": null}', b'"what?"', b'{"servers": [{"id": 7}')
PIECES = 10


@dataclass(frozen=True)
class Span:
    """A time: always the same, evenly between two, or exponential around a mean, as the tail of a busy service is."""

    kind: str
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Span:
        """``2``, ``0.1..2`` or ``~0.5``. Raises ValueError."""
        if text.startswith("~"):
            return cls("about", float(text[1:]), 0.0)
        low, _, high = text.partition("..")
        return cls("between", float(low), float(high or low))

    def draw(self, source: random.Random) -> float:
        """One of them."""
        if self.kind == "about":
            return source.expovariate(1 / self.low) if self.low else 0.0
        return source.uniform(self.low, self.high)


@dataclass
class Fault:
    """One way to misbehave. ``service``, ``method``: "" = all. ``rate``: the share of requests that suffer."""

    mode: str
    seconds: Span
    service: str = ""
    method: str = ""
    rate: float = 1.0
    left: int | None = None
    """How many more requests suffer; None = all."""
    until: float | None = None

    @property
    def over(self) -> bool:
        """Whether its time is over, or its requests."""
        return (self.until is not None and time.monotonic() > self.until) or self.left == 0

    def hits(self, service: str, method: str, source: random.Random) -> bool:
        """Whether this request suffers; counts it."""
        if self.mode in STANDING or self.over or self.service not in ("", service):
            return False
        if (self.method and method not in self.method.split("/")) or (self.rate < 1 and source.random() >= self.rate):
            return False
        if self.left is not None:
            self.left -= 1
        return True

    @classmethod
    def make(cls, mode: str, options: Mapping[str, Any]) -> Fault:
        """Raises Refused 400."""
        if mode not in MODES:
            raise Refused(400, f"mode is one of {', '.join(MODES)}")
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise Refused(400, f"there is no option {unknown[0]}; there are {', '.join(OPTIONS)}")
        try:
            usual = {"hang": 30, "skew": 3600}.get(mode, 1)
            return cls(
                mode, Span.parse(str(options.get("seconds", usual))), str(options.get("service", "")),
                str(options.get("method", "")).upper(), float(options.get("rate", 1)),
                None if options.get("count") is None else int(options["count"]),
                None if options.get("for") is None else time.monotonic() + float(options["for"]),
            )  # fmt: skip
        except (TypeError, ValueError) as e:
            raise Refused(400, f"{mode}: {e}") from e

    @classmethod
    def parse(cls, text: str) -> Fault:
        """``MODE:OPTION=VALUE,OPTION=VALUE``. Raises Refused 400."""
        mode, _, rest = text.partition(":")
        pairs = [p.partition("=") for p in rest.split(",") if p]
        if lone := [k for k, equals, _ in pairs if not equals]:
            raise Refused(400, f"{lone[0]}: an option is NAME=VALUE")
        return cls.make(mode, {k: v for k, _, v in pairs})


@dataclass
class Modes:
    """How a cloud misbehaves now: of several faults the first that hits a request is what happens to it."""

    faults: Sequence[Fault] = ()
    source: random.Random = field(default_factory=random.Random)

    @property
    def mode(self) -> str:
        """The names of what it does, for people."""
        return "+".join(f.mode for f in self.faults) or "ok"

    def of(self, mode: str) -> Fault | None:
        """A standing fault, while it stands."""
        return next((f for f in self.faults if f.mode == mode and not f.over), None)

    def for_request(self, service: str, method: str) -> tuple[str, float]:
        """The mode of one request, and its seconds."""
        for fault in self.faults:
            if fault.hits(service, method, self.source):
                return fault.mode, fault.seconds.draw(self.source)
        return "ok", 0.0

    @classmethod
    def make(cls, faults: Sequence[Fault], seed: str) -> Modes:
        """``seed``: of the draws."""
        return cls([f for f in faults if f.mode != "ok"], random.Random(seed))

    @property
    def skew(self) -> float:
        """Seconds its clock is ahead."""
        fault = self.of("skew")
        return fault.seconds.low if fault else 0.0


def of_document(doc: Mapping[str, Any], cloud: str) -> Modes:
    """From the control path's body: one ``mode`` with options, or ``faults`` as on the command line. Raises Refused 400."""
    if "faults" in doc:
        found = [Fault.parse(str(text)) for text in doc["faults"]]
    else:
        found = [Fault.make(str(doc.get("mode", "ok")), {k: v for k, v in doc.items() if k not in ("mode", "cloud", "seed")})]
    return Modes.make(found, f"{doc.get('seed', 0)}/{cloud}")


def assigned(wishes: Sequence[str], clouds: Sequence[str]) -> dict[str, list[str]]:
    """``CLOUD=FAULT`` (CLOUD may have ``*``) -> the faults of each cloud. Raises Refused 400."""
    found: dict[str, list[str]] = {}
    for wish in wishes:
        name, _, fault = wish.partition("=")
        Fault.parse(fault)
        hit = fnmatch.filter(clouds, name)
        if not hit:
            raise Refused(400, f"there is no cloud {name}")
        for cloud in hit:
            found.setdefault(cloud, []).append(fault)
    return found


HELP = "\n".join(
    ["a cloud misbehaves: --fault CLOUD=MODE:OPTION=VALUE,... (several; CLOUD may have *). Modes:"]
    + [f"  {name:11}{what}" for name, what in MODES.items()]
    + [
        "Options: seconds=2, seconds=0.1..2 (evenly) or seconds=~0.5 (exponential, the mean); rate=0.1 (share of requests);",
        "service=compute (identity, volume, network, image, placement); method=GET/PUT; count=5 (requests); for=60 (seconds).",
    ]
)
"""For a command's help."""


async def before(request: web.Request, mode: str, seconds: float, forget: Callable[[], None]) -> web.StreamResponse | None:
    """What happens in place of the request; None where it is carried out. Raises Refused for an error in the service's words."""
    if mode == "down":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    if mode in ("hang", "slow"):
        await asyncio.sleep(seconds or (PATIENCE if mode == "hang" else 0))
    elif mode == "garbage":
        return web.Response(text="<html>it works</html>", content_type="text/html")
    elif mode == "429":
        later = {"Retry-After": str(max(1, round(seconds)))}
        return web.Response(status=429, text="Too Many Requests", headers=later)
    elif mode in ("502", "503"):
        return _proxy(int(mode))
    elif mode == "500":
        raise Refused(500, "The server has either erred or is incapable of performing the requested operation.")
    elif mode == "401":
        forget()
    return None


def _proxy(status: int) -> web.Response:
    """As a load balancer says it, who knows nothing of JSON."""
    return web.Response(
        status=status, text=f"<html><body><h1>{status} {phrase(status)}</h1></body></html>", content_type="text/html"
    )


async def after(
    request: web.Request, mode: str, seconds: float, source: random.Random, answer: tuple[int, bytes, dict[str, str]]
) -> web.StreamResponse:
    """The answer on its way out."""
    status, body, headers = answer
    if mode == "504":
        return _proxy(504)
    if mode == "wrong-json" and status < 300 and status != 204:
        body = source.choice(WRONG)
    if mode in ("cut", "reset"):
        return await _half(request, status, body, headers, mode == "reset")
    if mode == "trickle" and body:
        return await _slowly(request, status, body, headers, seconds)
    return web.Response(status=status, body=body if status != 204 else None, headers=headers)


async def _half(request: web.Request, status: int, body: bytes, headers: dict[str, str], reset: bool) -> web.StreamResponse:
    """Promise all of an answer and send half of it."""
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body) + 10)})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    transport = request.transport
    assert transport is not None
    if reset:
        held = transport.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye: the kernel sends a reset
    transport.abort()
    return response


async def _slowly(request: web.Request, status: int, body: bytes, headers: dict[str, str], seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
    await response.prepare(request)
    step = -(-len(body) // PIECES)
    starts = range(0, len(body), step)
    for first in starts:
        await asyncio.sleep(seconds / len(starts))
        await response.write(body[first : first + step])
    await response.write_eof()
    return response


def documents(wishes: Sequence[str], clouds: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Bodies for the control path that make it so. Raises Refused 400."""
    return [{"cloud": cloud, "faults": faults, "seed": seed} for cloud, faults in assigned(wishes, clouds).items()]
