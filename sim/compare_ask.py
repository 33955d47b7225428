"""One call of ``sim.compare``, and what it does not look at.

``{...}``: a word. Known from the start are ``name`` (new in each run), ``none`` (an id of nothing), ``cloud``, and of each account
``{demo_project}``, ``{demo_user}`` and ``{demo_token}``; other words are what an earlier call kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Ask:
    """One call, made once for each of ``versions``.

    ``who``: an account, ``nobody`` (no token) or ``stranger`` (a bad one). ``call``: method and path. ``keep``: the word for the
    new object's id, or ``word:path.in.the.document``. ``until``: ask again until the object has this status, or is "gone".
    """

    service: str
    who: str
    call: str
    body: Any = None
    versions: str = ""
    keep: str = ""
    until: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """GET, POST..."""
        return self.call.partition(" ")[0]

    @property
    def reads(self) -> bool:
        """Whether nothing hangs on it: it may be made together with others, or left out."""
        return self.method == "GET" and not self.keep and not self.until and "associate" not in self.call

    @property
    def path(self) -> str:
        """Below the service's root."""
        path = self.call.partition(" ")[2]
        return path if re.match(r"/(v\d.*)?$", path) else {"compute": "/v2.1", "volume": "/v3"}.get(self.service, "") + path


FREE = frozenset({
    "metadata", "meta", "extra_specs", "group_specs", "addresses", "volume_image_metadata", "capabilities", "specs", "rules",
    "policies", "connection_info", "links",
})  # fmt: skip
"""Keys of objects whose own keys are users' or drivers' words."""
TYPED = re.compile(r"(volumes|gigabytes|snapshots)_(?!links$|actions$)")
"""Keys that name a volume type."""
TOLERATED = tuple(re.compile(p) for p in (
    r"volume GET /volumes/\{\w+\} \.volume\.service_uuid: null",  # it comes a moment after "available"
    r"volume GET /volumes/detail\S* \.volumes\[\]\.volume_image_metadata: ",  # which volume is the first depends on the clock
    r"volume POST \S+ \.os-volume_upload_image\.volume_type\.updated_at: ",  # somebody may have changed the type
    r"identity GET /v3/users\?limit=1 \.users\[\]",  # another user comes first
))  # fmt: skip
"""Differences that are meant: "service METHOD /path difference"."""


def any_of(*values: Any) -> tuple[Any, ...]:
    """Bodies."""
    return values


K, V, N, G, Q, P = (partial(Ask, s) for s in ("identity", "volume", "compute", "image", "network", "placement"))
TIMED = ("service", "admin", "demo")
"""Who is asked where the answer depends on who asks."""
