"""What is derived from the master key whenever it is needed, and stored nowhere: secrets of shadow users, keys of seals. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from cryptography.fernet import Fernet

VERSION = 1
"""Of the passwords. Changing it (or the master key) makes the next login set every password anew."""


class Secrets:
    """HMAC-SHA-256 over what the secret is for; the parts are length-prefixed, so no two meanings share an input."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) < 32:
            raise ValueError("the master key must have at least 32 bytes")
        self._key = master_key

    def password(self, site: str, user: str, version: int = VERSION) -> str:
        """A shadow user's password. The prefix satisfies the usual complexity rules of PCI-style sites."""
        return "Aa1!" + self._derive("password", site, user, str(version))

    def credential(self, site: str, user: str, project: str, roles: Iterable[str], version: int) -> str:
        """The secret of the application credential of one role set."""
        return self._derive("credential", site, user, project, roles_hash(roles), str(version))

    def _derive(self, *parts: str) -> str:
        message = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
        return base64.urlsafe_b64encode(hmac.digest(self._key, message, "sha256")).decode().rstrip("=")


def box(master_key: bytes, purpose: str) -> Fernet:
    """What seals things of one purpose, for any process with the master key to open."""
    return Fernet(base64.urlsafe_b64encode(hmac.digest(master_key, purpose.encode(), "sha256")))


def roles_hash(roles: Iterable[str]) -> str:
    """16 hex digits that name a role set, whatever its order."""
    return hashlib.sha256("\0".join(sorted(roles)).encode()).hexdigest()[:16]
