"""The lab's upgrade of a site: what may be done, what is remembered, what a broken one leaves; and a load that can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import cloud, config, infra, load, services, upgrade
from lab.data import DATABASES, RELEASES, SITES, supported_step
from lab.paths import State
from lab.raw import Answer
from lab.report import LabError
from tests.unit.test_lab_data import state

__all__ = ["state"]  # the fixture
TOKYO = SITES["tokyo"]


@pytest.mark.parametrize(
    ("old", "new", "whether"),
    [
        ("2025.1", "2025.2", True),
        ("2025.2", "2026.1", True),
        ("2025.1", "2026.1", True),
        ("2025.2", "2026.2", False),
        ("2025.1", "2026.2", False),
        ("2026.1", "2025.1", False),
    ],
)
def test_only_steps_that_the_services_support(old: str, new: str, whether: bool) -> None:
    assert supported_step(old, new) == whether


def test_an_upgraded_site_stays_upgraded(state: State) -> None:
    """Programs and configuration are the release's that is written down, until the cloud's folder goes (`reset`)."""
    before = services.api(state, TOKYO, "keystone").argv[0]
    config.write(state, TOKYO)
    state.cloud(TOKYO).release_file.write_text("2026.1")
    config.write(state, TOKYO)
    assert state.release(TOKYO) == "2026.1" != TOKYO.release
    assert all("/2025.1/" not in word for proc in services.procs(state, TOKYO) for word in proc.argv)
    assert "/venvs/2026.1/" in (state.cloud(TOKYO).etc / "nova" / "nova.conf").read_text()
    state.cloud(TOKYO).release_file.unlink()
    assert services.api(state, TOKYO, "keystone").argv[0] == before


class Operator:
    """What an upgrade does, written down instead of done; ``breaks_at`` fails once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, breaks_at: str = "") -> None:
        self.done: list[str] = []
        self.breaks_at = breaks_at
        monkeypatch.setattr(cloud, "bootstrapped", lambda *_: True)
        monkeypatch.setattr(upgrade.install, "release", lambda _, name: self.does(f"install {name}"))
        monkeypatch.setattr(upgrade, "drain", lambda *_: self.does("drain"))
        monkeypatch.setattr(upgrade, "take_back", lambda *_: self.does("take back"))
        monkeypatch.setattr(upgrade.procs, "stop", lambda _: self.does("stop"))
        monkeypatch.setattr(upgrade, "ready", lambda _: None)
        monkeypatch.setattr(upgrade.cloud, "up", lambda *_: self.does("start"))
        monkeypatch.setattr("lab.procs.Proc.start", lambda proc: self.does(f"start {proc.name}"))
        monkeypatch.setattr(infra, "dump", self.dump)
        monkeypatch.setattr(infra, "sql", lambda text, database="": self.does(f"sql {database} {text}"))
        monkeypatch.setattr(upgrade, "run", self.run)

    def does(self, what: str) -> bool:
        self.done.append(what)
        if self.breaks_at and self.breaks_at in what:
            self.breaks_at = ""
            raise LabError("broken")
        return True

    def dump(self, database: str, path: Path) -> None:
        self.does(f"dump {database}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{database} as it was")

    def run(self, argv: list[Any], **_: Any) -> str:
        program = Path(argv[0])
        self.does(f"{program.parents[1].name}: {program.name} {' '.join(w for w in argv[1:] if not w.startswith('-'))}")
        return ""

    def at(self, *parts: str) -> int:
        return next(n for n, done in enumerate(self.done) if all(part in done for part in parts))


@pytest.fixture
def running(state: State) -> State:
    config.write(state, TOKYO)
    return state


