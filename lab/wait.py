"""Wait until processes are ready."""

import http.client
import time
from collections.abc import Callable, Iterable

from lab.procs import Proc
from lab.report import LabError


def answers(port: int, path: str = "/", timeout: float = 60) -> bool:
    """Whether an HTTP server on loopback answers, with anything at all."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def until(what: str, ready: Callable[[], bool], timeout: float, pause: float = 0.25) -> None:
    """Ask until something is so."""
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            raise LabError(f"{what}: not so after {timeout:.0f} s")
        time.sleep(pause)


def ready(procs: Iterable[Proc], timeout: float = 240) -> None:
    """Wait for the ports of processes; a process that dies meanwhile is an error with its log."""
    end = time.monotonic() + timeout
    for proc in procs:
        while True:
            if proc.pid() is None:
                raise proc.failure()
            if proc.port is None or answers(proc.port):
                break
            if time.monotonic() > end:
                raise proc.failure()
            time.sleep(0.2)
