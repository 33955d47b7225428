"""Logs and metrics. A leaf: every layer may import it, it imports none.

Logs are JSON lines, one event each; request id and sites are bound through context variables, so that a line written
deep below still says whose request it was. Whatever looks like a credential is cut out last, whoever wrote it.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

# -- metrics -----------------------------------------------------------------------------------------------------------

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads
REQUESTS = Counter("cascade_requests", "Requests of users, by table row", ["service", "row", "method", "status"])
REQUEST_SECONDS = Histogram(
    "cascade_request_seconds", "Time from a request's head to its answer", ["service"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)  # fmt: skip
SOUTH_SECONDS = Histogram(
    "cascade_south_seconds", "Calls to hub and sites, by outcome (2xx..5xx, timeout, error)", ["target", "service", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)  # fmt: skip
SITE_UP = Gauge("cascade_site_up", "1 up, 0 down; one not probed yet is missing", ["target"])
SERVICES_DOWN = Gauge("cascade_services_down", "Services of a target that count as down and are not tried", ["target"])
INTENTS = Gauge("cascade_intents_open", "Requests not finished", ["site", "verb"])
QUEUED = Gauge("cascade_queued", "Copies that wait to follow the hub, or to travel, in this process", ["queue"])
TRACES_DROPPED = Counter("cascade_trace_rows_dropped", "Rows of traces that the database was too slow for, in this process")
IN_WORK = Gauge("cascade_in_work", "Requests that have a place, by door, in this process", ["door"])
WAITING = Gauge("cascade_waiting", "Requests that wait for a place, by door, in this process", ["door"])
REFUSED = Counter("cascade_refused", "Requests told to come again later, by door and reason", ["door", "reason"])
SITE_WAITING = Gauge("cascade_site_waiting", "Calls that wait for their turn at a target, in this process", ["target"])
SITE_REFUSED = Counter("cascade_site_refused", "Calls not sent since too many wait for the target, by reason", ["target", "reason"])
TASKS = Gauge("cascade_background_tasks", "Tasks that outlive their request, in this process")

row: ContextVar[str] = ContextVar("row", default="")
"""Pattern of the table row that serves the request; empty where none did."""
_asked: ContextVar[set[str] | None] = ContextVar("asked", default=None)


def begin() -> None:
    """A request begins: nothing of the last one on this connection may cling to it."""
    row.set("")
    _asked.set(set())


def asked(target: str) -> bool:
    """A southbound call belongs to the request at hand, in whatever task of it. Whether it is its first to this target."""
    targets = _asked.get()
    if targets is None or target in targets:
        return False
    targets.add(target)
    return True


@lru_cache(maxsize=8192)
def south_seconds(target: str, service: str, outcome: str) -> Histogram:
    """``SOUTH_SECONDS`` of one target's calls: finding it costs more than counting."""
    return SOUTH_SECONDS.labels(target, service, outcome)


def ended(service: str, method: str, status: int, seconds: float) -> list[str]:
    """Count a request; says which targets it asked."""
    REQUESTS.labels(service or "none", row.get(), method if method in _METHODS else "other", str(status)).inc()
    REQUEST_SECONDS.labels(service or "none").observe(seconds)
    return sorted(_asked.get() or ())


def render() -> tuple[bytes, str]:
    """Body and content type for Prometheus."""
    return generate_latest(), CONTENT_TYPE_LATEST


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# -- logs --------------------------------------------------------------------------------------------------------------

CUT = "***"
_WORDS = (
    "token", "password", "passwd", "secret", "adminpass", "admin_pass", "authorization", "cookie", "private_key", "master_key",
    "passcode", "auth_key", "connection_info", "user_data",
)  # fmt: skip
"""A key that is one of these, or ends with one, names a secret."""
_SECRET_KEY = re.compile(rf"(?i)^(.*[-_.])?({'|'.join(_WORDS)})$")
_SECRET_TEXT = (
    (re.compile(r"gAAAA[A-Za-z0-9_=-]{20,}"), CUT),  # Fernet tokens
    (re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"), CUT),  # JWS tokens
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), r"\1:" + CUT + "@"),  # URLs with a password
    (re.compile(r"(?i)(x-(?:auth|subject|service|storage)-token['\"]?\s*[:=]\s*['\"]?)[^'\"\s,}]+"), r"\1" + CUT),
    (re.compile(r"(?i)((?:password|adminpass|secret)['\"]?\s*[:=]\s*['\"]?)[^'\"\s,}&]+"), r"\1" + CUT),
)

_SUSPICIOUS = (*_WORDS, "gaaaa", "eyj", ":/")
"""Without one of these, in whatever case, nothing above can match; almost no line has one."""
_FLAT = frozenset({str, int, float, bool, type(None)})


class _Line(str):
    """A line as it is to be written."""

    __slots__ = ()


def line(logger: Any, method: str, event: MutableMapping[str, Any]) -> _Line:
    """The last processor: one line of JSON. No token and no password leaves this process through a log."""
    if all(type(v) in _FLAT or (type(v) is list and all(type(one) is str for one in v)) for v in event.values()):
        text = _dumps(event)
        lowered = text.lower()
        if not any(word in lowered for word in _SUSPICIOUS):
            return _Line(text)
    return _Line(_dumps(redact(logger, method, event)))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An event in which every secret is cut out, wherever it stands."""
    return {k: CUT if v and _secret(k) else _clean(v) for k, v in event.items()}


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Lines of ours are finished; what libraries log takes the long way."""

    def format(self, record: logging.LogRecord) -> str:
        return record.msg if isinstance(record.msg, _Line) else super().format(record)


@lru_cache(maxsize=1024)
def _secret(key: str) -> bool:
    return _SECRET_KEY.match(key) is not None


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        for pattern, instead in _SECRET_TEXT:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, bytes):
        return _clean(value[:2000].decode("utf-8", "replace"))
    if depth > 6 or value is None or isinstance(value, bool | int | float):
        return value if depth <= 6 else "..."
    if isinstance(value, Mapping):
        return {str(k): CUT if v and _secret(str(k)) else _clean(v, depth + 1) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_clean(v, depth + 1) for v in value]
    return _clean(repr(value), depth + 1)


def setup(*, log_file: str | None = None, level: str = "info") -> None:
    """Log JSON lines to ``log_file`` (opened again after logrotate moved it), else to standard error.

    What libraries write through ``logging`` takes the same way, warnings and worse only: at ``info`` they are chatty.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, line],
        logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger, cache_logger_on_first_use=True,
    )  # fmt: skip
    formatter = _Formatter(foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, line])
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line says them
    handler = logging.handlers.WatchedFileHandler(log_file) if log_file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("cascade").setLevel(level.upper())


def _dumps(event: Any) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # bytes of an address that are no text, which a client may send: escaped as they are
        return json.dumps(event, default=repr)
