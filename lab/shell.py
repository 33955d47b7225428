"""Run a command to its end; a failure shows the end of what it said."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.report import LabError, tail

Arg = str | Path


def run(
    argv: Sequence[Arg],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    codes: Sequence[int] = (0,),
) -> str:
    """Run a command, give back what it printed, or raise LabError with the end of its output."""
    command = [str(arg) for arg in argv]
    full = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(command, env=full, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not found") from error
    if done.returncode not in codes:
        raise LabError(f"failed ({done.returncode}): {' '.join(command)}\n{tail(done.stdout)}\n{tail(done.stderr)}")
    return done.stdout
