"""Run a part of a suite of upstream's on a side: install, configure, list, run, and say how it goes."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lab import install
from lab.config.ini import render
from lab.parity import clean, conf, resources, sides, suites
from lab.parity.parts import PARTS, Part, plain, select
from lab.parity.results import Event, Outcome, Results, Status, count, load, save, settle
from lab.parity.sides import SIDES, Side
from lab.parity.suites import Suite
from lab.parity.web import images
from lab.paths import State
from lab.report import LabError, console, say, step
from lab.shell import run as shell

STREAM = Path(__file__).resolve().parent / "stream.py"
LOG = "tempest.log"
TEST_TIMEOUT = 900
"""Seconds a single test may take."""
PROGRESS = 15.0
"""Seconds between two lines of progress while nothing fails."""


@dataclass(frozen=True)
class Workspace:
    """Where things are: the results of a side and a part, and the folder of its last run."""

    root: Path
    label: str

    @property
    def results(self) -> Path:
        """The file others read."""
        return self.root / f"{self.label}.json"

    @property
    def failures(self) -> Path:
        """The tracebacks of the last run."""
        return self.root / f"{self.label}.failures.txt"

    @property
    def folder(self) -> Path:
        """tempest.conf, tempest.log and what stestr keeps."""
        return self.root / "work" / self.label

    @property
    def prefix(self) -> Path:
        """Holds what the names of everything made by a run start with, until that is cleaned up."""
        return self.folder / "prefix"


def label(side: str, part: str, like: str) -> str:
    """The name of a side's results; Cascade's exist per direct side it is compared with."""
    return f"{side}-as-{like}-{part}" if side == sides.CASCADE and like != sides.DEFAULT_DIRECT else f"{side}-{part}"


def workspace(place: State, name: str) -> Workspace:
    """The folders of a label."""
    return Workspace(place.root / "parity", name)


def environment(place: State, suite: Suite) -> Path:
    """The suite's virtual environment, installed if it is not there."""
    venv = place.root / "venvs" / suite.release.name
    install.environment(place, suite.release, venv)
    return venv


def tests(place: State, suite: Suite, venv: Path) -> list[str]:
    """The names of all tests of a suite, with their attributes."""
    listed = place.root / "parity" / f"{suite.release.requirements[0]}.tests"
    if not listed.exists():
        with step("list all tests"):
            folder = place.root / "parity" / "work" / f"list-{suite.release.name}"
            if suite.without:
                shutil.rmtree(_library(venv) / suite.without, ignore_errors=True)
            _stestr_conf(folder, suite, venv)
            (folder / suite.file).write_text(suite.empty)
            stestr, env = str(venv / "bin" / "stestr"), _env(folder, venv)
            if not (folder / ".stestr").exists():
                shell([stestr, "init"], cwd=folder, env=env)
            text = shell([stestr, "list"], cwd=folder, env=env)
        listed.write_text("".join(f"{line}\n" for line in text.splitlines() if line.startswith(suite.begins)))
    return listed.read_text().splitlines()


def run(
    place: State, side_name: str, part_name: str, like: str, narrower: str = "", concurrency: int = 0, part: Part | None = None
) -> bool:
    """Run a part on a side; whether nothing failed. Results of tests that are not run again stay as they were."""
    side, part = SIDES[side_name], part or PARTS[part_name]
    venv = environment(place, part.suite)
    chosen = select(tests(place, part.suite, venv), part, narrower)
    if not chosen:
        raise LabError(f"{part_name}: no test matches {narrower}")
    space = workspace(place, label(side_name, part_name, like))
    with alone(space), images() as web:
        return _run(place, side, like, space, part_name, part.suite, concurrency or part.concurrency, chosen, venv, web)


@contextmanager
def alone(space: Workspace) -> Iterator[None]:
    """Keep others from a label: they would clean up under a run that is at work. Ends in order on SIGTERM as on ^C."""
    space.folder.mkdir(parents=True, exist_ok=True)
    with (space.folder / "lock-run").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"{space.label}: a run is at work") from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield


