"""What a request did: each call it made to hub and sites, and what was done for it later. A leaf, as telemetry is.

Rows are put into a bounded queue and written in batches beside the requests: a trace never delays a request and never fails
one; under more load than the database takes, the oldest rows are dropped and counted. Only what changes something is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

SIZE = 10_000
"""Rows waiting to be written, at most."""
BATCH = 500
EVERY = 1.0
"""Seconds between two writes, and between two tries where the database does not take them."""
_LONGEST = 255
READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One call, or (``target`` empty) the client's request itself. No query, no header, no body is ever in it."""

    request_id: str
    at: float
    """Unix seconds."""
    seconds: float
    target: str
    service: str
    method: str
    path: str
    result: str
    """A status, or what came instead of an answer."""
    remote_id: str = ""
    """The request id by which the other side knows the call; of the request itself the id its client gave."""
    project_id: str = ""


class Exported(Protocol):
    """A request as OpenTelemetry knows it; see ``cascade.otlp``."""

    def call(self, row: Row) -> None: ...
    def end(self, row: Row) -> None: ...


class Exporter(Protocol):
    """Begins one for a request with these headers."""

    def begin(self, headers: Mapping[str, str]) -> Exported: ...


@dataclass(slots=True)
class Span:
    """A request at work, in whatever task of it."""

    recorder: Recorder
    request_id: str
    keep: bool
    later: bool = False
    """It has been answered: what is done for it now is looked at often, and only what changes something is kept."""
    exported: Exported | None = None
    project_id: str = ""

    def called(self, begun: float, target: str, service: str, method: str, path: str, result: str, remote_id: str) -> None:
        """A southbound call has ended. ``begun``: monotonic."""
        row = self._row(begun, service, method, path, result, target=target, remote_id=remote_id)
        if self.keep and not (self.later and method in READS):
            self.recorder.put(row)
        if self.exported is not None:
            self.exported.call(row)

    def ended(self, begun: float, service: str, method: str, path: str, status: int, given: str) -> None:
        """The request itself has its answer. ``given``: the id its client gave."""
        row = self._row(begun, service, method, path, str(status), remote_id=given, project_id=self.project_id)
        if self.keep:
            self.recorder.put(row)
        if self.exported is not None:
            self.exported.end(row)

    def _row(
        self,
        begun: float,
        service: str,
        method: str,
        path: str,
        result: str,
        *,
        target: str = "",
        remote_id: str,
        project_id: str = "",
    ) -> Row:
        took = time.monotonic() - begun
        return Row(
            request_id=self.request_id, at=time.time() - took, seconds=took, target=target, service=service, method=method[:16],
            path=path[:_LONGEST], result=result, remote_id=remote_id[:64], project_id=project_id,
        )  # fmt: skip


current: ContextVar[Span | None] = ContextVar("span", default=None)


class Recorder:
    """``sink`` writes rows; it raises ``error`` where it cannot."""

    def __init__(
        self, sink: Callable[[Sequence[Row]], Awaitable[None]], error: type[Exception], *, on: bool = True, size: int = SIZE
    ) -> None:
        self._sink, self._error, self.on = sink, error, on
        self._rows: deque[Row] = deque(maxlen=size)
        self.dropped = 0
        self.on_dropped: Callable[[float], None] = lambda count: None

    def put(self, row: Row) -> None:
        """Have it written soon."""
        if not self.on:
            return
        if len(self._rows) == self._rows.maxlen:
            self._drop(1)
        self._rows.append(row)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self.on_dropped(count)

    @contextlib.contextmanager
    def continued(self, request_id: str) -> Iterator[None]:
        """What is done here is done for an earlier request."""
        token = current.set(Span(self, request_id, keep=True, later=True) if self.on else None)
        try:
            yield
        finally:
            current.reset(token)

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what there is; what the database does not take waits for the next time."""
        while self._rows:
            batch = [self._rows.popleft() for _ in range(min(BATCH, len(self._rows)))]
            try:
                await self._sink(batch)
            except self._error:
                room = (self._rows.maxlen or 0) - len(self._rows)
                self._drop(max(0, len(batch) - room))
                self._rows.extendleft(reversed(batch[len(batch) - room :] if room < len(batch) else batch))
                return
