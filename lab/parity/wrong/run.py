"""``bin/lab parity wrong``: send, compare, tell."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.table import Table

from lab.data import SITES
from lab.parity import run as runs
from lab.parity import sides
from lab.parity.wrong import verdict
from lab.parity.wrong.cases import Case, choose
from lab.parity.wrong.schemas import schemas
from lab.parity.wrong.seeds import SEEDS
from lab.parity.wrong.stage import Stage, dumped, image_schema, stages
from lab.parity.wrong.verdict import Row, Seen
from lab.paths import State
from lab.report import LabError, console, say, step

NAME = "wrong"
"""Of the results, and of the lock."""
DEFAULT_SEED = "1"
DEFAULT_COUNT = 300
"""Per service."""
_EXAMPLES = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    """The action's own command line."""
    parser.add_argument("--seed", default=DEFAULT_SEED, help="another choice of requests")
    parser.add_argument("--service", action="append", choices=list(SEEDS), help="default: all")
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="requests per service")
    parser.add_argument("--only", default="", metavar="TEXT", help="of the chosen, those with this in their name")
    parser.add_argument("--through", metavar="URL", help="another gateway before the same hub and sites")


def command(place: State, args: argparse.Namespace) -> None:
    """Send wrong requests to a site and through Cascade, and compare. Raises LabError where they differ without a reason."""
    services = args.service or list(SEEDS)
    rows: list[Row] = []
    with runs.alone(runs.workspace(place, NAME)), stages(place, args.direct, args.through) as (direct, ours):
        for service in services:
            chosen = [c for c in chosen_cases(place, direct, service, args.seed, args.count) if args.only in c.name]
            with step(f"{service}: {len(chosen)} wrong requests"):
                rows += compared(direct, ours, chosen)
    name = NAME if len(services) > 1 else f"{NAME}-{services[0]}"
    dumped(place.root / "parity" / f"{name}.json", _document(args, rows))
    _tell(rows)
    if any(not row.same and not verdict.reason(row) for row in rows):
        raise LabError("wrong requests are answered otherwise than by the site itself")


def chosen_cases(place: State, direct: Stage, service: str, seed: str, count: int) -> list[Case]:
    """The cases of one service."""
    known = schemas(place, service, place.release(SITES[direct.name])) | (image_schema(direct) if service == "image" else {})
    try:
        return choose(SEEDS[service], known, seed=f"{seed}/{service}", count=count)
    except KeyError as error:
        raise LabError(f"{service}: no schema {error}; there are {', '.join(sorted(known))}") from None


def compared(direct: Stage, ours: Stage, cases: Sequence[Case]) -> Iterator[Row]:
    """Both answers to each case, asked at the same time, one case after the other: what one changes is there for the next."""
    with ThreadPoolExecutor(2) as pool:
        for case in cases:
            one, two = pool.map(lambda side, case=case: _seen(side, case), (direct, ours))
            yield Row(case, one, two)


def _seen(side: Stage, case: Case) -> Seen:
    begun = time.monotonic()
    got = side.ask(case)
    return Seen.of(case, got, time.monotonic() - begun)


def _document(args: argparse.Namespace, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "direct": args.direct, "seed": args.seed, "sums": {k: vars(v) for k, v in verdict.sums(rows).items()},
        "cases": [row.plain(verdict.reason(row)) for row in rows],
    }  # fmt: skip


def _tell(rows: Sequence[Row]) -> None:
    table = Table("service", "sent", f"refused by {sides.DEFAULT_DIRECT}", "same", "for a reason", "different", "our 5xx", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for service, line in verdict.sums(rows).items():
        table.add_row(service, *map(str, (line.sent, line.refused, line.same, line.excused, line.different, line.crashes)))
    console.print(table)
    for name, alike in verdict.classes(rows):
        say(f"\n{len(alike)} x {name}")
        for row in alike[:_EXAMPLES]:
            say(f"  {row.case.name}\n      directly {row.direct.said[:180]!r}\n      Cascade  {row.ours.said[:180]!r}")
