"""``bin/sim``: what it starts, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import gateway
from lab.paths import State
from sim import run
from sim.__main__ import clouds_yaml, parse


def test_two_processes_below_one_folder(tmp_path: Path) -> None:
    place, args = State(tmp_path), run.parse(["--sites", "oslo,rome*", "--base-port", "5000", "--gateway-port", "6000"])
    clouds, front = run.processes(place, args)
    assert (clouds.port, front.port) == (5000, 6000)
    world, file = parse(list(clouds.argv[3:]))
    assert file == place.clouds_file and world.options.gateway_url == "http://127.0.0.1:6000"
    assert [(c.name, c.identity.name) for c in world.clouds.values()] == [("hub", "hub"), ("oslo", "oslo"), ("rome", "hub")]
    assert {p.place.root.parent for p in (clouds, front)} == {tmp_path}
    assert "demo" in run.parse(["demo"]).command


def test_the_accounts_are_named_as_the_labs_are() -> None:
    world, _ = parse(["--sites", "paris"])
    found = clouds_yaml(world)["clouds"]
    assert {"cascade", "cascade-admin", "cascade-other", "hub", "paris", "paris-demo", "paris-admin"} <= set(found)
    assert found["cascade"]["auth"]["auth_url"] == f"{world.options.gateway_url}/identity/v3"
    assert found["paris"]["auth"]["auth_url"] == f"{world.clouds['paris'].root}/identity/v3"


def test_the_gateway_is_told_where_it_is(tmp_path: Path) -> None:
    place = State(tmp_path)
    gateway.configure(place, "hub", {"listen": "127.0.0.1:6000", "public_url": "http://127.0.0.1:6000", "region": "cascade"})
    text = gateway.config_file(place).read_text()
    assert "listen = 127.0.0.1:6000" in text and str(place.clouds_file) in text
    key = place.gateway.root / "master.key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32


def test_what_runs_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_SIM_STATE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bin/sim"])
    monkeypatch.setattr("lab.procs.Proc.pid", lambda self: 1)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    stopped: list[object] = []
    monkeypatch.setattr(run.procs, "stop", stopped.extend)
    assert run.main() == 1 and stopped == []
