"""bin/lab parity: run, check, compare, table, clean, wrong, gnocchi."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from lab.parity import check, coverage, gnocchi, sides
from lab.parity import run as runs
from lab.parity.notes import NOTES
from lab.parity.parts import PARTS
from lab.parity.results import Outcome, Row, Status, compare, load
from lab.parity.wrong import run as wrong
from lab.paths import State
from lab.report import LabError, console, say

DOCS = Path(__file__).parents[2] / "docs"
ALL = "all"
"""Every part, one after the other."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own command line."""
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="run a part of Tempest on a side")
    run.add_argument("--side", action="append", choices=sorted(sides.SIDES), help="default: the direct side, then Cascade")
    run.add_argument("--part", required=True, action="append", choices=[*PARTS, ALL])
    run.add_argument("--tests", default="", metavar="REGEX", help="of the part, only what this finds")
    run.add_argument("--concurrency", type=int, default=0, help="processes, if not the part's own number")
    actions.add_parser("check", help="run through Cascade the quickest test of each resource, all of which must pass")
    contrast = actions.add_parser("compare", help="what passes directly, and what of it through Cascade")
    contrast.add_argument("--part", action="append", choices=list(PARTS))
    bad = actions.add_parser("wrong", help="send wrong requests to a site and through Cascade, and compare the refusals")
    wrong.arguments(bad)
    measures = actions.add_parser("gnocchi", help="Gnocchi's own tests at a metered site and through Cascade")
    gnocchi.arguments(measures)
    for action in (run, contrast, bad, measures):
        action.add_argument(
            "--direct",
            default=sides.DEFAULT_DIRECT,
            choices=sorted(sides.DIRECT),
            help="the site to compare with; it sets features and microversions",
        )
    actions.add_parser("table", help="write docs/coverage.md and the list of `check` from the results of all sites")
    clean = actions.add_parser("clean", help="remove what a killed run left behind")
    clean.add_argument("label", help="as its results are called: SIDE-PART")


def command(place: State, args: argparse.Namespace) -> None:
    """Run upstream's Tempest on a site and through Cascade, and compare."""
    ACTIONS[args.action](place, args)


def _run(place: State, args: argparse.Namespace) -> None:
    (place.root / "parity").mkdir(exist_ok=True)
    for part in PARTS if ALL in args.part else args.part:
        for side in args.side or (args.direct, sides.CASCADE):
            runs.run(place, side, part, side if side in sides.DIRECT else args.direct, args.tests, args.concurrency)


def _check(place: State, args: argparse.Namespace) -> None:
    """A few that fail are run once more, one at a time: some of upstream's race with a busy machine, directly as well."""
    (place.root / "parity").mkdir(exist_ok=True)
    if runs.run(place, sides.CASCADE, check.NAME, sides.DEFAULT_DIRECT, part=check.part()):
        return
    results = load(runs.workspace(place, runs.label(sides.CASCADE, check.NAME, sides.DEFAULT_DIRECT)).results)
    failed = [test for test, outcome in results.tests.items() if outcome.status is Status.FAIL] if results else []
    if 0 < len(failed) <= check.UNSTABLE:
        say(f"once more, one at a time: {', '.join(failed)}")
        once = check.exactly(failed)
        if runs.run(place, sides.CASCADE, check.NAME, sides.DEFAULT_DIRECT, concurrency=1, part=once):
            say(f"failed once and passed alone: {', '.join(failed)}")
            return
    raise LabError("not all of upstream's tests pass through Cascade that did")


def _results(place: State, site: str, parts: Iterable[str]) -> tuple[dict[str, Outcome], dict[str, Outcome], list[str]]:
    """All of a comparison: directly, through Cascade, and the labels that have no results yet."""
    missing: list[str] = []
    direct: dict[str, Outcome] = {}
    through: dict[str, Outcome] = {}
    for part in parts:
        labels = [runs.label(side, part, site) for side in (site, sides.CASCADE)]
        one, two = (load(runs.workspace(place, name).results) for name in labels)
        missing += [name for name, results in zip(labels, (one, two), strict=True) if results is None]
        if one and two and one.microversions != two.microversions:
            raise LabError(f"{labels[0]} and {labels[1]} were run with different microversions; run one again")
        direct |= one.tests if one else {}
        through |= two.tests if two else {}
    return direct, through, missing


def _compare(place: State, args: argparse.Namespace) -> None:
    direct, through, missing = _results(place, args.direct, args.part or PARTS)
    rows = compare(direct, through)
    table = Table("service", "run", f"passed at {args.direct}", "passed through Cascade", "worse", "not tried", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in [*rows.items(), ("all", total(rows.values()))]:
        table.add_row(name, *map(str, (row.ran, row.direct, row.through, len(row.worse), row.untried)))
    console.print(table)
    for name, row in rows.items():
        if row.worse:
            say(f"\n{name}: pass at {args.direct}, not through Cascade")
        for test, outcome in row.worse.items():
            say(f"  {test}\n      {outcome.status}: {outcome.reason[:400]}")
    if missing:
        say(f"\nno results yet: {', '.join(missing)}")


def total(rows: Iterable[Row]) -> Row:
    """All services together."""
    everything = Row()
    for row in rows:
        everything.ran += row.ran
        everything.direct += row.direct
        everything.through += row.through
        everything.untried += row.untried
        everything.worse |= row.worse
    return everything


def _table(place: State, args: argparse.Namespace) -> None:
    kept = DOCS / "coverage"
    for site in sorted(sides.DIRECT):
        direct, through, missing = _results(place, site, PARTS)
        if tests := coverage.shorten(direct, through):
            coverage.save(kept, site, tests)
        if site == sides.DEFAULT_DIRECT and not missing:  # of a part measured alone no list can be made
            check.write(check.quickest(direct, through))
    (DOCS / "coverage.md").write_text(coverage.render(coverage.load(kept), NOTES))
    say("written: docs/coverage.md")


def _clean(place: State, args: argparse.Namespace) -> None:
    space = runs.workspace(place, args.label)
    if not space.prefix.exists():
        raise LabError(f"{args.label}: nothing known to be left behind")
    with runs.alone(space):
        runs.sweep(place, space, args.label.partition("-")[0])


ACTIONS = {
    "run": _run,
    "check": _check,
    "compare": _compare,
    "table": _table,
    "clean": _clean,
    "wrong": wrong.command,
    "gnocchi": gnocchi.command,
}
