"""Progress for people: one line per step with its seconds, live on a terminal, plain elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

console = Console(highlight=False, soft_wrap=True)
_start = time.monotonic()


class LabError(Exception):
    """Something the person at the keyboard must know; shown without a traceback."""


def say(text: str) -> None:
    """Print one line as it is."""
    console.print(escape(text))


@contextmanager
def step(name: str) -> Iterator[None]:
    """Time a step and print one line when it is over.

    Steps may run in several threads at once, so nothing is ever drawn over.
    """
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        console.print(f"[red]FAIL[/] {escape(name):<58} {time.monotonic() - begun:6.1f} s")
        raise
    total = time.monotonic() - _start
    console.print(f"[green]ok[/]   {escape(name):<58} {time.monotonic() - begun:6.1f} s  [dim]{total:6.0f} s[/]")


def tail(text: str, lines: int = 25) -> str:
    """The end of a log."""
    return "\n".join(text.rstrip().splitlines()[-lines:])
