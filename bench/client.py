"""One user on one connection that is kept: what is measured is an answer, not the making of connections."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lab.data import PASSWORD
from lab.report import LabError

VERSIONS = {"compute": "compute 2.60", "volume": "volume 3.60"}
"""First part of a path -> the microversion asked for."""
TIMEOUT = 120.0
"""Seconds; longer than anything may take."""


def auth(user: str, project: str) -> dict[str, Any]:
    """What Keystone is asked for a token with."""
    who = {"name": user, "password": PASSWORD, "domain": {"id": "default"}}
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers``: keys in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A connection to one authority; made anew where the other side has ended it meanwhile."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._root = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
        """One exchange. Raises LabError where there is no answer."""
        for last in (False, True):
            kept = self._connection.sock is not None
            try:
                self._connection.request(method, self._root + path, body, headers)
                got = self._connection.getresponse()
                return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
            except (OSError, http.client.HTTPException) as e:
                self._connection.close()
                if last or not kept or isinstance(e, TimeoutError):
                    raise LabError(f"{method} {path}: {e!r}") from e
        raise AssertionError("unreachable")


class User:
    """Logged in at the gateway, or at a cloud."""

    def __init__(self, root: str, user: str, project: str) -> None:
        """``root``: what ``/identity`` and ``/compute`` stand below. Raises LabError."""
        self.name, self._client = user, Client(root)
        said = self._client.ask("POST", "/identity/v3/auth/tokens", {"Content-Type": "application/json"},
                                json.dumps(auth(user, project)).encode())  # fmt: skip
        if said.status != 201:
            raise LabError(f"{user} cannot log in: {said.status} {said.body[:300]!r}")
        self.token, self.project_id = said.headers["x-subject-token"], str(json.loads(said.body)["token"]["project"]["id"])

    def move(self, root: str) -> None:
        """Speak to another cloud that takes the same token."""
        self._client = Client(root)

    def headers(self, path: str) -> dict[str, str]:
        """Of a JSON request."""
        version = VERSIONS.get(path.split("/")[1])
        asked = {"OpenStack-API-Version": version} if version else {}
        return {"X-Auth-Token": self.token, "Content-Type": "application/json", **asked}

    def ask(self, method: str, path: str, doc: Any = None) -> Any:
        """A document from ``/compute/v2.1/...`` and the like; None where the answer has none. Raises LabError for a refusal."""
        said = self._client.ask(method, path, self.headers(path), None if doc is None else json.dumps(doc).encode())
        if said.status >= 400:
            raise LabError(f"{method} {path}: {said.status} {said.body[:500]!r}")
        return json.loads(said.body) if said.body else None

    def get(self, path: str) -> Any:
        """Read."""
        return self.ask("GET", path)

    def timed(self, path: str) -> tuple[Any, float]:
        """Read; the document, and the seconds until all of it was here, undecoded."""
        began = time.monotonic()
        said = self._client.ask("GET", path, self.headers(path))
        took = time.monotonic() - began
        if said.status != 200:
            raise LabError(f"GET {path}: {said.status} {said.body[:500]!r}")
        return json.loads(said.body), took

    def put_data(self, path: str, data: bytes) -> None:
        """Upload. Raises LabError."""
        said = self._client.ask("PUT", path, {"X-Auth-Token": self.token, "Content-Type": "application/octet-stream"}, data)
        if said.status >= 400:
            raise LabError(f"PUT {path}: {said.status} {said.body[:300]!r}")
