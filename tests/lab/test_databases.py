"""The store's tests on the lab's MariaDB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.data import DATABASE_PORT

ROOT = Path(__file__).parents[2]


def test_the_store_on_mariadb() -> None:
    """In a process of its own, since a test module's databases are known before it runs."""
    client = ["/usr/bin/mariadb", "--no-defaults", "-uroot", "-h127.0.0.1", f"-P{DATABASE_PORT}"]
    name = f"cascade_test_{os.getpid()}"
    subprocess.run([*client, "-e", f"create database {name} character set utf8mb4"], check=True, timeout=60)
    try:
        env = {**os.environ, "CASCADE_TEST_DB_URLS": f"mysql+aiomysql://root@127.0.0.1:{DATABASE_PORT}/{name}"}
        command = [sys.executable, "-m", "pytest", "-k", "mysql", "tests/unit/test_store.py"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-4000:]
        assert " passed" in done.stdout and "failed" not in done.stdout
    finally:
        subprocess.run([*client, "-e", f"drop database {name}"], check=True, timeout=60)
