"""The joining report for people: one line per fact, findings last and worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ORDER = {"blocker": 0, "warning": 1, "note": 2}


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The text of a report."""
    yield f"Joining report for {report['site']} (clouds.yaml entry {report['cloud']}, identity {report['identity']})"
    for name, service in report["services"].items():
        window = "-".join(service.get("window") or ())
        facts = ", ".join(f for f in (window, service.get("release")) if f)
        state = f"answers{f' ({facts})' if facts else ''}" if service["ok"] else f"FAILS: {service['error']}"
        yield f"  {name + ':':<14}{state}"
    for window in report["windows"]:
        if window["shrinks"]:
            then = "-".join(window["then"]) if window["then"] else "nothing"
            yield f"  {'window:':<14}{window['service']} {'-'.join(window['now'])} -> {then}"
    if "account" in report:
        yield f"  {'account:':<14}{report['account']['grade']}"
        network, types, flavors = report["network"], report["volume_types"], report["flavors"]
        yield f"  {'networks:':<14}external: {_list(network['external_networks'])}; physical: {_list(network['physical_networks'])}"
        yield f"  {'flavors:':<14}{len(flavors['adopted'])} adopted, {len(flavors['conflicts'])} in conflict"
        yield f"  {'volume types:':<14}paired: {_list(types['paired'])}; to be made: {_list(types['made'])}"
        yield f"  {'zones:':<14}{', '.join(f'{z} as {n}' for z, n in report['zones']['north'].items()) or 'none'}"
    for finding in sorted(report["findings"], key=lambda f: _ORDER[f["severity"]]):
        yield f"  {finding['severity'].upper() + ':':<14}{finding['message']}"
    yield "The site can join." if report["ok"] else "The site cannot join like this."


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
