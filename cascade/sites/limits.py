"""The bounds every southbound call lives in. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Plain numbers, and the defaults of the options ``cascade.cmd`` fills them from."""

    connect: float = 2.0
    """TCP and TLS set-up of one connection."""
    call: float = 60.0
    """A whole call, its token included, where the caller names no deadline."""
    login: float = 20.0
    """Making one token at a site, everything it needs there included."""
    stream_idle: float = 60.0
    """Longest silence inside a stream of image data."""
    reply_bytes: int = 64 << 20
    """Largest answer taken into memory; a bigger one is a BadReply."""
    concurrency: int = 32
    """Calls in flight per target; further ones wait within their own deadline, projects in turn."""
    waiting: int = 4096
    """Calls that wait for one target: more than requests in work can make."""
    patience: float = 20.0
    """A request whose first call to a target would wait for longer than this is refused at once. One that was let in is not."""
    streams: int = 32
    """Image streams in flight per target, those of north clients included; each holds less than a megabyte."""
    logins: int = 4
    """Tokens made at once per site: each costs the site a password hash (R5.5)."""
    probe_interval: float = 15.0
    """Between two probes of a quiet target, jittered by a fifth."""
    probe_deadline: float = 2.0
    """An unanswered probe has failed after this; a call silent for as long asks for a probe at once."""
    probe_gap: float = 1.0
    """Between two probes while it is unclear whether a target is down."""
    probe_down: float = 3.0
    """Between two probes of a target that is down."""
    fail_threshold: int = 2
    """Consecutive failures, no success between them, after which a service counts as down."""
    fail_seconds: float = 15.0
    """So does one that failed first so long ago and has never answered since."""
