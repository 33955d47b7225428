"""What python-openstackclient loads: the API's name, its option and a client on the session it already has."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any, cast

from keystoneauth1 import exceptions as ksa
from osc_lib import exceptions
from osc_lib.command import command

DEFAULT_API_VERSION = "1"
API_VERSION_OPTION = "os_cascade_api_version"
API_NAME = "cascade"
API_VERSIONS = {"1": "osc_cascade.client.Client"}

_IDENTITY = re.compile(r"/identity(/v3)?/?$")
_VERSION = re.compile(r"/v1/?$")


def make_client(instance: Any) -> Client:
    """A client for the cloud at hand. Raises CommandError where no admin API can be found."""
    return Client(instance.session, endpoint(instance))


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Nothing but the customary option."""
    parser.add_argument(
        "--os-cascade-api-version", metavar="<cascade-api-version>", default=DEFAULT_API_VERSION,
        help=f"Cascade API version, default={DEFAULT_API_VERSION}",
    )  # fmt: skip
    return parser


def endpoint(instance: Any) -> str:
    """The root of ``/cascade/v1``: of the catalogue (type ``cascade``), else beside the gateway's identity endpoint."""
    named = _url(instance, "cascade")
    if named:
        return _VERSION.sub("", named.rstrip("/")) + "/v1"
    auth_url = getattr(getattr(instance, "auth", None), "auth_url", None)
    for identity in (_url(instance, "identity"), auth_url):
        if identity and _IDENTITY.search(identity):
            return _IDENTITY.sub("/cascade/v1", identity)
    raise exceptions.CommandError("No Cascade endpoint in the catalogue, and the identity endpoint is not a Cascade gateway's.")


def _url(instance: Any, service_type: str) -> str | None:
    try:
        found = instance.get_endpoint_for_service_type(service_type, region_name=instance.region_name, interface=instance.interface)
    except ksa.CatalogException:
        return None
    return str(found) if found else None


class Refused(exceptions.CommandError):
    """The API said no; ``document`` is its whole answer."""

    def __init__(self, message: str, document: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.document = document


class Client:
    """The admin API, one method per operation; documents in and out."""

    def __init__(self, session: Any, url: str) -> None:
        self._session, self._url = session, url

    def sites(self) -> list[dict[str, Any]]:
        """All sites."""
        rows: list[dict[str, Any]] = self._call("GET", "/sites")["sites"]
        return rows

    def site(self, name: str) -> dict[str, Any]:
        """One site."""
        found: dict[str, Any] = self._call("GET", f"/sites/{name}")["site"]
        return found

    def create(self, site: Mapping[str, Any], *, lower: bool, dry_run: bool) -> dict[str, Any]:
        """Join a site, or only examine it. The answer holds ``report`` and, once it is in, ``site``. Raises Refused."""
        body = {"site": site, "allow_lower_window": lower}
        return self._call("POST", "/sites", body=body, params={"dry_run": "true"} if dry_run else {})

    def update(self, name: str, change: Mapping[str, Any], *, lower: bool) -> dict[str, Any]:
        """Change a site."""
        body = {"site": change, "allow_lower_window": lower}
        found: dict[str, Any] = self._call("PATCH", f"/sites/{name}", body=body)["site"]
        return found

    def delete(self, name: str) -> None:
        """Remove a site."""
        self._call("DELETE", f"/sites/{name}")

    def health(self, name: str) -> dict[str, Any]:
        """Probe a site now."""
        found: dict[str, Any] = self._call("GET", f"/sites/{name}/health")["health"]
        return found

    def intents(self, *, site: str | None, verb: str | None) -> list[dict[str, Any]]:
        """What is not finished."""
        params = {k: v for k, v in (("site", site), ("verb", verb)) if v}
        rows: list[dict[str, Any]] = self._call("GET", "/intents", params=params)["intents"]
        return rows

    def status(self) -> dict[str, Any]:
        """The cloud's state."""
        found: dict[str, Any] = self._call("GET", "/status")["status"]
        return found

    def capacity(self) -> list[dict[str, Any]]:
        """What the sites have and what is used of it."""
        rows: list[dict[str, Any]] = self._call("GET", "/capacity")["capacity"]
        return rows

    def request(self, ident: str) -> dict[str, Any]:
        """What a request did."""
        found: dict[str, Any] = self._call("GET", f"/requests/{ident}")["request"]
        return found

    def _call(self, method: str, path: str, *, body: Any = None, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        reply = self._session.request(
            self._url + path, method, json=body, params=params or {}, raise_exc=False, headers={"Accept": "application/json"}
        )
        try:
            doc = reply.json() if reply.content else {}
        except ValueError:
            doc = {}
        if reply.status_code >= 400:
            said = doc.get("error", {}).get("message") or reply.reason
            raise Refused(f"{said} (HTTP {reply.status_code})", doc)
        found: dict[str, Any] = doc
        return found


def client_of(ran: command.Command) -> Client:
    """The client of a command's cloud."""
    return cast(Client, getattr(ran.app.client_manager, API_NAME))
