"""Requests and their calls to OpenTelemetry, where an operator names a collector. Costs nothing, not even an import, otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.tracing import Row


class Exporter:
    """One span for each request, one below it for each call; a client's ``traceparent`` (W3C Trace Context) is their parent.

    ``processor`` replaces the one that sends batches to ``endpoint`` from a thread of its own. Raises ValueError without the SDK.
    """

    def __init__(self, endpoint: str, processor: Any = None) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as e:
            raise ValueError(
                "otlp_endpoint is set, and OpenTelemetry is not installed: pip install 'openstack-cascade[otlp]'"
            ) from e
        self._provider = TracerProvider(resource=Resource.create({"service.name": "cascade"}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("cascade")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: Mapping[str, str]) -> Request:
        """A request has come."""
        context = self._propagator.extract({k: v for k in ("traceparent", "tracestate") if (v := headers.get(k))})
        return Request(self._tracer, self._tracer.start_span("request", context=context))

    def close(self) -> None:
        """Send what is left. Blocks."""
        self._provider.shutdown()


class Request:
    """One request's span."""

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer, self._span = tracer, span

    def call(self, row: Row) -> None:
        """One call of it has ended."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        attributes = {
            "server.address": row.target, "rpc.service": row.service, "http.request.method": row.method, "url.path": row.path,
            "openstack.request_id": row.remote_id,
        }  # fmt: skip
        name = f"{row.target} {row.service} {row.method}"
        begun = round(row.at * 1e9)
        child = self._tracer.start_span(
            name, context=set_span_in_context(self._span), kind=SpanKind.CLIENT, start_time=begun, attributes=attributes
        )
        self._finish(child, row)
        child.end(begun + round(row.seconds * 1e9))

    def end(self, row: Row) -> None:
        """It has been answered."""
        self._span.update_name(f"{row.method} {row.service}")
        self._span.set_attributes({
            "http.request.method": row.method, "url.path": row.path, "openstack.request_id": row.request_id,
            "openstack.global_request_id": row.remote_id, "openstack.project_id": row.project_id,
        })  # fmt: skip
        self._finish(self._span, row)
        self._span.end()

    @staticmethod
    def _finish(span: Any, row: Row) -> None:
        from opentelemetry.trace import StatusCode

        if row.result.isdigit():
            span.set_attribute("http.response.status_code", int(row.result))
        if not row.result.isdigit() or row.result.startswith("5"):
            span.set_status(StatusCode.ERROR, row.result)
