"""The database of the gateways that are measured: a file, or a PostgreSQL of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bench.process import TICKS
from lab.report import step


class Database(Protocol):
    """Empty after ``start``. ``url``: what a gateway is told; only then."""

    url: str

    def start(self) -> None:
        """Be there, with nothing in it."""

    def stop(self) -> None:
        """End what was started."""

    def size(self) -> int:
        """Bytes on disk."""

    def cpu(self) -> float:
        """Seconds of CPU of its own processes so far; 0 where it has none."""


class File:
    """SQLite: the gateways' own CPU is all there is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"sqlite+aiosqlite:///{folder / 'cascade.db'}"

    def _files(self) -> list[Path]:
        return list(self._folder.glob("cascade.db*"))

    def start(self) -> None:
        """What an earlier run left goes."""
        for old in self._files():
            old.unlink()

    def stop(self) -> None:
        """Nothing runs."""

    def size(self) -> int:
        """With the log that is not yet in it."""
        return sum(f.stat().st_size for f in self._files())

    def cpu(self) -> float:
        """None of its own."""
        return 0.0


class PostgreSQL:
    """A server on a socket in a folder of its own, with the settings PostgreSQL has by default: every commit is on disk."""

    def __init__(self) -> None:
        self.url = ""
        self._server: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Make it and run it."""
        from pgserver.postgres_server import get_server  # of the tests' dependencies, and slow to import

        with step("start PostgreSQL"):
            self._folder = tempfile.TemporaryDirectory(prefix="pg")  # short: a socket's path may have a hundred characters
            self._server = get_server(self._folder.name)
            self.url = f"postgresql+asyncpg://postgres@/postgres?host={self._folder.name}"

    def stop(self) -> None:
        """End it; nothing of it stays."""
        if self._server is not None and self._folder is not None:
            self._server.cleanup()
            self._folder.cleanup()
        self._server = None

    def size(self) -> int:
        """Of the one database."""
        answer: str = self._server.psql("SELECT pg_database_size('postgres') AS bytes")
        return int(next(word for word in answer.split() if word.isdigit()))

    def cpu(self) -> float:
        """Of the server and those it has started: of the ended ones as well."""
        top = self._server.get_pid()
        total = 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            if stat.parent.name == str(top):
                total += sum(int(n) for n in fields[11:15]) / TICKS
            elif fields[1] == str(top):
                total += (int(fields[11]) + int(fields[12])) / TICKS
        return total


def database(kind: str, folder: Path) -> Database:
    """``kind``: "sqlite", in the folder, or "postgresql". Raises KeyError."""
    made: dict[str, Callable[[], Database]] = {"sqlite": lambda: File(folder), "postgresql": PostgreSQL}
    return made[kind]()


KINDS = ("sqlite", "postgresql")
