"""The request id that travels from the client's call to every southbound call."""

from __future__ import annotations

import uuid
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="req-none")
"""``req-<uuid>``: sent south as X-OpenStack-Request-ID (Nova, Cinder, Neutron and Glance log it as global request id)."""


def new_request_id() -> str:
    """A request id in the form oslo.middleware accepts."""
    return f"req-{uuid.uuid4()}"
