"""A test hook: die at a named point, as a power cut would. Off unless ``CASCADE_CRASH_AT`` names the point."""

from __future__ import annotations

import os
import signal

_AT = os.environ.get("CASCADE_CRASH_AT", "")


def point(name: str) -> None:
    """SIGKILL ourselves here if asked to; no handler, no flush, no goodbye."""
    if name == _AT:
        os.kill(os.getpid(), signal.SIGKILL)
