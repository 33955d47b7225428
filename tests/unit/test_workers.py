"""Whose socket a process serves on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from cascade import workers

SHOW = """
import os
os.dup2({fd}, 3)
os.environ["LISTEN_PID"] = str(os.getpid())
from cascade import workers
print(workers.listening("127.0.0.1:1").getsockname()[1])
"""


def test_systemds_socket_is_taken() -> None:
    """The protocol of sd_listen_fds: the first descriptor is number 3, and LISTEN_PID says for whom it is."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port, fd = sock.getsockname()[1], sock.fileno()
        run = subprocess.run(
            [sys.executable, "-c", SHOW.format(fd=fd)], pass_fds=(fd,), env={**os.environ, "LISTEN_FDS": "1"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert run.stdout.strip() == str(port)


def test_another_process_socket_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    with workers.listening("127.0.0.1:0") as sock:
        assert sock.getsockname()[0] == "127.0.0.1" and sock.getsockname()[1] > 0


def test_ipv6() -> None:
    try:
        sock = workers.listening("[::1]:0")
    except OSError:
        pytest.skip("no IPv6 on the loopback device here")
    with sock:
        assert sock.family is socket.AF_INET6


def test_systemd_is_told(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        path = f"{tmp_path}/notify"
        s.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        workers.ready()
        assert s.recv(100) == b"READY=1"
