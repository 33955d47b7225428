"""Which tests there are to run, in parts that each fit in an hour, and what a test is about. Nothing here does I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lab.parity.suites import ADOPTION, HEAT, SDK, TEMPEST, Suite
from lab.report import LabError


@dataclass(frozen=True)
class Part:
    """A selection of upstream's tests by name; which tests it holds is upstream's matter, never ours."""

    include: str
    exclude: str = "^$"
    concurrency: int = 2
    suite: Suite = TEMPEST


_ADOPTION = r".*[Aa]dopt"
"""Heat adopts stacks only with a setting that the lab does not have otherwise."""

PARTS: dict[str, Part] = {
    "identity": Part(r"^tempest\.api\.identity\.", concurrency=3),
    "image": Part(r"^tempest\.api\.image\.", concurrency=3),
    "network": Part(r"^tempest\.api\.network\.", concurrency=3),
    "volume": Part(r"^tempest\.api\.volume\."),
    "compute-a": Part(r"^tempest\.api\.compute\.servers\."),
    "compute-b": Part(r"^tempest\.api\.compute\.", exclude=r"^tempest\.api\.compute\.servers\."),
    "scenario": Part(r"^tempest\.scenario\."),
    "serial": Part(r"^tempest\.serial_tests\.", concurrency=1),
    "sdk": Part(
        r"^openstack\.tests\.functional\.(block_storage|cloud|compute|identity|image|network|placement)\.", suite=SDK, concurrency=1
    ),
    "heat": Part(r"^heat_(tempest_plugin|integrationtests)\.", exclude=_ADOPTION, suite=HEAT),
    "heat-adoption": Part(rf"^heat_integrationtests\.(?:{_ADOPTION})", suite=ADOPTION),
}

_CLASS_EVENT = re.compile(r"^(?:setUpClass|tearDownClass) \((?P<name>[\w.]+)\)$")


def plain(test: str) -> str:
    """A test's name without its attributes: ``a.B.test_c[id-...,smoke]`` is ``a.B.test_c``."""
    return test.split("[", 1)[0]


def service(test: str) -> str:
    """What a test is about: a service, or the kind of story it tells."""
    if found := re.match(r"openstack\.tests\.functional\.(\w+)\.", test):
        return f"sdk {found[1]}"
    if found := re.match(r"heat_(?:tempest_plugin\.tests|integrationtests)\.(\w+)\.", test):
        return f"heat {found[1]}"
    found = re.match(r"tempest\.(?:serial_tests\.)?(?:api\.(?P<api>\w+)|(?P<story>\w+))\.", test)
    return (found["api"] or found["story"]) if found else "other"


def class_of(event: str) -> str | None:
    """The class that an event about a whole class is about; nothing for an event about one test."""
    found = _CLASS_EVENT.match(event)
    return found["name"] if found else None


def select(tests: Iterable[str], part: Part, narrower: str = "") -> list[str]:
    """The tests of a part, and of these only those that a regular expression of the user finds."""
    try:
        wish = re.compile(narrower)
    except re.error as error:
        raise LabError(f"--tests {narrower}: {error}") from None
    include, exclude = re.compile(part.include), re.compile(part.exclude)
    return [test for test in tests if include.search(test) and not exclude.search(test) and wish.search(test)]
