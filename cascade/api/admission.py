"""Who may come in: so many requests in work, so many that wait, each project its share; the rest is told when to come again.

A request asks for its place when its token is known and before its body is read. Doors are several, so that none is shut by
what stands before another: requests; what is passed to a service that is itself a client of ours, and would wait for itself;
streams of image data, which last; operators, who look when all else is full. Health, metrics, the page and consoles have no door:
the first three cost nothing, consoles have a limit of their own.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from enum import StrEnum

from cascade import telemetry
from cascade.api.request import Response
from cascade.conf import Conf
from cascade.model.caller import Caller
from cascade.model.errors import Fault
from cascade.model.trace import tenant
from cascade.sites.turns import Full, Reason, Turns
from cascade.tables import passed

_OPERATORS = 16
_SHARE = 0.75
"""Of the places one project may have, however many are free. The hub's Nova calls the gateway back for some requests (its
proxies of volumes and images): with all places full of those everybody would wait for them, and they for a place."""
_LONGEST = 60.0
_SPREAD = 1.5
"""Who were refused together shall not come again together."""


class Door(StrEnum):
    """What a request is to have a place of."""

    REQUESTS = "requests"
    PASSED = "passed"
    STREAMS = "streams"
    OPERATORS = "operators"


class Admission:
    """The doors of one process."""

    def __init__(self, conf: Conf) -> None:
        own = conf.requests

        def turns(places: int, most: int | None = None) -> Turns:
            return Turns(places, queue=own.waiting, each=own.waiting_per_project, patience=own.patience, most=most)

        self._doors = {
            Door.REQUESTS: turns(own.in_work, math.ceil(own.in_work * _SHARE)), Door.PASSED: turns(own.in_work),
            Door.STREAMS: turns(own.streams), Door.OPERATORS: turns(_OPERATORS),
        }  # fmt: skip

    async def served(self, door: Door, who: str, gone: Callable[[], bool], serve: Callable[[], Awaitable[Response]]) -> Response:
        """What ``serve`` answers, once there is a place for ``who``; calls south are his from now on.

        The place is his until the answer is there; of an answer that flows, until it has.
        Raises Fault 429 (too many of his wait), 503 (too many wait, or it would take too long), both with ``Retry-After``;
        ConnectionError where the client has ``gone`` meanwhile.
        """
        turns = self._doors[door]
        tenant.set(who)
        begun = await (turns.acquire(who) if turns.free(who) else self._waited(door, turns, who, gone))
        flows = False
        try:
            answer = await serve()
            if answer.stream is not None:
                flows, release = True, answer.release

                async def both() -> None:
                    turns.release(who, begun)
                    if release is not None:
                        await release()

                answer.release = both
            return answer
        finally:
            if not flows:
                turns.release(who, begun)

    async def _waited(self, door: Door, turns: Turns, who: str, gone: Callable[[], bool]) -> float:
        try:
            async with asyncio.timeout(turns.patience):
                begun = await turns.acquire(who)
        except Full as e:
            raise later(door, e.reason, e.after) from e
        except TimeoutError as e:
            raise later(door, Reason.SLOW, turns.expected()) from e
        if gone():
            turns.release(who, begun)
            raise ConnectionResetError("left while it waited")
        return begun

    def observe(self) -> None:
        """Set the gauges."""
        for door, turns in self._doors.items():
            telemetry.IN_WORK.labels(door.value).set(turns.inside)
            telemetry.WAITING.labels(door.value).set(turns.waiting)


def door(service: str, path: str) -> Door:
    """The door of a request."""
    if service == "cascade":
        return Door.OPERATORS
    if service in passed.BODIES:
        return Door.PASSED
    return Door.STREAMS if service == "image" and path.endswith(("/file", "/stage")) else Door.REQUESTS


def line(caller: Caller, peer: str | None) -> str:
    """Whose share a request is of: the project's, the user's where there is none, the address' where nobody is known."""
    return caller.project_id or caller.user_id or peer or "?"


def later(door: Door, reason: Reason, after: float) -> Fault:
    """What is said to who may not even wait; counted."""
    telemetry.REFUSED.labels(door.value, reason.value).inc()
    seconds = math.ceil(min(_LONGEST, max(1.0, after * random.uniform(1.0, _SPREAD))))
    if reason is Reason.LINE:
        return Fault(
            429, "Too many of your project's requests wait already; try again later.", headers={"Retry-After": str(seconds)}
        )
    return Fault(503, "There are too many requests at the moment; try again later.", headers={"Retry-After": str(seconds)})
