"""What travels from the client's call to every southbound call: the request id, and on whose behalf."""

from __future__ import annotations

import uuid
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="req-none")
"""``req-<uuid>``: sent south as X-OpenStack-Request-ID (Nova, Cinder, Neutron and Glance log it as global request id)."""

tenant: ContextVar[str] = ContextVar("tenant", default="")
"""Project a request is made for (or who else is known of it): calls of different ones take turns at a target. Empty: our own."""


def new_request_id() -> str:
    """A request id in the form oslo.middleware accepts."""
    return f"req-{uuid.uuid4()}"
