"""The smallest OpenStack REST client that can set up a lab: JSON in, JSON out."""

import json
import urllib.error
import urllib.request
from typing import Any

from lab.data import PASSWORD
from lab.report import LabError

Json = dict[str, Any]


class Rest:
    """A user logged in to a project."""

    def __init__(self, auth_url: str, user: str, project: str) -> None:
        """Log in."""
        domain = {"id": "default"}
        answer, headers = _call(
            "POST",
            f"{auth_url}/auth/tokens",
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {"user": {"name": user, "domain": domain, "password": PASSWORD}},
                    },
                    "scope": {"project": {"name": project, "domain": domain}},
                }
            },
            {},
        )
        self._headers = {"X-Auth-Token": headers["x-subject-token"]}
        self.project_id: str = answer["token"]["project"]["id"]

    def get(self, url: str) -> Json:
        """Read something."""
        return _call("GET", url, None, self._headers)[0]

    def post(self, url: str, body: Json) -> Json:
        """Create something."""
        return _call("POST", url, body, self._headers)[0]

    def put(self, url: str, body: Json | None = None) -> Json:
        """Set something."""
        return _call("PUT", url, body, self._headers)[0]

    def patch(self, url: str, body: Json) -> Json:
        """Change something."""
        return _call("PATCH", url, body, self._headers)[0]


def _call(method: str, url: str, body: Json | None, headers: dict[str, str]) -> tuple[Json, dict[str, str]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            return (json.loads(text) if text else {}), {key.lower(): value for key, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        raise LabError(f"{method} {url}: {error.code} {said[:600]}") from None
    except OSError as error:
        raise LabError(f"{method} {url}: {error}") from None
