"""What stands in front of everything: only clean paths and headers go on (design review 5.7, 5.8).

The same normalised path is matched and forwarded, so nobody can name one thing to us and another to a site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote

from cascade.model.errors import WEBOB, Fault
from cascade.tables import passed

SKIPPED = frozenset({"metric"})
"""Services to which an empty segment is none: gnocchiclient writes some, and Gnocchi skips them."""
STRICT = frozenset({"compute", "volume", "image", "placement"})
"""Services to which ``/servers/`` is not ``/servers`` but unknown."""
SERVICES = ("identity", "compute", "volume", "network", "image", "placement", "metric", *passed.BODIES, "cascade")

_DROPPED = frozenset((
    # hop by hop (RFC 9110 7.6.1) and what describes this connection only
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "content-length", "accept-encoding", "expect", "cookie",
    # what a site's own middleware would believe: http_proxy_to_wsgi, auth_token, method override
    "forwarded", "x-real-ip", "x-service-token", "x-http-method-override", "x-method-override", "x-auth-token",
    "x-storage-token", "x-tenant", "x-tenant-id", "x-tenant-name", "x-role", "x-is-admin-project",
    "openstack-identity-access-rules", "openstack-system-scope",
    "x-openstack-request-id", "x-catalog", "x-service-catalog",
))  # fmt: skip
_DROPPED_PREFIXES = (
    "x-forwarded-", "x-identity", "x-roles", "x-project", "x-user", "x-domain", "x-service-", "x-system", "x-cascade-",
)  # fmt: skip
_BAD = re.compile(r"%2f|%5c|%00|%0[ad]|%2e|\\|[\x00-\x20\x7f]", re.IGNORECASE)
_EMPTY = re.compile("/{2,}")
_ESCAPE = re.compile(r"%(..?)?")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")
MAX_PATH = 4096
"""Bytes; Keystone and Nova stop at uWSGI's buffer, far above what any of their own URLs needs."""


def clean_headers(raw: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What of ``all_headers`` may go on. A name with ``_`` may not: to WSGI it is the same as the one with ``-``."""
    return {k: v for k, v in all_headers(raw).items() if k not in _DROPPED and not k.startswith(_DROPPED_PREFIXES) and "_" not in k}


def all_headers(raw: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case names; of a repeated header the values are joined as HTTP allows, so two tokens are no token."""
    out: dict[str, str] = {}
    for name, value in raw:
        key = name.lower()
        out[key] = f"{out[key]},{value}" if key in out else value
    return out


def split_target(target: str) -> tuple[str, str, list[tuple[str, str]]]:
    """``(service or '', path below it, query parameters)`` of a request target in origin form.

    Raises Fault 404 for a path no service would have (dot segments, empty segments, encoded slashes, controls),
    400 for an absolute or over-long target and for escapes that are none, or no UTF-8: some servers die of them.
    Escapes of letters and digits are undone, as RFC 3986 has it: no spelling of a path passes its row by.
    """
    path, _, query = target.partition("?")
    if not path.startswith("/") or len(target) > MAX_PATH * 4 or len(path) > MAX_PATH:
        raise Fault(400, "The request target is not acceptable.")
    head, _, rest = path[1:].partition("/")
    service = head if head in SERVICES else ""
    inner = "/" + rest if service else path
    if _BAD.search(path):
        raise _NotAPath(service)
    inner = _plain(inner, service)
    if service in SKIPPED:
        inner = _EMPTY.sub("/", inner)
    stripped = inner.rstrip("/")
    segments = stripped.split("/")[1:] if stripped else []
    if any(s in ("", ".", "..") or unquote(s) in (".", "..") for s in segments):
        raise _NotAPath(service)
    # Bytes that are no UTF-8 stay what they are: the real service refuses them.
    params = parse_qsl(query, keep_blank_values=True, errors="surrogateescape") if query else []
    # Below the root of a version some routers take a path with a slash at its end for the same path, some for none of theirs.
    kept = service in STRICT or (len(segments) == 1 and service not in ("", "cascade"))
    slash = "/" if inner.endswith("/") and kept else ""
    return service, stripped + slash or "/", params


def _plain(path: str, service: str) -> str:
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise _NotAPath(service, 400) from None
    return _ESCAPE.sub(lambda m: _unescaped(m[0], service), path)


def _unescaped(escape: str, service: str) -> str:
    if _HEX.fullmatch(escape[1:]) is None:
        raise _NotAPath(service, 400)
    char = chr(int(escape[1:], 16))
    return char if char in _UNRESERVED else escape


class _NotAPath(Fault):
    """A refusal that remembers its service, so that the fault has that service's shape."""

    def __init__(self, service: str, status: int = 404) -> None:
        words = {404: "The resource could not be found.", 400: "The request target is not acceptable."}
        kind: str | None = "HTTPBadRequest" if service == "network" and status == 400 else WEBOB
        super().__init__(status, words[status], kind=kind)
        self.service = service


def undecodable(params: Iterable[tuple[str, str]]) -> bool:
    """Whether a query is no UTF-8."""
    return any("\udc80" <= char <= "\udcff" for pair in params for text in pair for char in text)


def framing_fault(headers: Mapping[str, str], service: str) -> Fault | None:
    """Both framings at once is request smuggling; a compressed body is nothing any service takes but Prometheus' for Gnocchi."""
    if "transfer-encoding" in headers and "content-length" in headers:
        return Fault(400, "Both Content-Length and Transfer-Encoding are given.")
    if headers.get("content-encoding", "identity").lower() not in ("", "identity", "snappy" if service == "metric" else ""):
        return Fault(415, "Content-Encoding is not supported.")
    return None
