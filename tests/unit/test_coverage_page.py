"""The coverage page: what counts as working, and that results of a part do not take others away."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.parity import coverage
from lab.parity.results import Outcome, Status

A, B, C = (f"tempest.api.volume.test_volumes_get.VolumesGetTest.test_{x}" for x in "abc")
D = "tempest.api.image.v2.test_images.ImportImagesTest.test_import"


def test_only_what_was_run_on_both_sides() -> None:
    passed, skipped = Outcome(Status.PASS), Outcome(Status.SKIP)
    assert coverage.shorten({A: passed, B: passed, C: skipped}, {A: passed, C: Outcome(Status.FAIL)}) == {
        A: ["p", "p"],
        C: ["s", "f"],
    }


def test_verdicts() -> None:
    page = coverage.render({"paris": {A: ["p", "p"], B: ["p", "f"], C: ["f", "f"], D: ["p", "f"]}}, {"test_b": "two sites are two"})
    assert "| paris | **all** | 3 | 1 | 2 |" in page
    assert "| volumes get | volumes get (2) | `VolumesGetTest` | works with a note: 1 of 2 |" in page
    assert "| images | import images (1) | `ImportImagesTest` | refused |" in page
    assert f"- `{B}`: two sites are two" in page and f"- `{D}`: not explained yet" in page
    assert C not in page


def test_requests_of_one_file_are_one_row() -> None:
    some = {f"heat_tempest_plugin.tests.api.test_heat_api.stacks_{x}.test_request": ["p", "p"] for x in ("create_stack", "show")}
    assert "| heat api | stacks (2) | `stacks` | works |" in coverage.render({"paris": some}, {})


def test_a_part_replaces_its_own(tmp_path: Path) -> None:
    coverage.save(tmp_path, "paris", {A: ["p", "f"], B: ["p", "p"]})
    coverage.save(tmp_path, "paris", {A: ["p", "p"]})
    assert coverage.load(tmp_path) == {"paris": {A: ["p", "p"], B: ["p", "p"]}}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("VolumesSnapshotTestJSON", "volumes snapshot"),
        ("test_volumes_negative", "volumes"),
        ("ServersV294Test", "servers"),
        ("TestX", "test x"),
    ],
)
def test_words(name: str, said: str) -> None:
    assert coverage.words(name) == said
