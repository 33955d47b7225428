"""Results: from the events of a run, to a file, and two files compared. Everything but load and save is pure."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from lab.parity.parts import class_of, plain, service
from lab.report import LabError


class Status(StrEnum):
    """How a test ended."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


_STATUS = {"success": Status.PASS, "xfail": Status.PASS, "skip": Status.SKIP}


@dataclass(frozen=True)
class Outcome:
    """The end of one test."""

    status: Status
    seconds: float = 0.0
    reason: str = ""
    """Of a failure the first line, of a skip the reason."""

    @property
    def away(self) -> bool:
        """Failed since no API listened: it has failed all the same, but of itself this is no finding about the test."""
        return self.status is Status.FAIL and "Errno 111" in self.reason


@dataclass(frozen=True)
class Event:
    """What the stream of a run says about a test or a whole class."""

    test: str
    status: str
    seconds: float
    details: Mapping[str, str]

    @property
    def outcome(self) -> Outcome:
        """In our words. What is neither a success nor a skip is a failure, also a test that never ended."""
        status = _STATUS.get(self.status, Status.FAIL)
        text = self.details.get("reason", "") if status is Status.SKIP else self.failure
        reason = first_line(text) or ("" if status is Status.PASS else self.status)
        return Outcome(status, round(self.seconds, 2), "" if status is Status.PASS else reason)

    @property
    def failure(self) -> str:
        """The traceback of what came first."""
        return next((self.details[name] for name in sorted(self.details) if name.startswith("traceback")), "")


@dataclass
class Results:
    """The file of a side and a part. A later run of some of the tests replaces what is known of these."""

    side: str
    part: str
    like: str
    """The direct side that set features and microversions."""
    microversions: dict[str, str]
    tests: dict[str, Outcome] = field(default_factory=dict)


def first_line(text: str) -> str:
    """What went wrong, of a traceback: the first line of the exception, with the line of details Tempest puts below it."""
    lines = text.rstrip().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if not starts:
        return lines[0].strip() if lines else ""
    said = [line for line in lines[starts[-1] + 1 :] if line and not line[0].isspace()]
    if len(said) > 1 and said[1].startswith("Details:"):
        return f"{said[0]} {said[1]}"
    return said[0] if said else lines[-1].strip()


def settle(expected: Iterable[str], events: Iterable[Event]) -> dict[str, Outcome]:
    """The outcome of every test that was to run.

    A test that the stream does not name shares the fate of its class, whose set-up was skipped or failed; if nothing
    is known of the class either, the test was lost, which is a failure.
    """
    tests: dict[str, Outcome] = {}
    classes: dict[str, Outcome] = {}
    for event in events:
        if (name := class_of(event.test)) is not None:
            if event.test.startswith("setUpClass"):
                classes[name] = event.outcome
        else:
            tests[plain(event.test)] = event.outcome
    lost = Outcome(Status.FAIL, 0.0, "lost: the run ended without a word about it")
    return {name: tests.get(name) or classes.get(name.rpartition(".")[0]) or lost for name in map(plain, expected)}


def count(tests: Mapping[str, Outcome]) -> Counter[Status]:
    """How many passed, failed and were skipped."""
    return Counter(outcome.status for outcome in tests.values())


@dataclass
class Row:
    """A service in a comparison."""

    ran: int = 0
    """Tests that were run directly, and not skipped there."""
    direct: int = 0
    """Of these, passed directly."""
    through: int = 0
    """Of these, passed through Cascade."""
    untried: int = 0
    """Passed directly, not yet run through Cascade."""
    worse: dict[str, Outcome] = field(default_factory=dict)
    """Passed directly, not so through Cascade."""


def compare(direct: Mapping[str, Outcome], through: Mapping[str, Outcome], group: Callable[[str], str] = service) -> dict[str, Row]:
    """The two sides, per service or what else tests belong to."""
    rows: dict[str, Row] = {}
    for test, outcome in sorted(direct.items()):
        row = rows.setdefault(group(test), Row())
        row.ran += outcome.status is not Status.SKIP
        if outcome.status is not Status.PASS:
            continue
        row.direct += 1
        other = through.get(test)
        if other is None:
            row.untried += 1
        elif other.status is Status.PASS:
            row.through += 1
        else:
            row.worse[test] = other
    return rows


def save(path: Path, results: Results) -> None:
    """Write a file, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(results), indent=1, sort_keys=True) + "\n")
    draft.replace(path)


def load(path: Path) -> Results | None:
    """Read a file; nothing if there is none."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        tests = {name: Outcome(Status(item["status"]), item["seconds"], item["reason"]) for name, item in raw.pop("tests").items()}
        return Results(**raw, tests=tests)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise LabError(f"{path}: not a file of results: {error}") from None
