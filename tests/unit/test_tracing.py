"""What is written down of a request, what never is, and that it costs the request nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cascade import otlp, tracing
from cascade.model.errors import StoreError
from cascade.store import Store
from cascade.store import traces as kept
from cascade.tracing import Recorder, Row, Span
from tests.unit.test_store import postgresql, store  # noqa: F401 - fixtures: on each database

ROW = Row(
    request_id="req-1", at=1000.0, seconds=0.5, target="paris", service="compute", method="POST", path="/servers", result="202"
)  # fmt: skip


class Sink:
    """Where rows go; it can be broken."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.broken = False

    async def __call__(self, rows: Sequence[Row]) -> None:
        if self.broken:
            raise StoreError("locked")
        self.rows += rows


async def test_under_load_the_oldest_go_and_are_counted() -> None:
    sink = Sink()
    recorder = Recorder(sink, StoreError, size=10)
    for n in range(25):
        recorder.put(replace(ROW, result=str(n)))
    await recorder.flush()
    assert [r.result for r in sink.rows] == [str(n) for n in range(15, 25)] and recorder.dropped == 15


async def test_a_database_that_fails_loses_nothing_that_fits() -> None:
    sink = Sink()
    recorder = Recorder(sink, StoreError, size=1000)
    sink.broken = True
    for n in range(700):
        recorder.put(replace(ROW, result=str(n)))
    await recorder.flush()
    sink.broken = False
    await recorder.flush()
    assert [r.result for r in sink.rows] == [str(n) for n in range(700)] and recorder.dropped == 0


async def test_what_is_left_is_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EVERY", 60)
    sink = Sink()
    recorder = Recorder(sink, StoreError)
    running = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    recorder.put(ROW)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sink.rows == [ROW]


async def test_later_work_keeps_what_changes_something() -> None:
    sink = Sink()
    recorder = Recorder(sink, StoreError)
    with recorder.continued("req-9"):
        span = tracing.current.get()
        assert span is not None
        for method in ("GET", "DELETE"):
            span.called(time.monotonic() - 1, "paris", "compute", method, "/servers/x", "204", "req-there")
    assert tracing.current.get() is None
    await recorder.flush()
    (row,) = sink.rows
    assert (row.request_id, row.method, row.remote_id) == ("req-9", "DELETE", "req-there") and 0.9 < row.seconds < 5


async def test_switched_off_nothing_is_kept() -> None:
    sink = Sink()
    recorder = Recorder(sink, StoreError, on=False)
    with recorder.continued("req-9"):
        assert tracing.current.get() is None
    recorder.put(ROW)
    await recorder.flush()
    assert sink.rows == []


async def test_looked_up_by_either_id_and_forgotten(
    store: Store,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    request = Row(request_id="req-1", at=now, seconds=1.0, target="", service="compute", method="POST",
                  path="/compute/v2.1/servers", result="202", remote_id="req-client", project_id="p")  # fmt: skip
    await store.traces.add([replace(ROW, at=now + 0.2), request, replace(ROW, request_id="req-2", at=now)])
    for ident in ("req-1", "req-client"):
        assert [r.target for r in await store.traces.of(ident)] == ["", "paris"]
    assert await store.traces.of("req-paris") == []
    await store.traces.add([replace(ROW, request_id="req-old", at=now - 8 * 86400)])
    await store.traces.forget(7)
    assert await store.traces.of("req-old") == [] and len(await store.traces.of("req-1")) == 2
    monkeypatch.setattr(kept, "MOST", 1)
    await store.traces.add([replace(ROW, request_id="req-3", at=now)])
    await store.traces.forget(7)
    assert await store.traces.of("req-2") == [] and len(await store.traces.of("req-3")) == 1


async def test_a_long_path_is_cut_and_a_method_too(store: Store) -> None:  # noqa: F811
    recorder = Recorder(store.traces.add, StoreError)
    Span(recorder, "req-1", keep=True).called(time.monotonic(), "p" * 10, "compute", "X" * 99, "/" + "x" * 9999, "error", "r" * 999)
    await recorder.flush()
    assert [len(r.path) for r in await store.traces.of("req-1")] == [255]


async def test_opentelemetry_gets_a_span_for_each_call_below_the_clients() -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    exporter = otlp.Exporter("http://127.0.0.1:1/v1/traces", SimpleSpanProcessor(memory))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    span = Span(Recorder(Sink(), StoreError, on=False), "req-1", keep=False, exported=exporter.begin({"traceparent": parent}))
    began = time.monotonic() - 2
    span.called(began, "paris", "compute", "POST", "/servers", "202", "req-there")
    span.called(began, "tokyo", "volume", "GET", "/volumes", "timeout", "")
    span.ended(began, "compute", "POST", "/compute/v2.1/servers", 202, "")
    exporter.close()
    calls: dict[str, Any] = {s.name: s for s in memory.get_finished_spans()}
    root = calls["POST compute"]
    assert format(root.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert format(root.parent.span_id, "016x") == "b7ad6b7169203331"
    one, two = calls["paris compute POST"], calls["tokyo volume GET"]
    assert one.parent.span_id == two.parent.span_id == root.context.span_id
    assert one.attributes["http.response.status_code"] == 202 and one.attributes["openstack.request_id"] == "req-there"
    assert 1.9e9 < one.end_time - one.start_time < 5e9
    assert not two.status.is_ok and one.status.is_unset


def test_without_the_sdk_an_operator_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ValueError, match="otlp"):
        otlp.Exporter("http://127.0.0.1:1/")
