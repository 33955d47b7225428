"""``bin/bench [NAME...]``: measure; print a table, keep it, a plot and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.database import KINDS
from bench.figures import FIGURES
from bench.process import more_files
from bench.real import lab
from bench.report import Figure, markdown, plot
from bench.world import Sizes, world
from lab.paths import CHECKOUT
from lab.report import LabError, say


def parse(argv: list[str] | None = None) -> tuple[list[str], Sizes]:
    """The figures and sizes a command line asks for; [] to say only what there is."""
    p = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    p.add_argument("name", nargs="*", help=f"of {', '.join(FIGURES)}; all of them by default, in this order. Alone: lab")
    p.add_argument("--list", action="store_true", help="say what there is")
    p.add_argument("--sites", type=int, default=Sizes.sites)
    p.add_argument("--servers", type=int, default=Sizes.servers, help="per site")
    p.add_argument("--idle", type=float, default=Sizes.idle, metavar="SECONDS")
    p.add_argument("--rounds", type=int, default=Sizes.rounds, help="requests of a figure that is a distribution")
    p.add_argument("--load", type=_numbers, default=Sizes.load, metavar="N,N", help="requests at once of the mixed load")
    p.add_argument("--boots", type=int, default=Sizes.boots, help="first boots at once")
    p.add_argument("--missed", type=int, default=Sizes.missed, help="changes a site misses that returns")
    p.add_argument("--database", choices=KINDS, default=Sizes.database, help="the gateways'; PostgreSQL is started for it")
    p.add_argument(
        "--processes", type=int, default=Sizes.processes, help="gateways; by default one, the load with one and with two"
    )
    a = p.parse_args(argv)
    if a.name != ["lab"] and (unknown := set(a.name) - set(FIGURES)):
        p.error(f"no such figure: {', '.join(sorted(unknown))}")
    sizes = Sizes(**{f.name: getattr(a, f.name) for f in fields(Sizes)})
    return [] if a.list else a.name if a.name == ["lab"] else [n for n in FIGURES if not a.name or n in a.name], sizes


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(","))


def conditions(sizes: Sizes) -> dict[str, Any]:
    """On what it was measured. ``load`` is the machine's before anything began."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {**asdict(sizes), "time": f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z", "cores": os.cpu_count(), "memory_gib": round(memory),
            "python": platform.python_version(), "load": round(os.getloadavg()[0], 2)}  # fmt: skip


def words(on: dict[str, Any]) -> str:
    """The conditions below a table."""
    shown = ("sites", "servers", "database", "processes", "cores", "memory_gib", "python", "load", "time")
    return ", ".join(f"{name.replace('_', ' ')} {on[name]}" for name in shown if on[name] or name != "processes")


def keep(folder: Path, on: dict[str, Any], found: list[Figure]) -> Path:
    """Write JSON, table and plot; the name they have but for their endings."""
    kept = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    kept.with_suffix(".json").write_text(json.dumps({**on, "figures": [asdict(f) for f in found]}, indent=1) + "\n")
    kept.with_suffix(".md").write_text(f"{markdown(found)}\n\n{words(on)}\n")
    kept.with_suffix(".svg").write_text(plot(found, f"Share of the limit used, {on['sites']} sites x {on['servers']} servers"))
    return kept


def main() -> int:
    """The command. Its status is 1 where a figure is not within its limit, or could not be measured."""
    names, sizes = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it started ends with it
    if not names:
        for name, row in FIGURES.items():
            print(f"{name:10} {row.about}")
        print(f"{'lab':10} {(lab.__doc__ or '').splitlines()[0]}")
        return 0
    more_files()
    folder = Path(os.environ.get("CASCADE_BENCH_STATE") or CHECKOUT / ".bench").absolute()
    on, found, failed = conditions(sizes), list[Figure](), ""

    def take(figures: Iterable[Figure]) -> None:
        for figure in figures:
            found.append(figure)
            say(f"     {figure.name}: {figure.value:.4g} {figure.unit}")

    try:
        if names == ["lab"]:
            folder.mkdir(exist_ok=True)
            take(lab())
        else:
            with world(sizes, folder) as it:
                for name in names:
                    if FIGURES[name].indexed:
                        it.index()
                    it.settle()
                    say(f"measure: {name}")
                    take(FIGURES[name].measure(it))
    except LabError as e:
        failed = str(e)
    print(f"\n{markdown(found)}\n\n{words(on)}\n")
    say(f"kept: {keep(folder, on, found)}.json, .md, .svg")
    if on["load"] > 0.5:
        say(f"the machine was busy before (load {on['load']}): times are too long; CPU is nearer to the truth")
    if failed:
        print(f"bench: {failed}", file=sys.stderr)
    return 1 if failed or any(f.kept is False for f in found) else 0


if __name__ == "__main__":
    sys.exit(main())
