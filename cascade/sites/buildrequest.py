"""Build requests: servers that were accepted and are not at their site yet (design review 3.1), as they are kept. Pure.

A body holds user data, a password and injected files, so the whole of it is sealed in the intent. The client's token is
not kept at all: at a mapped site nobody needs it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.fernet import InvalidToken

from cascade.model.caller import Caller
from cascade.sites.secrets import box


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to make one server later, and to show it until then."""

    user_id: str
    user_name: str
    user_domain_id: str
    project_id: str
    project_name: str | None
    project_domain_id: str | None
    roles: list[str]
    version: str
    """Microversion of the POST at the site."""
    body: dict[str, Any]
    """The site's body; only the images are still named by their hub ids."""
    images: list[str]
    """Hub ids of the images whose bits must be there first."""
    server: dict[str, Any]
    """What the client asked for, under the name this server of a multi-create has."""
    description: str | None
    hints: dict[str, Any]
    group: str | None
    flavor: dict[str, Any]
    """As the hub shows it at 2.61."""
    properties: dict[str, str]
    """Of the image, as far as Nova shows them of a server."""

    def caller(self) -> Caller:
        """Who asked, without a token."""
        return Caller(
            token="", user_id=self.user_id, user_name=self.user_name, user_domain_id=self.user_domain_id,
            project_id=self.project_id, project_name=self.project_name, project_domain_id=self.project_domain_id,
            roles=frozenset(self.roles), expires_at=0.0,
        )  # fmt: skip


class Seals:
    """Seals and opens them with a key derived from the master key."""

    def __init__(self, master_key: bytes) -> None:
        self._box = box(master_key, "build requests")

    def seal(self, request: BuildRequest) -> str:
        """As text for an intent."""
        return self._box.encrypt(msgspec.json.encode(request)).decode()

    def open(self, text: str) -> BuildRequest | None:
        """None for what was sealed with another master key."""
        try:
            return msgspec.json.decode(self._box.decrypt(text), type=BuildRequest)
        except (InvalidToken, msgspec.DecodeError):
            return None
