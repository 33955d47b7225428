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
from cascade.api.request import Response
from cascade.model.errors import Fault
from cascade.sites.versions import parse, within

_DEFAULT = {"compute": "2.1", "volume": "3.0"}
_ROOTS = re.compile(r"/|/v\d(\.\d+)?/?|/versions")


def requested(headers: Mapping[str, str], service: str, window: tuple[str, str]) -> str | None:
    """The microversion a request is to be served in; None for a service without any or a malformed one.

    A malformed string is left to the hub's service, which refuses it in its own words. Raises Fault 406 as Nova does
    for a version outside the window.
    """
    if service not in _DEFAULT:
        return None
    wanted = None
    general = headers.get("openstack-api-version")
    if general is not None:
        for part in general.split(","):
            kind, _, value = part.strip().partition(" ")
            if kind.lower() == service or (service == "volume" and kind.lower() in ("block-storage", "volumev3")):
                wanted = value.strip()
    if wanted is None and service == "compute":
        wanted = headers.get("x-openstack-nova-api-version")
    if wanted is None:
        return _DEFAULT[service]
    low, high = window
    if wanted.lower() == "latest":
        return high
    try:
        parse(wanted)
    except ValueError:
        return None
    if not within(wanted, window):
        raise Fault(406, f"Version {wanted} is not supported by the API. Minimum is {low} and maximum is {high}.")
    return wanted


def is_discovery(service: str, method: str, path: str) -> bool:
    """Paths that answer without a token."""
    if method not in ("GET", "HEAD"):
        return False
    if service == "network":
        return path == "/"  # Neutron asks for a token on /v2.0
    if service == "image":
        return path in ("/", "/versions")
    return _ROOTS.fullmatch(path) is not None


def spoken(service: str, version: str) -> dict[str, str]:
    """The headers in which an answer says its microversion, for answers that no service gave as they are."""
    out = {"openstack-api-version": f"{service} {version}", "vary": "OpenStack-API-Version"}
    if service == "compute":
        out |= {"x-openstack-nova-api-version": version, "vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version"}
    return out


async def discovery(core: Core, service: str, path: str, headers: Mapping[str, str], token: str | None) -> Response:
    """The hub's own document with north links and the common window. The ``token`` goes along: Cinder wants one on /v3."""
    asked = {"Accept": headers.get("accept", "application/json")}
    if token is not None and token.isascii():
        asked["X-Auth-Token"] = token
    reply = await core.south.root(service, path, headers=asked)
    if service not in _DEFAULT or "json" not in reply.headers.get("content-type", "") or not reply.body:
        return from_hub(core, reply)
    doc = reply.json()
    _set_window(doc, core.discovery.window(service))
    return from_hub(core, reply, msgspec.json.encode(doc))


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
