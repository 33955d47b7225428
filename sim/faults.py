"""Refusals in each service's own words."""

from __future__ import annotations

import html
import json
from http import HTTPStatus
from typing import Any

Rendered = tuple[int, bytes, dict[str, str]]


class Refused(Exception):
    """An answer of 4xx or 5xx. ``kind``: Neutron's error type. ``plain``: the web framework's answer, not the service's."""

    def __init__(
        self, status: int, message: str = "", *, kind: str = "", plain: bool = False, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.plain, self.headers = status, message, kind, plain, headers or {}


_NOVA = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
"""Cinder and Nova name their faults alike; what has no name is a ``computeFault`` in both."""
_NEUTRON = {
    400: "HTTPBadRequest",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    409: "Conflict",
    500: "HTTPInternalServerError",
    503: "HTTPServiceUnavailable",
}
WEBOB_404 = "The resource could not be found."
UNAUTHENTICATED = "The request you have made requires authentication."
WEBOB_401 = (
    "This server could not verify that you are authorized to access the document you requested. Either you supplied the wrong "
    "credentials (e.g., bad password), or your browser does not understand how to supply the credentials required."
)


def phrase(status: int) -> str:
    """The reason phrase."""
    return HTTPStatus(status).phrase


def render(service: str, fault: Refused, accept: str) -> Rendered:
    """Status, body and headers of a refusal as ``service`` writes it."""
    status, message = fault.status, fault.message
    doc: Any
    if fault.plain or service == "image":
        return _webob(status, message, accept if service != "identity" else "text/html", fault.headers)
    content = "application/json"
    if service == "identity":
        doc = {"error": {"code": status, "message": message or UNAUTHENTICATED, "title": phrase(status)}}
    elif status == 401:
        doc = {"error": {"code": 401, "title": "Unauthorized", "message": UNAUTHENTICATED}}
    elif service == "network":
        doc = {"NeutronError": {"type": fault.kind or _NEUTRON.get(status, "HTTPException"), "message": message, "detail": ""}}
    elif service == "placement":
        doc = {
            "errors": [
                {"status": status, "title": phrase(status), "detail": message, "code": fault.kind or "placement.undefined_code"}
            ]
        }
    else:
        words = {"code": status, "message": message}
        if service == "volume" and "Retry-After" in fault.headers:
            words["retryAfter"] = fault.headers["Retry-After"]
        doc = {_NOVA.get(status, "computeFault"): words}
        content = "application/json; charset=UTF-8" if service == "compute" else content
    return status, json.dumps(doc).encode(), {"Content-Type": content, **fault.headers}


def _webob(status: int, message: str, accept: str, headers: dict[str, str]) -> Rendered:
    """WebOb chooses by the Accept header: JSON or HTML where asked for, plain text for a client that says nothing."""
    title = f"{status} {phrase(status)}"
    if "application/json" in accept:
        doc = {"message": f"{message}<br /><br />\n\n\n", "code": title, "title": phrase(status)}
        return status, json.dumps(doc).encode(), {"Content-Type": "application/json", **headers}
    if "html" in accept or "*/*" in accept:
        head = f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
        body = f"{head}  {html.escape(message)}<br /><br />\n\n\n\n </body>\n</html>"
        return status, body.encode(), {"Content-Type": "text/html; charset=UTF-8", **headers}
    return status, f"{title}\n\n{message}\n\n   ".encode(), {"Content-Type": "text/plain; charset=UTF-8", **headers}