def _run(
    place: State, side: Side, like: str, space: Workspace, part: str, suite: Suite, concurrency: int, chosen: list[str], venv: Path,
    web: str,
) -> bool:  # fmt: skip
    sweep(place, space, side.name)
    prefix = f"t{secrets.token_hex(3)}"  # as long as upstream's "tempest": some names have little room
    with step(f"prepare {space.label}"):
        ability = sides.measure(place, sides.DIRECT[like])
        ready = resources.ensure(sides.connect(place, side.account), side)
        _stestr_conf(space.folder, suite, venv)
        (space.folder / LOG).unlink(missing_ok=True)
        space.prefix.write_text(prefix)
        about = suites.Run(side, ability, ready, prefix, space.folder, web)
        (space.folder / suite.file).write_text(suite.configure(about))
        env = _env(space.folder, venv) | suite.env(about)
        (space.folder / "tests").write_text("".join(f"{test}\n" for test in chosen))
    versions = {"compute": conf.version(ability.compute), "volume": conf.version(ability.volume)}
    before = load(space.results)
    try:
        with suite.standing(place, side, prefix):
            events, ended = _watch(space, venv, env, len(chosen), concurrency)
        outcome = settle(chosen, events)
        if not ended:  # interrupted: what had no turn is not lost, it is only not known
            named = {plain(event.test) for event in events}
            outcome = {test: result for test, result in outcome.items() if test in named}
    finally:
        sweep(place, space, side.name)
    kept: dict[str, Outcome] = before.tests if before and before.microversions == versions else {}
    save(space.results, Results(side.name, part, like, versions, kept | outcome))
    total = count(outcome)
    say(f"{space.label}: {total[Status.PASS]} passed, {total[Status.FAIL]} failed, {total[Status.SKIP]} skipped")
    if away := sum(1 for result in outcome.values() if result.away):
        say(f"{away} of these found nobody listening: {side.name} was stopped or died; run them again")
    say(f"results: {space.results}  tracebacks: {space.failures}")
    if not ended:
        raise KeyboardInterrupt
    return not total[Status.FAIL]


def sweep(place: State, space: Workspace, side: str) -> None:
    """Remove what the last run of a label left behind, also one that was killed."""
    if space.prefix.exists():
        with (space.folder / LOG).open(errors="replace") if (space.folder / LOG).exists() else nullcontext(()) as log:
            starts = clean.beginnings(space.prefix.read_text().strip(), log)
        if clean.side(place, side, starts):
            space.prefix.unlink()  # else the next run of this label tries again


def _watch(space: Workspace, venv: Path, env: dict[str, str], expected: int, concurrency: int) -> tuple[list[Event], bool]:
    """Run the chosen tests and tell what happens; the events, and whether it came to its end."""
    events: list[Event] = []
    begun = told = time.monotonic()
    with space.failures.open("w") as failures:
        try:
            for event in _events(space, venv, env, concurrency):
                events.append(event)
                outcome = event.outcome
                if outcome.status is Status.FAIL:
                    failures.write(f"== {plain(event.test)}\n{event.failure or event.status}\n")
                    failures.flush()
                    console.print("[red]failed[/]", end=" ")
                    say(f"{plain(event.test)}  {outcome.reason[:300]}")
                if time.monotonic() - told > PROGRESS:
                    told = time.monotonic()
                    _progress(events, expected, told - begun)
        except KeyboardInterrupt:
            return events, False
    _progress(events, expected, time.monotonic() - begun)
    return events, True


def _progress(events: list[Event], total: int, seconds: float) -> None:
    known = count({event.test: event.outcome for event in events})
    minutes, rest = divmod(int(seconds), 60)
    say(f"{minutes:3d}:{rest:02d}  {known.total()} of {total}: {known[Status.PASS]} ok, {known[Status.FAIL]} failed")


def _events(space: Workspace, venv: Path, env: dict[str, str], concurrency: int) -> Iterator[Event]:
    """The events of a run as they come. The processes are in a session of their own, and end with us."""
    words = [venv / "bin" / "stestr", "run", "--subunit", "--concurrency", str(concurrency), "--load-list", "tests"]
    with (space.folder / "stestr.err").open("w") as said:
        runner = subprocess.Popen(
            [str(word) for word in words], cwd=space.folder, env=env, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        reader = subprocess.Popen(
            [str(venv / "bin" / "python"), str(STREAM)],
            env=env,
            stdin=runner.stdout,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            assert reader.stdout is not None  # a pipe, by the arguments above
            for line in reader.stdout:
                yield Event(**json.loads(line))
        finally:
            if runner.poll() is None:
                os.killpg(runner.pid, signal.SIGTERM)
            runner.wait()
            reader.wait()


def _stestr_conf(folder: Path, suite: Suite, venv: Path) -> None:
    """The folder of a run, with stestr's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    library = _library(venv)
    settings = {"test_path": library / suite.discover, "top_dir": library, "group_regex": suite.group}
    (folder / ".stestr.conf").write_text(render({"DEFAULT": settings}))


def _library(venv: Path) -> Path:
    return next((venv / "lib").glob("python3*")) / "site-packages"


def _env(folder: Path, venv: Path) -> dict[str, str]:
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    where = {"TEMPEST_CONFIG_DIR": str(folder), "OS_CLIENT_CONFIG_FILE": str(folder / suites.SDK.file)}
    own = where | {"OS_TEST_TIMEOUT": str(TEST_TIMEOUT), "PATH": path}
    return {name: value for name, value in os.environ.items() if not name.startswith("OS_")} | own
