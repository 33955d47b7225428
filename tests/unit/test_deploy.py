"""What is shipped for operators names only what is there, and the programs it is meant for accept it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import cascade.telemetry  # noqa: F401 - registers the metrics
from cascade.conf import GROUPS

DEPLOY = Path(__file__).parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
OTHERS = {"up": {"job"}, "process_resident_memory_bytes": {"job"}, "process_cpu_seconds_total": {"job"}}
"""Metrics that Prometheus or its client library makes, with the labels used here."""
_WORDS = frozenset(["sum", "rate", "max", "min", "by", "le", "histogram_quantile", "min_over_time"])


def rules() -> list[dict[str, Any]]:
    """All alerts."""
    found: list[dict[str, Any]] = [
        r for g in yaml.safe_load((MONITORING / "cascade.rules.yaml").read_text())["groups"] for r in g["rules"]
    ]
    return found


def expressions() -> list[str]:
    """All expressions of rules and dashboard."""
    dashboard = json.loads((MONITORING / "cascade.dashboard.json").read_text())
    return [r["expr"] for r in rules()] + [t["expr"] for p in dashboard["panels"] for t in p["targets"]]


def known() -> dict[str, set[str]]:
    """Series name -> its labels, as the gateway's own registry has them."""
    out: dict[str, set[str]] = {}
    for name, collector in REGISTRY._names_to_collectors.items():  # type: ignore[attr-defined]
        labels = set(getattr(collector, "_labelnames", ()))
        out[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return out | OTHERS


@pytest.mark.parametrize("expression", expressions())
def test_expressions_name_metrics_and_labels_that_exist(expression: str) -> None:
    series = known()
    bare = re.sub(r"\"[^\"]*\"", '""', expression)
    named = set()
    for name, selector in re.findall(r"\b([a-z_]\w*)\b(?:\{([^}]*)\})?(?=[\[\s)=<>{]|$)", bare):
        if name in series:
            named.add(name)
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                assert label in series[name], (name, label)
    assert named, "no metric of ours"
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", bare) for label in group.split(",")}
    assert grouped <= set().union(*(series[n] for n in named)), grouped
    loose = set(re.findall(r"\b[a-z_]{4,}\b", re.sub(r"\{[^}]*\}|by \([^)]*\)", "", bare))) - _WORDS - named
    assert not loose, f"not known: {loose}"


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        assert rule["annotations"]["summary"] and rule["annotations"]["action"] and rule["labels"]["severity"]


@pytest.mark.parametrize("words", [("check", "rules", "cascade.rules.yaml"), ("test", "rules", "cascade.test.yaml")], ids=" ".join)
def test_promtool_agrees(words: tuple[str, ...]) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool (apt-get install prometheus)")
    done = subprocess.run([promtool, *words], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze (apt-get install systemd)")
    for unit in ("cascade.service", "cascade.socket"):
        text = (DEPLOY / "systemd" / unit).read_text().replace("/opt/cascade/bin/cascade", "/bin/true")  # not installed here
        (tmp_path / unit).write_text(text)
    units = [str(tmp_path / u) for u in ("cascade.service", "cascade.socket")]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    done = subprocess.run([analyze, "security", "--offline=yes", "--threshold=20", units[0]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:]


def test_socket_and_service_listen_where_the_default_is() -> None:
    port = next(o.default for o in GROUPS[None] if o.name == "listen")
    assert f"ListenStream={port}" in (DEPLOY / "systemd" / "cascade.socket").read_text()
    assert port.rpartition(":")[2] in (DEPLOY / "container" / "Containerfile").read_text()
