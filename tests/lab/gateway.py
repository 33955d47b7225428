"""A second gateway of a test's own: its own port and database, the same hub and sites."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab.rest import Cloud, raw

PROGRAM = Path(sys.executable).parent / "cascade"
TEMPLATE = """[DEFAULT]
listen = 127.0.0.1:{port}
public_url = http://127.0.0.1:{port}
log_file = {home}/cascade.log
{more}
[database]
connection = sqlite+aiosqlite:///{database}
[hub]
cloud = hub
[sites]
clouds_file = {clouds}
[secrets]
master_key_file = {key}
"""


class Gateway:
    """Start, kill and restart; ``cloud`` points an account of the lab at it."""

    def __init__(
        self, home: Path, state: Path, port: int, *, database: Path | None = None, more: str = "", clouds: Path | None = None
    ) -> None:
        """``database``: of the gateway it stands beside; its own by default. ``more``: lines of ``[DEFAULT]``. ``clouds``: a
        clouds.yaml, the lab's by default."""
        self.home, self.state, self.port = home, state, port
        self.url = f"http://127.0.0.1:{port}"
        self.conf = home / "cascade.conf"
        keys = (state / "cascade" / "master.key", state / "master.key")  # the lab's place, and that of the stories' simulator
        self.conf.write_text(
            TEMPLATE.format(
                port=port,
                home=home,
                clouds=clouds or state / "clouds.yaml",
                key=next(key for key in keys if key.exists()),
                database=database or home / "cascade.db",
                more=more,
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, crash_at: str = "") -> Gateway:
        """Run it until it answers."""
        env = {**os.environ, "CASCADE_CRASH_AT": crash_at}
        with (self.home / "out").open("ab") as out:
            self.process = subprocess.Popen([PROGRAM, "serve", "--config-file", self.conf], env=env, stdout=out, stderr=out)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if raw(self.url + "/healthz", "GET", timeout=2).status == 200:
                    return self
            except OSError:
                assert self.process.poll() is None, (self.home / "out").read_text()[-2000:]
            time.sleep(0.1)
        raise AssertionError("no answer")

    def command(self, *args: str) -> str:
        """``cascade ...`` with this gateway's configuration."""
        done = subprocess.run([PROGRAM, *args, "--config-file", self.conf], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def died(self, seconds: float = 30) -> bool:
        """Whether it ended by SIGKILL."""
        assert self.process is not None
        try:
            return self.process.wait(seconds) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    def stop(self) -> None:
        """End it politely."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def cloud(self, like: Cloud) -> Cloud:
        """The account ``like``, through this gateway."""
        return like.through(self.url)

    def join(self, admin: Cloud, *sites: str, **identity: Any) -> None:
        """Register sites through the admin API."""
        admin.endpoints["cascade"] = self.url + "/cascade/v1"
        for site in sites:
            body = {"site": {"name": site, "cloud": site, "identity": identity.get(site, "mapped")}, "allow_lower_window": True}
            got = admin("cascade", "POST", "/sites", body)
            assert got.status in (200, 201, 202), got.body
