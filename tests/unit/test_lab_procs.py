"""Processes are known by pid and start time, and are stopped with all their children."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from lab.paths import Place
from lab.procs import Proc, stop, usage
from lab.report import LabError

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"


def make(tmp_path: Path, code: str, grace: float = 5) -> Proc:
    return Proc("thing", Place(tmp_path), (sys.executable, "-c", code), grace=grace)


def members(group: int) -> int:
    found = usage().get(group)
    return found.processes if found else 0


def wait_for(group: int, count: int) -> None:
    end = time.monotonic() + 10
    while members(group) != count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_stop_takes_the_children_along(tmp_path: Path) -> None:
    proc = make(tmp_path, PARENT)
    assert proc.start()
    assert not proc.start()
    pid = proc.pid()
    assert pid
    wait_for(pid, 2)
    stop([proc])
    assert proc.pid() is None
    wait_for(pid, 0)
    assert not proc.pid_file.exists()


def test_a_recycled_pid_is_not_ours(tmp_path: Path) -> None:
    proc = make(tmp_path, "pass")
    proc.place.make()
    proc.pid_file.write_text(f"{os.getpid()} 1\n")
    assert proc.pid() is None
    assert not proc.signal(signal.SIGKILL)


def test_who_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    proc = make(tmp_path, STUBBORN, grace=0.2)
    proc.start()
    while not proc.output.read_text():
        time.sleep(0.02)
    stop([proc])
    assert proc.pid() is None


def test_a_frozen_process_is_seen_and_can_be_stopped(tmp_path: Path) -> None:
    proc = make(tmp_path, "import time; time.sleep(60)")
    proc.start()
    pid = proc.pid()
    assert pid
    proc.signal(signal.SIGSTOP)
    end = time.monotonic() + 5
    while not usage()[pid].frozen:
        assert time.monotonic() < end
    stop([proc])
    assert proc.pid() is None


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    proc = make(tmp_path, "raise SystemExit('no such database')")
    proc.start()
    while proc.pid():
        time.sleep(0.02)
    assert "thing did not start" in str(proc.failure())
    assert "no such database" in str(proc.failure())


def test_a_port_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        proc = Proc("thing", Place(tmp_path), (sys.executable, "-c", "pass"), port=port)
        with pytest.raises(LabError, match=f"port {port} is taken"):
            proc.start()
