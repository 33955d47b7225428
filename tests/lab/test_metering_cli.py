"""The ``gnocchi`` command, subcommand by subcommand: what a site's own Gnocchi says to it, it says through Cascade."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.addons import kind, metering
from lab.paths import State
from tests.lab.conftest import STATE
from tests.lab.metering import MISSING, RUNS, metric, wait
from tests.lab.rest import Cloud

pytestmark = pytest.mark.skipif(not RUNS, reason=MISSING)
PYTHON = kind.venv(State(STATE), metering.RELEASE.name) / "bin" / "python"
LOOP = """
import contextlib, io, json, logging, sys
from gnocchiclient import shell
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.main(json.loads(line))
        except SystemExit as e:
            code = e.code
    for handler in list(logging.getLogger().handlers):  # each run of the command adds its own
        logging.getLogger().removeHandler(handler)
    print(json.dumps([int(bool(code)), out.getvalue(), err.getvalue()]), flush=True)
"""
"""The command's own ``main``, once per line: a process for each would take a second and a half of a core for imports alone."""


class Cli:
    """The command, as one account."""

    def __init__(self, cloud: Cloud) -> None:
        env = {f"OS_{key.upper()}": value for key, value in cloud.auth.items()}
        env |= {"OS_AUTH_TYPE": "password", "OS_REGION_NAME": cloud.region, "OS_INTERFACE": "public", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen([PYTHON, "-c", LOOP], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, command: str) -> tuple[int, str, str]:
        """Exit status, what it printed, and what it complained of."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(shlex.split(command)) + "\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        return code, out, err

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)


SCRIPT = """
admin: archive-policy create {p} -d granularity:60s,points:60 -d granularity:1h,timespan:1d -m mean -m max -m count -f json
admin: archive-policy show {p} -f json
demo:  archive-policy show {p} -f json
demo*  archive-policy list -f json
admin: archive-policy update {p} -d granularity:60s,points:120 -d granularity:1h,timespan:1d -f json
admin: archive-policy-rule create {p} -a {p} -m {p}.* -f json
demo:  archive-policy-rule show {p} -f json
demo*  archive-policy-rule list -f json
admin: archive-policy-rule update {p} -n {p}2 -f json
admin: archive-policy-rule delete {p}2
admin: resource-type create {p} -a rack:string:false:max_length=20 -f json
demo:  resource-type show {p} -f json
demo*  resource-type list -f json
admin: resource-type update {p} -a room:string:false:max_length=9 -f json
admin* status -f json
demo*  capabilities list -f json
demo:  server version -f json
demo:  resource create {r} --type {p} -a rack:r1 -n load:{p} -f json
demo:  resource show {r} --type {p} -f json
demo:  resource show {r}
demo:  resource list --type {p} -f json
demo:  resource list --type {p} --details --limit 1 --sort id:asc -f csv
demo:  resource update {r} --type {p} -a rack:r2 -n heat:{p} -f json
demo:  resource history {r} --type {p} -f json
demo:  resource history {r} --type {p} --limit 1 -f json
demo:  resource list --type {p} --history -f json
demo:  resource search --type {p} "rack='r2'" -f json
demo:  resource search --type {p} --history --sort revision_start:asc "rack='r1'" -f json
demo:  resource search "id='{r}' and ended_at=null" -f json
demo:  resource update {r} --type {p} -d heat -f json
demo:  resource create "a name {p}" --type {p} -f json
demo:  resource show "a name {p}" --type {p} -f json
demo:  resource delete "a name {p}"
demo*  metric list --limit 1 -f json
demo:  metric create --resource-id {r} --archive-policy-name {p} --unit W power -f json
demo:  metric show power --resource-id {r} -f json
demo:  metric show power --resource-id {r}
demo:  metric show {m} -f json
demo:  measures add load --resource-id {r} -m 2026-11-01T00:00:00@1.5 -m 2026-11-01T00:01:00@2.5
demo:  measures add {m} -m 2026-11-01T00:00:00@8
demo:  measures show load --resource-id {r} --refresh --utc -f json
demo:  measures show {m} --refresh --utc -f json
demo:  measures show load --resource-id {r} --aggregation max --granularity 60 --start 2026-11-01 --stop 2026-11-02 --utc -f json
demo:  measures show load --resource-id {r} --granularity 60 --resample 120 --utc -f json
demo:  measures batch-metrics {tmp}/metrics.json
demo:  measures batch-resources-metrics {tmp}/resources.json
demo:  measures batch-resources-metrics --create-metrics {tmp}/creates.json
demo:  measures show load --resource-id {r} --refresh --utc -f json
demo:  measures aggregation -m {m} --utc --refresh -f json
demo:  measures aggregation -m load --query "id='{r}'" --resource-type {p} --aggregation mean --utc --refresh -f json
demo:  measures aggregation -m load --query "id='{r}'" --resource-type {p} --groupby rack --utc -f json
demo:  measures aggregation -m nonesuch --query "id='{r}'" --resource-type {p} -f json
demo:  aggregates "(aggregate mean (metric load mean))" "rack='r2'" --resource-type {p} -f json
demo:  aggregates "(aggregate max (metric load max))" "rack='r2'" --resource-type {p} --groupby rack -f json
demo:  aggregates "(* 2 (metric {m} mean))" --granularity 60 --start 2026-11-01 --stop 2026-11-02 -f json
demo:  metric delete power --resource-id {r}
demo:  metric delete {m}
"""
WRONG = """
demo: resource show {gone}
demo: resource show {gone} --type {p}
demo: resource show {r} --type nonesuch
demo: resource show "a/name"
demo: resource delete {gone}
demo: resource update {gone} -a x:y
demo: resource history {gone}
demo: resource create {r} --type {p}
demo: resource create {gone} --type nonesuch
demo: resource create {gone} --type {p} -a nonesuch:x
demo: resource create {gone} --type {p} -a rack:123456789012345678901234567890
demo: resource create {gone} --type {p} -n load:nonesuch
demo: resource create {gone} --type {p} -m load:{gone}
demo: resource update {r} --type {p} -d nonesuch
demo: resource list --type nonesuch
demo: resource list --type {p} --marker {gone}
demo: resource list --type {p} --sort nonesuch:asc
demo: resource search "nonsense ("
demo: resource search --type {p} "nonesuch='x'"
demo: resource batch delete "nonesuch='x'"
demo: metric show {gone}
demo: metric show nonesuch --resource-id {r}
demo: metric show nonesuch --resource-id {gone}
demo: metric create --archive-policy-name nonesuch
demo: metric create --archive-policy-name {p} "a/b"
demo: metric create --resource-id {r} --archive-policy-name {p} load
demo: metric delete {gone}
demo: metric list --marker {gone}
demo: metric list --sort nonesuch:asc
demo: measures show {gone}
demo: measures show nonesuch --resource-id {r}
demo: measures show load --resource-id {r} --aggregation nonesuch
demo: measures show load --resource-id {r} --granularity 7
demo: measures show load --resource-id {r} --start nonsense
demo: measures add {gone} -m 2026-11-01T00:00:00@1
demo: measures add load --resource-id {r} -m nonsense@1
demo: measures batch-metrics {tmp}/lost.json
demo: measures batch-resources-metrics {tmp}/lost-resources.json
demo: measures aggregation -m {gone} {gone2}
demo: aggregates "(nonsense"
demo: aggregates "(nonsense (metric load mean))" "id='{r}'" --resource-type {p}
demo: aggregates "(metric {gone} mean)"
demo: aggregates "(aggregate nonesuch (metric load mean))" "id='{r}'" --resource-type {p}
demo: aggregates "(aggregate mean (metric load nonesuch))" "id='{r}'" --resource-type {p}
demo: aggregates "(aggregate mean (metric load mean))" "id='{gone}'" --resource-type {p}
demo: aggregates "(aggregate mean (metric load mean))" "id='{r}'" --resource-type nonesuch
demo: archive-policy show nonesuch
demo: archive-policy create {p}3 -d granularity:60s,points:60
demo: archive-policy delete {p}
demo: archive-policy-rule show nonesuch
demo: resource-type show nonesuch
demo: resource-type create {p}3
demo: status
admin: archive-policy create {p} -d granularity:60s,points:60
admin: archive-policy create {p}3 -d granularity:60s,points:60,timespan:1d
admin: archive-policy create {p}3 -d granularity:60s,points:60 -m nonesuch
admin: archive-policy update {p} -d granularity:7s,points:60
admin: archive-policy update nonesuch -d granularity:60s,points:60
admin: archive-policy delete {p}
admin: archive-policy delete nonesuch
admin: archive-policy-rule create {p}3 -a nonesuch -m x
admin: archive-policy-rule delete nonesuch
admin: archive-policy-rule update nonesuch -n other
admin: resource-type create {p}
admin: resource-type create {p}3 -a rack:nonesuch:false
admin: resource-type update {p} -r nonesuch
admin: resource-type update nonesuch -r rack
admin: resource-type delete {p}
admin: resource-type delete nonesuch
"""
"""A name that is not there, one that is there already, a word that is none, a right that is missing."""
AFTER = """
demo:  resource batch delete "id='{r}'" -f json
admin: resource-type delete {p}
"""
_MASKS = (
    (re.compile(r" \(Request-ID: [^)]*\)"), ""),  # Gnocchi has none
    (re.compile(r"https?://[\w.:]+(/metric)?(?=/)"), "URL"),
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "UUID"),
    (re.compile(r"req-UUID|\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:\+00:00)?"), "NOW"),
)


class Side:
    """Two accounts at one place, the names of this run there, and what the script said."""

    def __init__(self, demo: Cloud, admin: Cloud, tmp: Path) -> None:
        self.clis = {"demo": Cli(demo), "admin": Cli(admin)}
        ids = {name: str(uuid.uuid4()) for name in ("r", "gone", "gone2")}
        self.facts = {"p": f"cli-{uuid.uuid4().hex[:8]}", "tmp": str(tmp), "m": "", **ids}
        self.tmp, self.demo, self.admin = tmp, demo, admin
        tmp.mkdir()

    def said(self, script: str) -> list[tuple[str, Any]]:
        """Each line with its exit status and words, without what differs between any two clouds."""
        return [self._line(line) for line in script.strip().splitlines()]

    def _line(self, line: str) -> tuple[str, Any]:
        who, columns, command = line[: line.index(" ")].rstrip(":*"), line.split()[0].endswith("*"), line.partition(" ")[2].strip()
        if "{m}" in command and not self.facts["m"]:
            self._prepare()
        code, out, err = self.clis[who](command.format(**self.facts))
        if columns:  # others have rows there, too
            rows = json.loads(out)
            return line, (code, sorted(rows[0] if isinstance(rows, list) else rows), self._masked(err))
        return line, (code, self._masked(out), self._masked(err))

    def _prepare(self) -> None:
        made = metric(self.demo, "POST", "/v1/metric", {"archive_policy_name": self.facts["p"]})
        assert made.status == 201, made.body
        self.facts["m"], point = made.json()["id"], [{"timestamp": "2026-11-01T00:02:00", "value": 4.0}]
        files = {
            "metrics": {self.facts["m"]: point},
            "resources": {self.facts["r"]: {"load": point}},
            "creates": {self.facts["r"]: {f"{self.facts['p']}.more": {"archive_policy_name": self.facts["p"], "measures": point}}},
            "lost": {self.facts["gone"]: point},
            "lost-resources": {self.facts["gone"]: {"load": point}},
        }
        for name, doc in files.items():
            (self.tmp / f"{name}.json").write_text(json.dumps(doc))

    def _masked(self, text: str) -> str:
        for name, value in self.facts.items():
            if value:
                text = text.replace(value, name.upper())
        for pattern, instead in _MASKS:
            text = pattern.sub(instead, text)
        return re.sub(r"[ -]{2,}", "  ", text)  # tables are as wide as their words


@pytest.fixture(scope="module")
def sides(clouds: dict[str, Cloud], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Side]]:
    """A site, and Cascade."""
    tmp = tmp_path_factory.mktemp("cli")
    found = {
        "directly": Side(clouds["paris-demo"], clouds["paris-admin"], tmp / "directly"),
        "through": Side(clouds["cascade"], clouds["cascade-admin"], tmp / "through"),
    }
    yield found
    for side in found.values():
        for cli in side.clis.values():
            cli.close()


def _compared(sides: dict[str, Side], script: str) -> tuple[list[tuple[str, Any]], list[str]]:
    """What the site says, and where Cascade says something else."""
    directly, through = (sides[name].said(script) for name in ("directly", "through"))
    pairs = zip(directly, through, strict=True)
    return directly, [f"{line}\n  directly {one}\n  through  {two}" for (line, one), (_, two) in pairs if one != two]


def test_every_subcommand_says_what_it_says_at_a_site(sides: dict[str, Side]) -> None:
    directly, other = _compared(sides, SCRIPT)
    assert not [one for one in directly if one[1][0]]
    assert not other, "\n".join(other)


def test_wrong_words_end_in_the_sites_own_error(sides: dict[str, Side]) -> None:
    """Each of them fails."""
    directly, other = _compared(sides, WRONG)
    assert not [line for line, (code, *_) in directly if not code]
    assert not other, "\n".join(other)


def test_what_was_made_goes(sides: dict[str, Side]) -> None:
    _, other = _compared(sides, AFTER)
    assert not other, "\n".join(other)
    for side in sides.values():  # a policy goes when metricd has taken away the last metric, that of no resource any more included
        for row in metric(side.admin, "GET", "/v1/metric", archive_policy_name=side.facts["p"]).json():
            metric(side.admin, "DELETE", f"/v1/metric/{row['id']}")
        command = f"archive-policy delete {side.facts['p']}"
        wait("the policy is still used", lambda cli=side.clis["admin"], line=command: not cli(line)[0])
