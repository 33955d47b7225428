"""A right request, and how tables of them are written.

``{server}``, ``{network}``... are things of the side that is asked (``stage.FACTS``); ``{uuid}`` exists nowhere, so that what
gets past the API's own checks changes nothing. Every create is undone by a DELETE of what it made.
"""

from dataclasses import dataclass
from typing import Any

NOWHERE = "3f0c2a51-6f0e-4b57-9d0c-0123456789ab"
"""The id of nothing."""


@dataclass(frozen=True)
class Seed:
    """One right request."""

    service: str
    method: str
    path: str
    body: Any = None
    schema: str = ""
    """Of the service's own JSON schemas the one for this body: ``servers.create_v294``."""
    query: tuple[str, ...] = ()
    """Names of query parameters that the operation takes."""
    version: str | None = None
    account: str = "member"
    """``member`` of a project of its own, or ``admin``."""

    @property
    def name(self) -> str:
        """How reports call it."""
        action = f" {next(iter(self.body))}" if self.path.endswith("/action") and isinstance(self.body, dict) else ""
        return f"{self.method} {self.path}{action}"


def many(service: str, version: str | None, rows: tuple[tuple[str, str, Any, str], ...], **kw: Any) -> tuple[Seed, ...]:
    """Rows of method, path, body and schema."""
    return tuple(Seed(service, method, path, body, schema, version=version, **kw) for method, path, body, schema in rows)


def lists(service: str, version: str | None, rows: dict[str, str], **kw: Any) -> tuple[Seed, ...]:
    """Lists and the names of their query parameters."""
    return tuple(Seed(service, "GET", path, query=tuple(names.split()), version=version, **kw) for path, names in rows.items())
