"""What is shipped for operators names only what is there, and the programs it is meant for accept it."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from prometheus_client import REGISTRY

import cascade.telemetry  # noqa: F401 - registers the metrics
from cascade.conf import GROUPS, load

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


def test_the_role_writes_options_that_exist(tmp_path: Path) -> None:
    """Rendered as Ansible does it, and read as the gateway does it."""
    role = DEPLOY / "ansible" / "roles" / "cascade"
    values = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    values |= {"cascade_database": "postgresql+asyncpg://u:p@h/cascade", "ansible_managed": "by the role"}
    values["cascade_options"] = {"DEFAULT": {"list_deadline": 4}, "sites": {"probe_interval": 30}, "hub": {"cloud": "center"}}
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string((role / "templates" / "cascade.conf.j2").read_text()).render(values)
    (tmp_path / "cascade.conf").write_text(text)
    conf = load([], [str(tmp_path / "cascade.conf")])
    assert (conf.workers, conf.list_deadline, conf.sites.probe_interval, conf.hub.cloud) == (2, 4.0, 30.0, "center")
    assert conf.database.connection == values["cascade_database"] and conf.secrets.master_key_file == "/etc/cascade/master.key"
    written = configparser.ConfigParser()
    written.read_string(text)
    options = {"DEFAULT" if group is None else group: {o.name for o in opts} for group, opts in GROUPS.items()}
    assert set(written.defaults()) <= options["DEFAULT"]
    for section in written.sections():
        assert set(written[section]) - set(written.defaults()) <= options[section]


def test_ansible_accepts_the_role() -> None:
    if (playbook := shutil.which("ansible-playbook")) is None:
        pytest.skip("no Ansible (pip install ansible-core)")
    done = subprocess.run(
        [playbook, "--syntax-check", "-i", "localhost,", "cascade.yaml"], cwd=DEPLOY / "ansible", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
