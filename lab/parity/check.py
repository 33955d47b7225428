"""The part of upstream's tests that every change has to pass: of each module, which is about one resource, the quickest."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.parity.parts import Part
from lab.parity.results import Outcome, Status
from lab.report import LabError

NAME = "check"
LIST = Path(__file__).with_name("check.txt")
"""One test per line, written by ``parity table`` from the last whole measurement."""
LONGEST = 16.0
"""Seconds above which a test is left to the whole measurement."""
UNSTABLE = 3
"""More than these fail by no accident: they are not run a second time."""


def quickest(direct: Mapping[str, Outcome], through: Mapping[str, Outcome]) -> list[str]:
    """Of each module the test that passes on both sides in the least time; none of a module where all take long."""
    best: dict[str, tuple[float, str]] = {}
    for test, outcome in through.items():
        passes = outcome.status is Status.PASS and test in direct and direct[test].status is Status.PASS
        if passes and test.startswith("tempest.") and outcome.seconds <= LONGEST:
            module = test.rsplit(".", 2)[0]
            best[module] = min(best.get(module, (LONGEST + 1, "")), (outcome.seconds, test))
    return sorted(test for _, test in best.values())


def write(tests: Iterable[str]) -> None:
    """Keep the list."""
    LIST.write_text("".join(f"{test}\n" for test in tests))


def part() -> Part:
    """The list, as a part to run. Raises LabError where upstream no longer has a test, or nothing was ever measured."""
    if not LIST.exists() or not (tests := LIST.read_text().split()):
        raise LabError(f"{LIST.name}: no list of tests yet; `bin/lab parity table` writes it")
    return exactly(tests)


def exactly(tests: Iterable[str]) -> Part:
    """These and no others."""
    return Part(rf"^(?:{'|'.join(map(re.escape, tests))})(?:\[|$)")
