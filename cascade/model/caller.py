"""Who asks: the facts of one validated north token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """One token's facts (Keystone ``GET /v3/auth/tokens``). ``token`` is secret: never logged, never stored."""

    token: str
    user_id: str
    user_name: str
    user_domain_id: str
    project_id: str | None
    project_name: str | None
    project_domain_id: str | None
    roles: frozenset[str]
    expires_at: float
    """Unix seconds."""
    is_system: bool = False
    access_rules: Sequence[Mapping[str, Any]] | None = None
    """Of an application credential; None = unrestricted, empty = nothing allowed."""

    @property
    def is_admin(self) -> bool:
        """Has the role the default policies of every service call administrator."""
        return "admin" in self.roles
