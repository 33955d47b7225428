"""One answer of a hub or site service, whole in memory (image data streams elsewhere)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from cascade.model.errors import BadReply, NativeFault


@dataclass(frozen=True, slots=True)
class Reply:
    """``headers`` keys are lower-case."""

    target: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The decoded body; raises BadReply if it is not JSON."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise BadReply(self.target, f"not JSON: {e}") from e

    def expect(self, *statuses: int) -> Reply:
        """Self if the status is one of these (any 2xx when none is named), else raises NativeFault (4xx) or BadReply (5xx)."""
        if self.status in statuses or (not statuses and self.ok):
            return self
        if 400 <= self.status < 500:
            raise NativeFault(self.status, self.body, self.headers, self.target)
        raise BadReply(self.target, f"status {self.status}: {self.body[:300]!r}")
