"""Version discovery documents and microversions: what every enabled site and the hub honour, and no more.

``latest`` is resolved here, so that every target is asked in one explicit version (design review 3.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from cascade.api.core import Core
from cascade.api.forward import from_hub
from cascade.api.links import north_links
from cascade.api.request import Response
from cascade.model.errors import Fault, SiteError
from cascade.sites.versions import parse, within

DEFAULT = {"compute": "2.1", "volume": "3.0", "placement": "1.0"}
"""What is spoken to a client that names no microversion."""
_ROOTS = re.compile(r"/|/v\d(\.\d+)?/?|/versions")


def requested(headers: Mapping[str, str], service: str, window: tuple[str, str]) -> str | None:
    """The microversion a request is to be served in; None for a service without any or a malformed one.

    A malformed string is left to the hub's service, which refuses it in its own words (Placement's: Fault 400). Raises Fault
    406 as Nova does for a version outside the window.
    """
    if service not in DEFAULT:
        return None
    wanted = (_cinders if service == "volume" else _standard)(headers, service)
    if wanted is None:
        return DEFAULT[service]
    low, high = window
    if wanted == "latest":
        return high
    try:
        parse(wanted)
    except ValueError:
        if service == "placement":
            raise Fault(400, f"invalid version string: {wanted}") from None
        return None
    if not within(wanted, window):
        raise Fault(406, f"Version {wanted} is not supported by the API. Minimum is {low} and maximum is {high}.")
    return wanted


def _standard(headers: Mapping[str, str], service: str) -> str | None:
    """The last version named for the service, as the library ``microversion_parse`` reads it; else Nova's older header's."""
    for part in reversed(headers.get("openstack-api-version", "").split(",")):
        words = part.split(None, 1)
        if len(words) == 2 and words[0].lower() == service:
            return words[1].strip()
    older = headers.get("x-openstack-nova-api-version") if service == "compute" else None
    return None if older is None else older.split(",")[-1].strip()


def _cinders(headers: Mapping[str, str], service: str) -> str | None:
    """Cinder reads for itself: the first part that has ``volume`` in it counts. Raises nothing; '' is malformed."""
    header = headers.get("openstack-api-version")
    if header is None:
        return None
    words = next((part.split() for part in header.split(",") if service in part), [])
    return words[1] if len(words) == 2 else ""


def is_discovery(service: str, method: str, path: str) -> bool:
    """Paths that answer without a token."""
    if method not in ("GET", "HEAD"):
        return False
    if service == "network":
        return path == "/"  # Neutron asks for a token on /v2.0
    if service == "placement":
        return path == "/"
    if service == "image":
        return path in ("/", "/versions")
    if service == "metric":
        return path == "/"
    return _ROOTS.fullmatch(path) is not None


def spoken(service: str, version: str) -> dict[str, str]:
    """The headers in which an answer says its microversion, for answers that no service gave as they are."""
    out = {"openstack-api-version": f"{service} {version}", "vary": "OpenStack-API-Version"}
    if service == "compute":
        out |= {"x-openstack-nova-api-version": version, "vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version"}
    return out


async def discovery(core: Core, service: str, path: str, headers: Mapping[str, str], token: str | None) -> Response:
    """The hub's own document with north links and the common window. The ``token`` goes along: Cinder wants one on /v3."""
    if service == "placement":  # which the hub does not have
        low, high = core.discovery.window(service)
        links = [{"rel": "self", "href": ""}]
        return Response.of({"versions": [
            {"id": "v1.0", "max_version": high, "min_version": low, "status": "CURRENT", "links": links},
        ]})  # fmt: skip
    asked = {"Accept": headers.get("accept", "application/json")}
    if token is not None and token.isascii():
        asked["X-Auth-Token"] = token
    if service == "metric":  # the hub has none
        return await _of_a_site(core, service, path, asked)
    reply = await core.south.root(service, path, headers=asked)
    if service not in DEFAULT or "json" not in reply.headers.get("content-type", "") or not reply.body:
        return from_hub(core, reply)
    doc = reply.json()
    _set_window(doc, core.discovery.window(service))
    return from_hub(core, reply, msgspec.json.encode(doc))


async def _of_a_site(core: Core, service: str, path: str, asked: Mapping[str, str]) -> Response:
    """The document of the first site that has such a service. Raises Fault 503 where none answers."""
    for site in core.sites.names():
        try:
            if core.sites.usable(site) and await core.south.offers(site, service):
                reply = await core.south.root(service, path, headers=asked, target=site)
                return Response.passed(reply, north_links(core, site, reply.body))
        except SiteError:
            continue
    raise Fault(503, "No availability zone has this service at the moment.", headers={"Retry-After": "10"})


def _set_window(doc: Any, window: tuple[str, str]) -> None:
    if isinstance(doc, dict):
        if isinstance(doc.get("version"), str) and doc["version"]:
            doc["version"] = window[1]
            if doc.get("min_version"):
                doc["min_version"] = window[0]
        for value in doc.values():
            _set_window(value, window)
    elif isinstance(doc, list):
        for value in doc:
            _set_window(value, window)
