"""Several processes of one gateway: they share one listening socket, and can be replaced one after another.

The socket is opened once, by systemd or by the first process, and inherited: what waits in its queue when a process stops is
served by the next one, so a restart refuses nobody. The parent serves nothing; it starts, watches and replaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

import structlog

log = structlog.get_logger(__name__)

_SOCKET, _READY = "CASCADE_LISTEN_FD", "CASCADE_READY_FD"
_PROGRAM = "import sys; from cascade.cmd import main; sys.exit(main(sys.argv[1:]))"
_SYSTEMD_FIRST = 3
"""The first descriptor systemd passes (sd_listen_fds)."""
STARTS_WITHIN = 60.0
"""Seconds after which a new process that is not ready has failed."""
GRACE = 90.0
"""Seconds a process told to stop may take before it is killed: its drain time and its longest call."""


def is_worker() -> bool:
    """Whether this process was started by ``supervise``."""
    return _READY in os.environ


def listening(listen: str) -> socket.socket:
    """The socket to serve on: the parent's, systemd's, or a new one. Raises OSError, ValueError."""
    given = os.environ.get(_SOCKET)
    if given is None and os.environ.get("LISTEN_PID") == str(os.getpid()) and int(os.environ.get("LISTEN_FDS", "0")) > 0:
        given = str(_SYSTEMD_FIRST)
    if given is not None:
        sock = socket.socket(fileno=int(given))
        sock.setblocking(False)
        return sock
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Gateways started one by one may share a port, too: the kernel spreads new connections over them.
    sock = socket.create_server((host, int(port)), family=family, backlog=1024, reuse_port=True)
    sock.setblocking(False)
    return sock


def ready() -> None:
    """Tell whoever started this process that it serves: its parent, or systemd (sd_notify)."""
    if (pipe := os.environ.get(_READY)) is not None:
        with contextlib.suppress(OSError):
            os.write(int(pipe), b"1")
            os.close(int(pipe))
    elif address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
            s.connect("\0" + address[1:] if address.startswith("@") else address)
            s.send(b"READY=1")


class Failed(Exception):
    """A process did not become ready."""


async def supervise(count: int, arguments: Sequence[str], sock: socket.socket) -> int:
    """Keep ``count`` processes with these arguments of ``cascade`` running until SIGTERM or SIGINT; returns the exit status.

    SIGHUP replaces them one after another by new ones, which read the configuration anew; the first of them that does not
    become ready ends that, and the old ones go on.
    """
    parent = _Parent(arguments, sock)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parent.stop.set)
    loop.add_signal_handler(signal.SIGHUP, parent.roll.set)
    try:
        for _ in range(count):  # one by one: the first brings a SQLite file up to date
            parent.workers.append(await parent.start())
    except Failed as e:
        log.error("not started", error=str(e))
        await parent.end(parent.workers)
        return 1
    log.info("serving with several processes", processes=[w.pid for w in parent.workers])
    ready()
    await parent.watch()
    await parent.end(parent.workers)
    return 0


class _Parent:
    def __init__(self, arguments: Sequence[str], sock: socket.socket) -> None:
        self._arguments, self._socket = arguments, sock
        self.workers: list[asyncio.subprocess.Process] = []
        self.stop, self.roll = asyncio.Event(), asyncio.Event()

    async def start(self) -> asyncio.subprocess.Process:
        """A new process, serving. Raises Failed."""
        theirs, ours = self._socket.fileno(), os.pipe()
        env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS")}
        env |= {_SOCKET: str(theirs), _READY: str(ours[1])}
        command = (sys.executable, "-c", _PROGRAM, *self._arguments)
        process = await asyncio.create_subprocess_exec(*command, env=env, pass_fds=(theirs, ours[1]))
        os.close(ours[1])
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                said = await _read(ours[0])
        except TimeoutError:
            said = b""
        finally:
            os.close(ours[0])
        if not said:
            await self.end([process])
            raise Failed(f"process {process.pid} did not become ready; its log says why")
        return process

    async def watch(self) -> None:
        """Replace what dies, and everything when asked to, until it is time to stop."""
        while not self.stop.is_set():
            waits = [asyncio.ensure_future(w.wait()) for w in self.workers]
            events = [asyncio.ensure_future(e.wait()) for e in (self.stop, self.roll)]
            await asyncio.wait([*waits, *events], return_when=asyncio.FIRST_COMPLETED)
            for task in (*waits, *events):
                task.cancel()
            if self.roll.is_set() and not self.stop.is_set():
                self.roll.clear()
                await self._replace_all()
            for dead in [w for w in self.workers if w.returncode is not None]:
                log.error("a process ended; starting another", pid=dead.pid, status=dead.returncode)
                await self._replace_dead(dead)

    async def _replace_all(self) -> None:
        for old in list(self.workers):
            try:
                new = await self.start()
            except Failed as e:
                log.error("replacing ends here; the others are as they were", error=str(e))
                return
            self.workers[self.workers.index(old)] = new
            await self.end([old])
        log.info("all processes replaced", processes=[w.pid for w in self.workers])

    async def _replace_dead(self, dead: asyncio.subprocess.Process) -> None:
        pause = 1.0
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                self.workers[self.workers.index(dead)] = await self.start()
                return
            except Failed as e:
                log.error("another could not be started", error=str(e), again_in=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), max(0.0, pause - (time.monotonic() - begun)))
            pause = min(60.0, pause * 2)

    async def end(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        """SIGTERM, time to finish what they do, and SIGKILL."""
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waits = [asyncio.ensure_future(p.wait()) for p in processes]
        if waits:
            await asyncio.wait(waits, timeout=GRACE)
        for process in processes:
            if process.returncode is None:
                log.error("does not stop; killed", pid=process.pid)
                process.kill()
                await process.wait()


async def _read(pipe: int) -> bytes:
    """One byte, or none when the other end closes."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe, came.set)
    try:
        await came.wait()
        return os.read(pipe, 1)
    finally:
        loop.remove_reader(pipe)
