"""The API coverage table: what upstream's tests say of a site asked directly and of Cascade, as a page of docs/.

One row per class of tests, since a class is about one thing. The results are kept beside the page in a short form, so that
the page can be made again, and a part measured alone replaces only its own rows.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lab.parity.parts import service
from lab.parity.results import Outcome, Status

Tests = dict[str, list[str]]
"""Test: how it ended directly, and through Cascade."""

LETTER = {Status.PASS: "p", Status.FAIL: "f", Status.SKIP: "s"}
HEAD = """# API coverage

What works through Cascade, measured with the tests OpenStack itself uses: upstream's Tempest, openstacksdk's functional tests and
Heat's own, unchanged, once on a site asked directly and once through Cascade with two sites behind it and no availability zone
named. `bin/lab parity run --part all` runs both sides, `bin/lab parity table` writes this page from what came out. Directly,
Heat's tests ask a second Heat that knows the site alone ([Heat](heat-and-horizon.md)).

*works*: all that pass directly pass through Cascade. *works with a note*: some do not, each is named below with the reason.
*refused*: none do. What no site of the lab can do itself (skipped or failed directly) is not counted.
"""


def shorten(direct: Mapping[str, Outcome], through: Mapping[str, Outcome]) -> Tests:
    """The results of both sides in the short form; tests that were not run on both sides say nothing."""
    return {t: [LETTER[direct[t].status], LETTER[through[t].status]] for t in sorted(direct) if t in through}


def words(name: str) -> str:
    """A class or module in words: ``VolumesSnapshotTestJSON`` is ``volumes snapshot``."""
    name = re.sub(r"^test_|(Admin)?(V\d+\w*?)?Test(s)?(JSON|Json)?(V\d+)?$|_negative$|JSON", "", name)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name).strip().lower() or name


def render(measured: Mapping[str, Tests], notes: Mapping[str, str]) -> str:
    """The page: figures per site compared with, then every class of tests. ``notes``: the reason why a test is worse."""
    lines = [HEAD, "| compared with | service | pass directly | of these through Cascade | worse |", "|---|---|--:|--:|--:|"]
    for site, tests in measured.items():
        for name, some in _grouped(tests, service).items():
            lines.append(f"| {site} | {name} | {_counted(some)} |")
        lines.append(f"| {site} | **all** | {_counted(tests)} |")
    for site, tests in measured.items():
        for name, some in _grouped(tests, service).items():
            lines += ["", f"## {name}, compared with {site}", "", "| resource | operations | evidence | |", "|---|---|---|---|"]
            lines += _rows(some)
    worse = sorted({t for tests in measured.values() for t, (one, two) in tests.items() if (one, two) == ("p", "f")})
    if worse:
        lines += ["", "## Notes", ""]
        lines += [f"- `{t}`: {next((why for part, why in notes.items() if part in t), 'not explained yet')}" for t in worse]
    return "\n".join(lines) + "\n"


def _grouped(tests: Tests, by: Callable[[str], str]) -> dict[str, Tests]:
    found: dict[str, Tests] = {}
    for test, ends in tests.items():
        found.setdefault(by(test), {})[test] = ends
    return dict(sorted(found.items()))


def _counted(tests: Tests) -> str:
    direct = [two for one, two in tests.values() if one == "p"]
    return f"{len(direct)} | {direct.count('p')} | {len(direct) - direct.count('p')}"


def _about(test: str) -> str:
    """The class of a test; of a request in one of gabbi's files, which is a class by itself, the file."""
    return re.sub(r"(\.test_heat_api\.[^_.]+)_.*", r"\1", test.rpartition(".")[0])


def _rows(tests: Tests) -> Iterable[str]:
    for name, some in _grouped(tests, _about).items():
        direct = [two for one, two in some.values() if one == "p"]
        if not direct:
            continue
        passed = direct.count("p")
        verdict = "works" if passed == len(direct) else f"works with a note: {passed} of {len(direct)}" if passed else "refused"
        module, _, cls = name.rpartition(".")
        yield f"| {words(module.rpartition('.')[2])} | {words(cls)} ({len(direct)}) | `{cls}` | {verdict} |"


def save(folder: Path, site: str, tests: Tests) -> None:
    """Keep results in their short form; what was not measured again stays."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = load(folder).get(site, {}) | tests
    lines = ",\n".join(f"{json.dumps(t)}: {json.dumps(''.join(ends))}" for t, ends in sorted(kept.items()))
    (folder / f"{site}.json").write_text(f"{{\n{lines}\n}}\n")


def load(folder: Path) -> dict[str, Tests]:
    """What has been kept, by site."""
    return {p.stem: {t: list(ends) for t, ends in json.loads(p.read_text()).items()} for p in sorted(folder.glob("*.json"))}
