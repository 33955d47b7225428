"""What handlers are given and what they give back. No HTTP library in sight, so that handlers are plain functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cascade.model.caller import Caller
from cascade.model.reply import Reply
from cascade.model.table import Row

Params = list[tuple[str, str]]


_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})


@dataclass(kw_only=True, slots=True)
class Request:
    """One north request after sanitising and authentication."""

    service: str
    """compute, volume, network, image, metric, identity."""
    method: str
    path: str
    """Relative to the service's version root: ``/servers``, ``/volumes``, ``/v2.0/ports``, ``/v2/images``, ``/v3/users``.
    Normalised; percent-encoding as the client sent it."""
    params: Params
    headers: Mapping[str, str]
    """Lower-case names; hop-by-hop, identity and proxy headers are gone already."""
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    """Set instead of ``body`` for image data."""
    caller: Caller
    request_id: str
    version: str | None = None
    """Microversion, ``latest`` resolved; None where the service has none."""
    row: Row | None = None
    match: Mapping[str, str] = field(default_factory=dict)
    root: str = ""
    """What stood before ``path``: ``/v2.1``, ``/v3/<project>``. Links to other pages repeat it, as Nova's and Cinder's do."""

    def json(self) -> Any:
        """The decoded body, or None where it is not JSON (the real service is then asked for its fault)."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def true(self, name: str) -> bool:
        """Whether a parameter says what the services (by oslo.utils) take for yes."""
        return (self.param(name) or "").lower() in _TRUE

    def param(self, name: str) -> str | None:
        """The last value of a query parameter."""
        return next((v for k, v in reversed(self.params) if k == name), None)


@dataclass(kw_only=True, slots=True)
class Response:
    """One north answer. ``headers`` as they are to be sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    """Sent instead of ``body``."""
    release: Callable[[], Awaitable[None]] | None = None
    """Lets go of what ``stream`` comes from: called once, also where nothing could be sent."""

    @classmethod
    def of(cls, doc: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON answer."""
        return cls(status=status, headers={"Content-Type": "application/json", **(headers or {})}, body=msgspec.json.encode(doc))

    @classmethod
    def passed(cls, reply: Reply, body: bytes | None = None) -> Response:
        """A service's own answer, with the headers that may pass north (see ``PASSED``)."""
        headers = {k: v for k, v in reply.headers.items() if k in PASSED or k.startswith(PASSED_PREFIXES)}
        return cls(status=reply.status, headers=headers, body=reply.body if body is None else body)


PASSED: Sequence[str] = (
    "content-type", "location", "vary", "openstack-api-version", "x-openstack-nova-api-version", "retry-after", "etag",
    "x-compute-request-id", "x-subject-token", "www-authenticate", "allow", "x-image-meta-checksum", "content-md5",
    "content-range", "accept-ranges", "cache-control", "last-modified", "deprecation", "sunset",
    "x-openstack-image-import-methods", "x-openstack-image-store-ids",
)  # fmt: skip
"""Everything else of a service's answer headers stops here: server names, connection control.

Nova's own request id passes, in its older header: a server's actions are found by it. The newer one holds the gateway's."""
PASSED_PREFIXES = ("openstack-image-", "x-image-")
