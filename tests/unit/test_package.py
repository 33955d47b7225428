"""What is built installs by itself into an empty environment, and works there, far from any checkout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.lab.rest import raw
from tests.stories.world import free_ports

ROOT = Path(__file__).parents[2]
PATHS = ("/healthz", "/metrics", "/cascade/page/", "/cascade/v1/openapi.yaml")
UV = [sys.executable, "-m", "uv", "-q"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that it is proven as well."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([*UV, "build", "--out-dir", str(out), str(ROOT)], check=True, timeout=300)
    assert [p.name for p in out.glob("*.tar.gz")]
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment that has the wheel and what it asks for."""
    venv = tmp_path_factory.mktemp("venv") / "cascade"
    subprocess.run([*UV, "venv", "--python", sys.executable, str(venv)], check=True, timeout=120)
    subprocess.run([*UV, "pip", "install", "--python", str(venv / "bin" / "python"), str(wheel)], check=True, timeout=300)
    return venv / "bin"


def test_the_wheel_has_what_it_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names if ".dist-info/" not in n}
    assert tops == {"cascade", "osc_cascade"}
    for needed in (
        "cascade/py.typed",
        "cascade/api/openapi.yaml",
        "cascade/api/page/page.js",
        "cascade/store/migrations/script.py.mako",
    ):
        assert needed in names, needed
    assert any(n.startswith("cascade/store/migrations/versions/") for n in names)
    assert any(n.endswith("/LICENSE") for n in names)


def test_it_serves_from_there(installed: Path, tmp_path: Path) -> None:
    """It starts without a hub that answers, says so, and ends with status 0 when told to."""
    port, nowhere = free_ports(2), free_ports(2) + 1
    (tmp_path / "master.key").write_bytes(os.urandom(32))
    auth = {"auth_url": f"http://127.0.0.1:{nowhere}/v3", "username": "a", "password": "b", "project_name": "c"}
    auth |= {"user_domain_name": "d", "project_domain_name": "d"}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"hub": {"auth": auth}}}))
    (tmp_path / "cascade.conf").write_text(
        f"[DEFAULT]\nlisten = 127.0.0.1:{port}\ndrain_time = 0\n[database]\nconnection = sqlite+aiosqlite:///{tmp_path}/cascade.db\n"
        f"[sites]\nclouds_file = {tmp_path}/clouds.yaml\n[secrets]\nmaster_key_file = {tmp_path}/master.key\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    cascade, config = str(installed / "cascade"), ("--config-file", str(tmp_path / "cascade.conf"))
    usage = subprocess.run([cascade, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
    assert "serve" in usage.stdout and "rebuild" in usage.stdout
    subprocess.run([cascade, "upgrade", *config], check=True, cwd=tmp_path, env=env, timeout=60)
    with (tmp_path / "out").open("wb") as out:
        serving = subprocess.Popen([cascade, "serve", *config], cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                answers = [raw(f"http://127.0.0.1:{port}{path}", "GET", timeout=5).status for path in PATHS]
                break
            except OSError:
                assert serving.poll() is None and time.monotonic() < end, (tmp_path / "out").read_text()[-2000:]
                time.sleep(0.2)
        assert answers == [200] * len(PATHS)
    finally:
        serving.send_signal(signal.SIGTERM)
    assert serving.wait(30) == 0, (tmp_path / "out").read_text()[-2000:]
