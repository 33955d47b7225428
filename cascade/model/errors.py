"""The one error tree, and how its members look as OpenStack faults.

CascadeError
├── Fault                 an answer for the client: status, fault name, message (4xx and our own 5xx)
│   └── NativeFault       an answer some real service already gave: passed on as it is
├── SiteError             the site's fault, not the client's: counts for health
│   ├── SiteUnreachable   refused, reset, no route, breaker open
│   │   └── SiteBusy      too many calls wait for it: not sent
│   ├── SiteTimeout       the deadline passed
│   └── BadReply          wrong JSON, oversized, wrong type
├── OverQuota             a project's limit does not leave room
├── StoreError            our own database does not answer
├── Conflict              a row changed under us: retry from the read
└── Terminal              a reconcile that must not be tried again; an operator has to look
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cascade.model.trace import request_id


class CascadeError(Exception):
    """Root of everything Cascade raises on purpose."""


class Fault(CascadeError):
    """What the client is told. ``kind`` is the service's own fault name (``itemNotFound``, ``badRequest``...)."""

    def __init__(self, status: int, message: str, *, kind: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.headers = dict(headers or {})


class NativeFault(CascadeError):
    """A real service's own refusal, to be passed to the client unchanged but for ids and links."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str], target: str) -> None:
        super().__init__(f"{target} answered {status}: {body[:200]!r}")
        self.status = status
        self.body = body
        self.headers = dict(headers)
        self.target = target

    @property
    def foreign(self) -> bool:
        """Not in Nova's or Cinder's shape: Neutron, Glance or Keystone refused a part of their request, or nothing was said."""
        return not self.body or b'"NeutronError"' in self.body[:40] or self.body[:1] != b"{"

    def message(self) -> str | None:
        """The service's own sentence, where its body has one."""
        try:
            doc = json.loads(self.body)
            return str(next(iter(doc.values()))["message"])
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return None


class SiteError(CascadeError):
    """A site (or the hub) failed us. ``target`` is its name: for logs and administrators, never for tenants."""

    def __init__(self, target: str, message: str) -> None:
        super().__init__(f"{target}: {message}")
        self.target = target


class SiteUnreachable(SiteError):
    """No connection, or none attempted because the breaker is open."""


class SiteRefused(SiteUnreachable):
    """The connection was refused or reset at once. Nothing was sent; somebody may listen there the next moment."""


class SiteBusy(SiteUnreachable):
    """More calls wait for it than it can take soon; this one was not sent. ``after``: seconds after which to try again."""

    def __init__(self, target: str, message: str, after: float) -> None:
        super().__init__(target, message)
        self.after = after


class SiteTimeout(SiteError):
    """The deadline passed with no complete answer; the request may or may not have been carried out."""


class SiteLost(SiteTimeout):
    """The connection was lost, without a deadline having passed, before the answer was complete."""


class BadReply(SiteError):
    """An answer that is not what the API promises: broken JSON, too large, 5xx where it must not be."""


class StoreError(CascadeError):
    """The database does not answer, or not as it should; what was to be written is not."""


class Conflict(CascadeError):
    """Somebody else changed the row first."""


class OverQuota(CascadeError):
    """More was asked of a resource than the project's limit leaves."""

    def __init__(self, *, resource: str, used: int, requested: int, limit: int) -> None:
        super().__init__(f"{resource}: {requested} more than {used} of {limit}")
        self.resource, self.used, self.requested, self.limit = resource, used, requested, limit


class Terminal(CascadeError):
    """Do not retry; report."""


# Nova and Cinder name their faults by status (nova/api/openstack/wsgi.py, Fault._fault_names).
_COMPUTE_KINDS = {
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
_NEUTRON_KINDS = {
    400: "BadRequest",
    403: "PolicyNotAuthorized",
    404: "NotFound",
    409: "Conflict",
    429: "HTTPTooManyRequests",
    503: "ServiceUnavailable",
}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


WEBOB = "webob"
"""Fault kind of what a service's front (routing, size limit) refuses before its API sees it: WebOb's own JSON."""


def fault_body(service: str, fault: Fault, *, accept: str = "") -> tuple[bytes, str]:
    """The body and content type the real ``service`` would use for this fault.

    Services: compute, volume, network, image, identity, placement, metric, cascade (our admin API, Keystone's shape).
    ``accept``: the client's header; Glance has no faults of its own, and WebOb gives JSON to who takes nothing else.
    """
    page = service == "image" and ("json" not in accept or "html" in accept or "*/*" in accept)
    if fault.kind == WEBOB and service == "identity":
        doc: object = {"message": fault.message}  # Flask's own
    elif not page and service != "placement" and (fault.kind == WEBOB or service == "image"):
        title = _TITLES.get(fault.status, "Error")
        doc = {"message": f"{fault.message}<br /><br />\n\n\n", "code": f"{fault.status} {title}", "title": title}
    elif service in ("compute", "volume"):
        kind = fault.kind or _COMPUTE_KINDS.get(fault.status, "computeFault")
        after = {"retryAfter": fault.headers["Retry-After"]} if kind == "overLimit" and "Retry-After" in fault.headers else {}
        doc = {kind: {"code": fault.status, "message": fault.message, **after}}
    elif service == "placement" and fault.status != 401:
        said = {"status": fault.status, "title": _TITLES.get(fault.status, "Error"), "detail": fault.message}
        doc = {"errors": [{**said, "code": "placement.undefined_code", "request_id": request_id.get()}]}
    elif service == "network":
        kind = fault.kind or _NEUTRON_KINDS.get(fault.status, "HTTPError")
        doc = {"NeutronError": {"type": kind, "message": fault.message, "detail": ""}}
    elif service == "metric":
        doc = {"code": fault.status, "title": _TITLES.get(fault.status, "Error"), "description": fault.message}
    elif page:
        title = f"{fault.status} {_TITLES.get(fault.status, 'Error')}"
        html = (
            f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
            f"  {fault.message}<br /><br />\n\n\n\n </body>\n</html>"
        )
        return html.encode(), "text/html; charset=UTF-8"
    else:
        title = _TITLES.get(fault.status, "Error")
        doc = {"error": {"code": fault.status, "title": title, "message": fault.message}}
    return json.dumps(doc).encode(), "application/json"