def test_the_order(running: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drained before it stops, backed up before anything is migrated, checked before it starts, taken back last."""
    seen = Operator(monkeypatch)
    upgrade.upgrade(running, TOKYO, "2026.1")
    marks = [
        seen.at("install 2026.1"), seen.at("2025.1: nova-manage", "online_data_migrations"), seen.at("drain"), seen.at("stop"),
        seen.at("dump tokyo_keystone"), seen.at("2026.1: keystone-manage", "db_sync"), seen.at("2026.1: placement-manage"),
        seen.at("2026.1: glance-manage"), seen.at("2026.1: nova-manage", "api_db"), seen.at("2026.1: neutron-db-manage"),
        seen.at("2026.1: cinder-manage"), seen.at("start placement-api"), seen.at("2026.1: nova-status"),
        len(seen.done) - seen.done[::-1].index("start") - 1, seen.at("2026.1: nova-manage", "online_data_migrations"),
        seen.at("take back"),
    ]  # fmt: skip
    assert marks == sorted(marks)
    assert sum("dump" in done for done in seen.done) == sum(len(DATABASES[service]) for service in TOKYO.services)
    assert running.release(TOKYO) == "2026.1" and cloud.unfinished(running, TOKYO) is None


def test_what_broke_off_is_not_started_and_goes_on(running: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup of before stays: a second one would be of databases that are half migrated."""
    seen = Operator(monkeypatch, breaks_at="2026.1: neutron-db-manage")
    with pytest.raises(LabError, match="broken"):
        upgrade.upgrade(running, TOKYO, "2026.1")
    assert cloud.unfinished(running, TOKYO) == "2026.1" and "take back" not in seen.done
    with pytest.raises(LabError, match="half way to"):
        upgrade.upgrade(running, TOKYO, "2026.2")
    monkeypatch.undo()
    with pytest.raises(LabError, match="half way to"):
        cloud.up(running, TOKYO)
    seen = Operator(monkeypatch)
    upgrade.upgrade(running, TOKYO, "2026.1")
    assert not any("dump" in done or "2025.1: " in done for done in seen.done)
    assert seen.at("2026.1: neutron-db-manage") < seen.at("take back")
    assert cloud.unfinished(running, TOKYO) is None


def test_the_way_back(running: State, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Operator(monkeypatch, breaks_at="2026.1: cinder-manage")
    with pytest.raises(LabError, match="broken"):
        upgrade.upgrade(running, TOKYO, "2026.1")
    upgrade.back(running, TOKYO)
    assert seen.at("sql tokyo_cinder", "tokyo_cinder as it was") < seen.at("take back")
    assert running.release(TOKYO) == "2025.1" and cloud.unfinished(running, TOKYO) is None


def test_a_site_that_was_never_upgraded_has_no_way_back(running: State) -> None:
    with pytest.raises(LabError, match="was not upgraded"):
        upgrade.back(running, TOKYO)


def test_every_release_has_a_name_that_can_be_compared() -> None:
    assert all(supported_step(name, name) is False for name in RELEASES)


class Tenant:
    """A cloud that answers as it is told."""

    def __init__(self, **answers: tuple[int, Any]) -> None:
        self.answers = answers

    def __call__(self, service: str, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        key = "zones" if "zone" in path else f"{method.lower()}_{path.strip('/').split('/')[0]}"
        status, doc = self.answers[key]
        return Answer(status, {}, json.dumps(doc).encode())


def _zones(**available: bool) -> tuple[int, Any]:
    return 200, {"availabilityZoneInfo": [{"zoneName": n, "zoneState": {"available": a}} for n, a in available.items()]}


def _list(**status: str) -> tuple[int, Any]:
    return 200, {"servers": [{"id": ident, "status": value} for ident, value in status.items()]}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"get_servers": _list(mine="ACTIVE", theirs="UNKNOWN"), "zones": _zones(paris=True, tokyo=False)}, ""),
        ({"get_servers": _list(mine="ACTIVE"), "zones": _zones(paris=True, tokyo=False)}, "not in the list: theirs"),
        ({"get_servers": _list(mine="UNKNOWN", theirs="ACTIVE"), "zones": _zones(paris=True, tokyo=True)}, "mine is UNKNOWN"),
        ({"get_servers": (503, {}), "zones": _zones(paris=True, tokyo=False)}, "503"),
        ({"get_servers": _list(mine="ACTIVE", theirs="UNKNOWN"), "zones": _zones(paris=False, tokyo=False)}, "zones:"),
        ({"get_servers": _list(mine="ACTIVE", theirs="UNKNOWN"), "zones": _zones(paris=True)}, "zones:"),
    ],
)  # fmt: skip
def test_what_an_observer_takes_for_a_failure(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], said: str) -> None:
    monkeypatch.setattr(load, "PACE", 0.01)
    stage = {"image": "i", "network": "n", "paris": "mine", "tokyo": "theirs"}
    work: Any = load.Load(lambda: Tenant(**answers), "paris", "tokyo", stage=stage, workers=0)  # type: ignore[arg-type,return-value]
    work.start()
    while len(work.seen) < 6:
        pass
    work.stop()
    assert bool(work.failures()) == bool(said)
    assert all(said in seen.wrong for seen in work.failures() if "POST" not in seen.what) or not said
    if not said:
        assert work.states[0][1:] == ("UNKNOWN", False) and work.away(lambda status, _: status == "UNKNOWN") > 0


def test_a_server_in_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PACE", 0.01)
    answers = {
        "get_servers": (200, {"server": {"id": "s", "status": "ERROR"}}), "post_servers": (202, {"server": {"id": "s"}}),
        "delete_servers": (204, None), "post_volumes": (503, None), "zones": _zones(paris=True, tokyo=True),
    }  # fmt: skip
    stage = {"image": "i", "network": "n", "paris": "mine", "tokyo": "theirs"}
    work: Any = load.Load(lambda: Tenant(**answers), "paris", "tokyo", stage=stage)  # type: ignore[arg-type,return-value]
    with pytest.raises(load.Wrong):
        work._server(Tenant(**answers), "x")
    assert work.failures()[-1].wrong == "it is ERROR"
    with pytest.raises(load.Wrong):
        work._volume(Tenant(**answers), "x")
    assert work.failures()[-1].wrong.startswith("503")
