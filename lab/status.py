"""What runs, what it costs, and what it says."""

import argparse

from rich.table import Table

from lab import addons, cloud, gateway, infra, wires
from lab.data import CLOUDS
from lab.paths import State
from lab.procs import Proc, usage
from lab.report import LabError, console, say, tail


def groups(place: State) -> dict[str, list[Proc]]:
    """All processes of the lab, by the place they belong to."""
    found = {"infra": infra.procs(place)}
    found |= {name: cloud.all_procs(place, item) for name, item in CLOUDS.items() if place.cloud(item).run.exists()}
    found["cascade"] = [gateway.proc(place)]
    for addon in addons.chosen(place, ()):
        for proc in addon.procs(place):
            # What stands at several sites has a folder at each.
            own = addon.name if proc.place == addon.place(place) else f"{addon.name}/{proc.place.root.name}"
            found.setdefault(own, []).append(proc)
    return found


def show(place: State, args: argparse.Namespace) -> None:
    """Show every process with its memory."""
    used = usage()
    table = Table("place", "process", "pid", "state", "processes", "MiB", "CPU s", box=None)
    for column in table.columns[4:]:
        column.justify = "right"
    total = 0.0
    for name, members in groups(place).items():
        memory, cpu = 0.0, 0.0
        for proc in members:
            pid = proc.pid()
            found = used.get(pid) if pid else None
            if not found:
                table.add_row(name, proc.name, "", "[red]down[/]")
                continue
            condition = "[yellow]frozen[/]" if found.frozen else "up"
            mib = found.memory / 2**20
            table.add_row(name, proc.name, str(pid), condition, str(found.processes), f"{mib:.0f}", f"{found.cpu:.0f}")
            memory, cpu = memory + mib, cpu + found.cpu
        every = f"all, release {place.release(CLOUDS[name])}" if name in CLOUDS else "all"
        table.add_row(f"[bold]{name}[/]", f"[bold]{every}[/]", "", "", "", f"[bold]{memory:.0f}[/]", f"[bold]{cpu:.0f}[/]")
        total += memory
    console.print(table)
    say("packets: carried" if wires.real(place) else "packets: none (ports become ACTIVE, nothing is carried between them)")
    say(f"{total:.0f} MiB (proportional set size) in all")


def logs(place: State, args: argparse.Namespace) -> None:
    """Show the ends of logs."""
    known = groups(place)
    if args.name and args.name not in known:
        raise LabError(f"{args.name}: one of {', '.join(known)}")
    for name, members in known.items():
        if args.name not in (None, name):
            continue
        paths = sorted({path for proc in members for path in (proc.log, proc.output)
                        if args.process in (None, proc.name)})  # fmt: skip
        for path in paths:
            if path.exists() and path.stat().st_size:
                say(f"==> {path}")
                say(tail(path.read_text(errors="replace"), args.lines))
