"""North tokens: validated at the hub's Keystone, believed for a short time, access rules enforced.

The rules are keystonemiddleware's: cache keyed by the token's digest, expiry checked at every use, an application
credential's access rules matched against service type, method and path as that service sees them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cascade.api.admission import Door, later
from cascade.model.caller import Caller
from cascade.model.errors import BadReply, Fault
from cascade.sites.south import South
from cascade.sites.turns import Reason

_SERVICE_TYPES = {
    "compute": ("compute",), "volume": ("block-storage", "volumev3", "volume", "block-store"), "network": ("network",),
    "image": ("image",), "identity": ("identity",), "placement": ("placement",), "cascade": ("cascade",), "metric": ("metric",),
}  # fmt: skip


class Invalid(Fault):
    """No token, or one Keystone does not know: the real service is asked to say so in its own words."""

    def __init__(self) -> None:
        super().__init__(401, "The request you have made requires authentication.")


class Tokens:
    """Validation with a bounded cache; single-flight per token. ``waiting``: so many tokens may be asked about at once;
    ``each``: so many requests may wait for the answer about one."""

    def __init__(
        self, south: South, *, ttl: float, clock: Callable[[], float] = time.time, size: int = 20_000, waiting: int = 5000,
        each: int = 1000,
    ) -> None:  # fmt: skip
        self._south, self._ttl, self._clock, self._size, self._most, self._each = south, ttl, clock, size, waiting, each
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Caller | None]] = {}
        self._waiting: Counter[str] = Counter()
        self._generation = 0

    async def validate(self, token: str | None) -> Caller:
        """The caller behind a token. Raises Invalid; SiteError when Keystone does not answer; Fault 429, 503 when too many wait."""
        if not token or len(token) > 8192 or not token.isascii():
            raise Invalid
        key = hashlib.sha256(token.encode()).hexdigest()
        now = self._clock()
        hit = self._known.get(key)
        if hit is None or hit[0] <= now:
            caller = await self._ask_once(key, token)
        else:
            caller = hit[1]
        if caller is None or caller.expires_at <= now:
            raise Invalid
        return caller

    def forget(self, token: str | None = None) -> None:
        """Drop one token, or all of them: after any write to identity nothing cached is to be trusted."""
        self._generation += 1
        if token is None:
            self._known.clear()
        else:
            self._known.pop(hashlib.sha256(token.encode()).hexdigest(), None)

    async def _ask_once(self, key: str, token: str) -> Caller | None:
        task = self._asking.get(key)
        if task is not None and self._waiting[key] >= self._each:
            raise later(Door.REQUESTS, Reason.LINE, 1.0)
        if task is None:
            if len(self._asking) >= self._most:
                raise later(Door.REQUESTS, Reason.ALL, 1.0)
            task = self._asking[key] = asyncio.create_task(self._learn(key, token), name="token")
            task.add_done_callback(_seen)
        self._waiting[key] += 1
        try:
            return await asyncio.shield(task)  # who leaves takes nobody's answer along, not even the first
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    async def _learn(self, key: str, token: str) -> Caller | None:
        generation = self._generation
        try:
            caller = await self._ask(token)
        finally:
            del self._asking[key]
        if generation == self._generation:
            # An unknown token is remembered shortly: enough against a loop, too short to outlive a clock skew.
            self._known.pop(key, None)  # the newest stands last
            self._known[key] = (self._clock() + (self._ttl if caller else min(5.0, self._ttl)), caller)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return caller

    async def _ask(self, token: str) -> Caller | None:
        reply = await self._south.call(
            "hub", "identity", "GET", "/v3/auth/tokens", params=[("nocatalog", "1")],
            headers={"X-Subject-Token": token, "OpenStack-Identity-Access-Rules": "1.0"}, again=True,
        )  # fmt: skip
        if reply.status == 404:
            return None
        if not reply.ok:
            raise BadReply("hub", f"token validation answered {reply.status}")
        return caller_of(token, reply.json()["token"])


def _seen(task: asyncio.Task[Caller | None]) -> None:
    """An error is for those who wait; where all have left, nobody has to see it."""
    if not task.cancelled():
        task.exception()


def caller_of(token: str, doc: Mapping[str, Any]) -> Caller:
    """The facts of a Keystone v3 token document."""
    project, user = doc.get("project") or {}, doc["user"]
    credential = doc.get("application_credential") or {}
    return Caller(
        token=token,
        user_id=user["id"],
        user_name=user["name"],
        user_domain_id=user["domain"]["id"],
        project_id=project.get("id"),
        project_name=project.get("name"),
        project_domain_id=(project.get("domain") or {}).get("id"),
        roles=frozenset(r["name"] for r in doc.get("roles", ())),
        expires_at=datetime.fromisoformat(doc["expires_at"].replace("Z", "+00:00")).timestamp(),
        is_system=bool(doc.get("system")),
        access_rules=credential.get("access_rules"),
    )


def allowed(rules: Sequence[Mapping[str, Any]] | None, service: str, method: str, path: str) -> bool:
    """Whether an application credential's access rules let this request through. ``path`` as the service sees it."""
    if rules is None:
        return True
    return any(
        rule.get("service") in _SERVICE_TYPES.get(service, ()) and rule.get("method") == method
        and _pattern(str(rule.get("path", ""))).fullmatch(path) is not None
        for rule in rules
    )  # fmt: skip


def _pattern(path: str) -> re.Pattern[str]:
    """``*`` is one segment, ``**`` any tail, ``{name}`` one segment (Keystone API reference, access rules)."""
    parts = re.split(r"(\*\*|\*|\{[^}]*\})", path)
    return re.compile("".join(".*" if p == "**" else "[^/]+" if p == "*" or p.startswith("{") else re.escape(p) for p in parts))
