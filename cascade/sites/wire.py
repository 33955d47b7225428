"""A request as it goes over the wire: its address and its headers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, urlencode

from yarl import URL

from cascade.model.errors import Fault
from cascade.model.trace import request_id

Params = Sequence[tuple[str, str]] | Mapping[str, str]

_SAFE = "/:@!$&'()*+,;=~-._%[]"
_OURS = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
    "accept-encoding", "cookie", "proxy-authorization", "x-service-token", "x-openstack-request-id", "user-agent",
})  # fmt: skip
UNSENDABLE = "The request holds a header or an address that cannot be sent."
_LONGEST = 20_000
"""Bytes of an address: above what any client may ask us for, below what a service's web server takes."""


def address(url: str, params: Params | None) -> URL:
    """Where a request goes. Raises Fault 400 for what cannot be sent."""
    path, _, query = url.partition("?")
    text = _path(path)
    if params:
        pairs = params.items() if isinstance(params, Mapping) else params
        more = _query(tuple(pairs))
        query = f"{query}&{more}" if query else more
    whole = f"{text}?{quote(query, safe=_SAFE + '?')}" if query else text
    if len(whole) > _LONGEST:
        raise Fault(400, UNSENDABLE)
    return URL(whole, encoded=True)


@lru_cache(maxsize=2048)
def _path(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, tail = rest.partition("/")
    if ".." in tail.split("/"):
        raise Fault(400, "The path is not valid.")
    return f"{scheme}://{host}{slash}{quote(tail, safe=_SAFE)}"


@lru_cache(maxsize=256)
def _query(pairs: tuple[tuple[str, str], ...]) -> str:
    """A list asks many sites the same."""
    return urlencode(pairs, quote_via=quote, errors="surrogateescape")


def sent_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a request's headers goes south, and what we say of ourselves."""
    out = {k: v for k, v in headers.items() if k.lower() not in _OURS}
    out["Accept-Encoding"] = "identity"  # a small answer cannot become a large one
    out["User-Agent"] = "cascade"
    out["X-OpenStack-Request-ID"] = request_id.get()
    return out


def length(headers: Mapping[str, str]) -> int | None:
    """Bytes of a body, where its headers say it."""
    value = next((v for k, v in headers.items() if k.lower() == "content-length"), None)
    return int(value) if value is not None and value.isdigit() else None
