"""A small raw HTTP client with a token: what an SDK would smooth over must be seen here."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def shape(self) -> Any:
        """What kind of fault this is, without its words: comparable between two clouds."""
        doc = self.json()
        if isinstance(doc, dict) and len(doc) == 1:
            ((key, inner),) = doc.items()
            if isinstance(inner, dict):
                return key, sorted(inner), inner.get("type") if key == "NeutronError" else inner.get("code")
        if isinstance(doc, dict):
            return sorted(doc)
        return "html" if self.body.lstrip().startswith(b"<") else "text" if self.body else "empty"


@dataclass
class Cloud:
    """One entry of clouds.yaml."""

    name: str
    auth: dict[str, str]
    region: str
    token: str = ""
    project_id: str = ""
    user_id: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> dict[str, Cloud]:
        """Every cloud of a clouds.yaml."""
        doc = yaml.safe_load(path.read_text())["clouds"]
        return {n: cls(n, c["auth"], c["region_name"]) for n, c in doc.items()}

    def login(self) -> Cloud:
        """A token and the endpoints it names."""
        a = self.auth
        user = {"name": a["username"], "password": a["password"], "domain": {"id": a["user_domain_id"]}}
        project = {"name": a["project_name"], "domain": {"id": a["project_domain_id"]}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}}
        got = raw(
            a["auth_url"] + "/auth/tokens", "POST", body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        assert got.status == 201, (self.name, got.status, got.body[:300])
        self.token = got.headers["x-subject-token"]
        token = got.json()["token"]
        self.project_id, self.user_id = token["project"]["id"], token["user"]["id"]
        for service in token["catalog"]:
            for e in service["endpoints"]:
                if e["interface"] == "public" and e["region_id"] == self.region:
                    self.endpoints[service["type"]] = e["url"].rstrip("/")
        self.endpoints["identity"] = a["auth_url"]
        self.endpoints["volume"] = f"{self.endpoints['block-storage'].removesuffix('/' + self.project_id)}/{self.project_id}"
        return self

    def through(self, url: str) -> Cloud:
        """The same account at another gateway, whatever the hub's catalogue names."""
        c = Cloud(self.name, {**self.auth, "auth_url": url + "/identity/v3"}, self.region).login()
        c.endpoints = {k: url + v[v.index("/", 8) :] for k, v in c.endpoints.items()}
        return c

    def __call__(
        self, service: str, method: str, path: str, body: Any = None, *, version: str | None = None, token: str | None = None,
        headers: dict[str, str] | None = None, timeout: float = 60, json_type: bool = True, **params: Any
    ) -> Answer:  # fmt: skip
        """One request. ``path`` is below the endpoint: ``/servers``, ``/volumes``, ``/v2.0/ports``, ``/v2/images``.

        ``json_type``: a body is called JSON where ``headers`` do not say otherwise.
        """
        if not self.token:
            self.login()
        head = {"X-Auth-Token": self.token if token is None else token, "Accept": "application/json"}
        if version:
            head["OpenStack-API-Version"] = f"{service} {version}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if data is not None and json_type:
            head["Content-Type"] = "application/json"
        head |= headers or {}
        query = "?" + urlencode(params, doseq=True) if params else ""
        return raw(self.endpoints[service] + path + query, method, body=data, headers=head, timeout=timeout)

    def until(self, service: str, path: str, done: Any, *, seconds: float = 90, **kw: Any) -> Answer:
        """Poll until ``done(answer)``."""
        end = time.monotonic() + seconds
        while True:
            got = self(service, "GET", path, **kw)
            if done(got):
                return got
            assert time.monotonic() < end, (path, got.status, got.body[:600])
            time.sleep(0.5)


def raw(url: str, method: str, *, body: bytes | None = None, headers: dict[str, str] | None = None, timeout: float = 60) -> Answer:
    """One request on a connection of its own; the path goes out as it stands."""
    parts = urlsplit(url)
    target = url[len(f"{parts.scheme}://{parts.netloc}") :] or "/"
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        r = connection.getresponse()
        # what is there more than once is joined, as RFC 9110 lets a client do
        return Answer(r.status, {k.lower(): r.getheader(k) or "" for k, _ in r.getheaders()}, r.read())
    finally:
        connection.close()
