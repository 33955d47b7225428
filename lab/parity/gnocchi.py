"""bin/lab parity gnocchi: Gnocchi's own tests at a site and through Cascade, and what passes at the one and not at the other."""

import argparse
from collections.abc import Mapping

from rich.table import Table

from lab.parity import gabbits, sides
from lab.parity.notes import GNOCCHI
from lab.parity.results import Row, compare, load, save
from lab.paths import State
from lab.report import console, say


def arguments(parser: argparse.ArgumentParser) -> None:
    """The action's own command line."""
    parser.add_argument("--side", action="append", choices=sorted(sides.SIDES), help="default: the direct side, then Cascade")
    parser.add_argument("--files", default="", metavar="REGEX", help="only the files this finds")


def command(place: State, args: argparse.Namespace) -> None:
    """Run (a later run of some files replaces what is known of these), and compare."""
    for side in args.side or (args.direct, sides.CASCADE):
        path = place.root / "parity" / f"gnocchi-{side}.json"
        path.parent.mkdir(exist_ok=True)
        results = gabbits.run(place, side, args.files)
        if args.files and (known := load(path)):
            results.tests = known.tests | results.tests
        save(path, results)
    one, two = (load(place.root / "parity" / f"gnocchi-{side}.json") for side in (args.direct, sides.CASCADE))
    if one and two:
        show(args.direct, compare(one.tests, two.tests, lambda test: test.partition(":")[0]))


def show(site: str, rows: Mapping[str, Row]) -> None:
    """A line per file, and each difference with the reason for it where there is one."""
    table = Table("file", "run", f"passed at {site}", "passed through Cascade", "not tried", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in rows.items():
        table.add_row(name, *map(str, (row.ran, row.direct, row.through, row.untried)))
    totals = [sum(getattr(row, field) for row in rows.values()) for field in ("ran", "direct", "through", "untried")]
    table.add_row("all", *map(str, totals))
    console.print(table)
    for name, why in gabbits.UNFIT.items():
        say(f"{name}: not run: {why}")
    for test, outcome in ((t, o) for row in rows.values() for t, o in row.worse.items()):
        reason = next((why for start, why in GNOCCHI.items() if test.startswith(start)), None)
        say(f"{test}\n    {reason or outcome.reason[:300]}")
