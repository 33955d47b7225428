"""Documents promise only what is there: files, commands, options, metrics, links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from cascade import telemetry
from cascade.conf import GROUPS
from cascade.model.site import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "lab").glob("*.md")])
TEXT = {p: p.read_text() for p in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_links_exist(page: Path) -> None:
    named = re.findall(r"`((?:cascade|osc_cascade|sim|lab|tests|docs|bin|releasenotes)/[\w./-]*|\.ci/\w+)`", TEXT[page])
    named += re.findall(r"(?<![\w/.-])((?:bin|\.ci)/[a-z]\w*(?:-\w+)*)", TEXT[page])
    assert [n for n in named if not (ROOT / n.split()[0]).exists()] == []
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT[page])]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_commands_exist() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["openstack.cascade.v1"]
    known = {name.replace("_", " ") for name in points}
    guide = TEXT[ROOT / "docs" / "operator-guide.md"]
    named = re.findall(r"openstack (cascade (?:(?:site|intent|request|capacity) )?[a-z]+)", guide)
    assert named and set(named) <= known
    source = (ROOT / "cascade" / "cmd.py").read_text()
    ran = set(re.findall(r"^# cascade (\w+)|`cascade (\w+)`", "\n".join(TEXT.values()), flags=re.MULTILINE))
    assert [c for pair in ran for c in pair if c and f'("{c}", ' not in source] == []


def test_options_and_metrics_exist() -> None:
    guide = TEXT[ROOT / "docs" / "operator-guide.md"]
    options = {o.dest for opts in GROUPS.values() for o in opts}
    for group, name in re.findall(r"`\[(\w+)\] (\w+)`", guide):
        assert name in {o.dest for o in GROUPS[group]}, (group, name)
    assert {"listen", "public_url", "region", "policy_file", "log_file"} <= options
    exposed = telemetry.render()[0].decode()
    metrics = re.findall(r"`(cascade_\w+)`", guide.partition("**Metrics**")[2].partition("\n\n")[0])
    assert metrics and [m for m in metrics if f"# TYPE {m} " not in exposed] == []
    assert [o for o in re.findall(r"--option (\w+)=", guide) if o not in OPTIONS and o != "KEY"] == []


def test_findings_are_all_explained() -> None:
    source = "".join((ROOT / "cascade" / "reconcile" / f).read_text() for f in ("joining.py", "findings.py"))
    codes = set(re.findall(r"\.(?:stop|warn|note)\(\s*\"([\w-]+)\"", source))
    table = TEXT[ROOT / "docs" / "operator-guide.md"].partition("| code |")[2].partition("\n\n")[0]
    explained = set(re.findall(r"`([\w-]+)`", table))
    assert codes and codes <= explained


@pytest.mark.parametrize("note", sorted((ROOT / "releasenotes" / "notes").glob("*.yaml")), ids=lambda p: p.name)
def test_release_notes_are_renos(note: Path) -> None:
    sections = {"prelude", "features", "issues", "upgrade", "deprecations", "critical", "security", "fixes", "other"}
    assert yaml.safe_load(note.read_text()).keys() <= sections
