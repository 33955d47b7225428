"""Console grants: what a console's address holds instead of the site's own address and token. Pure.

A grant is sealed, not stored: any gateway process with the master key can open it, nobody else can read or make one.
It has no life of its own; the site judges its token at each use, with its own expiry (Nova's ``[consoleauth] token_ttl``).
"""

from __future__ import annotations

import msgspec
from cryptography.fernet import InvalidToken

from cascade.sites.secrets import box

_LONGEST = 4096
"""Characters; nothing longer was made here."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """One console at one site."""

    site: str
    kind: str
    """novnc, spice-html5 or serial."""
    pages: str
    """The site's URL below which the console's page and its parts are; empty where it has none."""
    socket: str
    """The site's websocket URL, token included."""


class Grants:
    """Seals and opens them with a key derived from the master key."""

    def __init__(self, master_key: bytes) -> None:
        self._box = box(master_key, "console grants")

    def seal(self, grant: Grant) -> str:
        """A grant as text that can stand in a URL: letters, digits, ``-`` and ``_``."""
        return self._box.encrypt(msgspec.msgpack.encode(grant)).decode().rstrip("=")

    def open(self, text: str) -> Grant | None:
        """The grant, or None for what was not made here."""
        if not text or len(text) > _LONGEST or not text.isascii():
            return None
        try:
            return msgspec.msgpack.decode(self._box.decrypt(text + "=" * (-len(text) % 4)), type=Grant)
        except (InvalidToken, msgspec.DecodeError):
            return None
