"""Tenants at work through the gateway while something happens to another site: every request is counted, every failure kept.

Workers make and delete servers and volumes in one zone; an observer lists everything. What a tenant may expect is asked of
each answer: a status, a state, the rows that must be there.
"""

import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.raw import Answer, Cloud
from lab.report import say

PACE = 2.5
"""Seconds between two requests of a worker."""
PATIENCE = 90.0
"""Seconds a server or volume may take to become what it should be."""
MODERN, OLDER = "2.90", "2.60"
"""A microversion in which Nova marks what it cannot reach, and one in which it leaves it out."""


@dataclass(frozen=True)
class Seen:
    """One request."""

    phase: str
    at: float
    seconds: float
    what: str
    wrong: str
    """Why this is not what a tenant may expect; empty: it is."""


class Wrong(Exception):
    """An answer that is not what a tenant may expect; it is in the list already."""


class Load:
    """``start``, ``phase`` as things happen, ``stop``; then ``seen`` and the rest say what was seen."""

    def __init__(self, accounts: Callable[[], Cloud], zone: str, other: str, *, stage: dict[str, str], workers: int = 2) -> None:
        """``stage``: ids of ``image``, ``network`` and of the servers ``zone`` and ``other`` that stand all the while."""
        self._accounts, self._zone, self._other, self._stage = accounts, zone, other, stage
        self._phase, self._over = "before", threading.Event()
        self.seen: list[Seen] = []
        self.states: list[tuple[float, str, bool]] = []
        """(when, status of the other zone's server, whether that zone is available)."""
        self.made = {"servers": 0, "volumes": 0}
        self._workers, self._running = workers, list[Future[None]]()

    def start(self) -> None:
        """Begin."""
        pool = ThreadPoolExecutor(self._workers + 1)
        self._running = [pool.submit(self._work, n) for n in range(self._workers)] + [pool.submit(self._observe)]
        pool.shutdown(wait=False)

    def phase(self, name: str) -> None:
        """What is counted from now on is counted for this."""
        self._phase = name

    def stop(self) -> None:
        """End when each worker has cleaned up after itself. Raises what ended one of them before its time."""
        self._over.set()
        for worker in self._running:
            worker.result()

    def failures(self) -> list[Seen]:
        """What was not as it should be."""
        return [seen for seen in self.seen if seen.wrong]

    def away(self, wanted: Callable[[str, bool], bool]) -> float:
        """Seconds from the first to the last look at which the other zone was so: its server's status, its availability."""
        times = [at for at, status, available in self.states if wanted(status, available)]
        return max(times) - min(times) if times else 0.0

    def tell(self) -> None:
        """The figures."""
        for phase in dict.fromkeys(seen.phase for seen in self.seen):
            rows = [seen for seen in self.seen if seen.phase == phase]
            took = [seen.seconds for seen in rows]
            wrong = sum(bool(seen.wrong) for seen in rows)
            span = max(seen.at for seen in rows) - min(seen.at for seen in rows)
            say(f"     {phase:<7} {len(rows):>5} requests in {span:.0f} s, {wrong} failed; "
                f"median {median(took):.2f} s, slowest {max(took):.2f} s")  # fmt: skip
        say(f"     {self.made['servers']} servers and {self.made['volumes']} volumes were made in {self._zone} and deleted again")
        for seen in self.failures()[:20]:
            say(f"     FAILED {seen.phase}: {seen.what}: {seen.wrong}")

    # Inside

    def _ask(self, cloud: Cloud, wrong: Callable[[Answer], str], *call: Any, **more: Any) -> Answer | None:
        """One request, counted; None where it broke or its answer is wrong."""
        begun, what = time.monotonic(), " ".join(map(str, call[:3]))
        got = None
        try:
            got = cloud(*call, timeout=30, **more)
            said = wrong(got)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            said = f"{type(error).__name__}: {error}"
        self.seen.append(Seen(self._phase, begun, time.monotonic() - begun, what, said))
        return None if said else got

    def _must(self, cloud: Cloud, wrong: Callable[[Answer], str], *call: Any, **more: Any) -> Answer:
        got = self._ask(cloud, wrong, *call, **more)
        self._over.wait(PACE)
        if got is None:
            raise Wrong
        return got

    def _until(self, cloud: Cloud, service: str, path: str, done: Callable[[Answer], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not done(self._must(cloud, _ready_or_gone, service, "GET", path)):
            if time.monotonic() > end:
                late = f"not so after {PATIENCE:.0f} s"
                self.seen.append(Seen(self._phase, time.monotonic(), PATIENCE, f"{service} GET {path}", late))
                raise Wrong
            if self._over.is_set():
                time.sleep(0.5)

    def _work(self, number: int) -> None:
        cloud = self._accounts()
        while not self._over.is_set():
            try:
                self._volume(cloud, f"load-{number}")
                self._server(cloud, f"load-{number}")
            except Wrong:
                continue

    def _server(self, cloud: Cloud, name: str) -> None:
        body = {"server": {"name": name, "flavorRef": "42", "imageRef": self._stage["image"], "availability_zone": self._zone,
                           "networks": [{"uuid": self._stage["network"]}]}}  # fmt: skip
        got = self._must(cloud, _status(202), "compute", "POST", "/servers", body, version=MODERN)
        path = f"/servers/{got.json()['server']['id']}"
        try:
            self._until(cloud, "compute", path, lambda answer: _state(answer) == "ACTIVE")
            mine = path.removeprefix("/servers/")
            self._must(cloud, lambda a: _lacks(a, "servers", mine), "compute", "GET", "/servers", version=MODERN)
        finally:
            self._must(cloud, _status(204), "compute", "DELETE", path)
        self._until(cloud, "compute", path, lambda answer: answer.status == 404)
        self.made["servers"] += 1

    def _volume(self, cloud: Cloud, name: str) -> None:
        body = {"volume": {"name": name, "size": 1, "availability_zone": self._zone}}
        path = f"/volumes/{self._must(cloud, _status(202), 'volume', 'POST', '/volumes', body).json()['volume']['id']}"
        try:
            self._until(cloud, "volume", path, lambda answer: _state(answer) == "available")
            mine = path.removeprefix("/volumes/")
            self._must(cloud, lambda a: _lacks(a, "volumes", mine), "volume", "GET", "/volumes")
        finally:
            self._must(cloud, _status(202), "volume", "DELETE", path)
        self._until(cloud, "volume", path, lambda answer: answer.status == 404)
        self.made["volumes"] += 1

    def _observe(self) -> None:
        """Lists: ours whole and as it is, the other site's row never missing where Nova can say that it is not known."""
        cloud, ours, other = self._accounts(), self._stage[self._zone], self._stage[self._other]
        while not self._over.is_set():
            listed = self._ask(
                cloud, lambda a: _lacks(a, "servers", ours, other) or _not_active(a, ours),
                "compute", "GET", "/servers/detail", version=MODERN,
            )  # fmt: skip
            self._ask(cloud, lambda a: _lacks(a, "servers", ours) or _not_active(a, ours), "compute", "GET", "/servers/detail",
                      version=OLDER)  # fmt: skip
            zones = self._ask(cloud, self._zone_missing, "compute", "GET", "/os-availability-zone")
            if listed and zones:
                status = next(row["status"] for row in listed.json()["servers"] if row["id"] == other)
                self.states.append((time.monotonic(), status, _available(zones)[self._other]))
            self._over.wait(PACE)

    def _zone_missing(self, answer: Answer) -> str:
        if said := _status(200)(answer):
            return said
        found = _available(answer)
        return "" if found.get(self._zone) and self._other in found else f"zones: {found}"


def _available(answer: Answer) -> dict[str, bool]:
    return {row["zoneName"]: row["zoneState"]["available"] for row in answer.json()["availabilityZoneInfo"]}


def _status(*wanted: int) -> Callable[[Answer], str]:
    def wrong(answer: Answer) -> str:
        return "" if answer.status in wanted else f"{answer.status} {answer.body[:200].decode(errors='replace')}"

    return wrong


def _state(answer: Answer) -> str:
    """The state of the one thing an answer is about; empty where there is none."""
    doc = answer.json()
    return str(next(iter(doc.values())).get("status", "")) if answer.status == 200 else ""


def _ready_or_gone(answer: Answer) -> str:
    if answer.status == 200 and _state(answer).lower().startswith("error"):
        return f"it is {_state(answer)}"
    return _status(200, 404)(answer)


def _lacks(answer: Answer, key: str, *ids: str) -> str:
    """What a list must hold."""
    if said := _status(200)(answer):
        return said
    missing = set(ids) - {row["id"] for row in answer.json()[key]}
    return f"not in the list: {', '.join(sorted(missing))}" if missing else ""


def _not_active(answer: Answer, ident: str) -> str:
    status = next(row["status"] for row in answer.json()["servers"] if row["id"] == ident)
    return "" if status == "ACTIVE" else f"{ident} is {status}"
