"""Gnocchi's own gabbi files, as they ship with it, against a running Gnocchi with Keystone: directly, or through Cascade.

They are written for a fixture that makes a new Gnocchi for each file, whose users are names in a header of basic authentication.
So a file is rewritten before it runs: a header becomes a real token, fixed project ids become projects there are, and who created
something is a user and a project. In front of each file everything goes that is not Gnocchi's or Ceilometer's from the start.
What cannot be had of a Gnocchi in use (a page size of seven, no policies but one's own) fails directly as well, and does not count.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import time
import unittest
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import yaml
from gabbi import driver, fixture

from lab.addons import kind, metering
from lab.data import GATEWAY_URL, SITES
from lab.parity.results import Outcome, Results, Status, first_line
from lab.parity.sides import CASCADE
from lab.paths import State
from lab.raw import Cloud

FOLDERS = ("gnocchi/tests/functional/gabbits", "gnocchi/tests/functional_live/gabbits")
UNFIT = {
    # a file: why it is not run
    "cors": "needs an origin in the configuration of the service",
    "http-proxy-to-wsgi": "needs a service that believes Forwarded headers of anybody; the gateway lets none through",
}
USERS = {
    # a user of the files: the account of a side
    "admin": "admin",
    "foobar": "demo",
    "foobaz": "other",
    "jd": "other",
    "pasta": "other",
}
PROJECTS = {
    # a project of the files: the account whose project stands for it
    "f3d41b770cc14f0bb94a1d5be9c0e3ea": "demo",
    "f3d41b77-0cc1-4f0b-b94a-1d5be9c0e3ea": "demo",
    "c7f32f1f-c5ef-427a-8ecd-915b219c66e8": "other",
    "fe20a931-1012-4cc6-addc-39556ec60907": "other",
    "ee4cfc41-1cdc-4d2f-9a08-f94111d80171": "admin",
}
_BASIC = re.compile(r"authorization: \"(?:basic ([A-Za-z0-9+/=]*))?\"", re.IGNORECASE)
_NAMED = re.compile(r"name: [\"']?([\w-]+)")
_KINDS = (
    # path, what names a row; in the order in which they let each other go
    ("/v1/resource/generic", "id"),
    ("/v1/metric", "id"),
    ("/v1/archive_policy_rule", "name"),
    ("/v1/archive_policy", "name"),
    ("/v1/resource_type", "name"),
)
_GONE = 20.0
"""Seconds in which a deleted metric lets its policy go: the lab's metricd looks every few."""


class AssertNAN:
    """What ``!AssertNAN`` is equal to: no number."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and other != other

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Side:
    """A Gnocchi: its URL, and an account for each user of the files."""

    url: str
    accounts: Mapping[str, Cloud]


class Sweep:
    """Takes away at all metered sites what was not there when this was made, but for what a Ceilometer measures.

    Of policies, rules and types only those that a file names.
    """

    def __init__(self, clouds: Mapping[str, Cloud], named: Set[str]) -> None:
        """Look at what is there."""
        self._named = named
        self._sites = [clouds[f"{name}-admin"] for name in metering.METERED]
        for site, name in zip(self._sites, metering.METERED, strict=True):
            site.login().endpoints["metric"] = metering.url(SITES[name])
        services = [site("identity", "GET", "/projects", name="service").json()["projects"][0]["id"] for site in self._sites]
        self._service = dict(zip((site.name for site in self._sites), services, strict=True))
        self._kept = {(site.name, path): set(self._rows(site, path, key)) for site in self._sites for path, key in _KINDS}

    def clean(self) -> None:
        """Delete the rest, and wait until it is gone."""
        end = time.monotonic() + _GONE
        while sum(self._pass(site) for site in self._sites) and time.monotonic() < end:
            time.sleep(1)

    def _pass(self, site: Cloud) -> bool:
        left = False
        for path, key in _KINDS:
            for name in set(self._rows(site, path, key)) - self._kept[site.name, path]:
                left |= site("metric", "DELETE", f"{path}/{quote(name)}").status not in (204, 404)
        return left

    def _rows(self, site: Cloud, path: str, key: str) -> list[str]:
        rows = site("metric", "GET", path).json()
        if key == "name":
            return [str(row[key]) for row in rows if row[key] in self._named]
        return [str(row[key]) for row in rows if not str(row.get("creator")).endswith(self._service[site.name])]


_sweep: list[Sweep] = []


class ConfigFixture(fixture.GabbiFixture):  # type: ignore[misc]
    """Stands for the one that makes a new Gnocchi."""

    def start_fixture(self) -> None:
        """An empty one, as far as that goes."""
        _sweep[0].clean()


class _Recorder(unittest.TestResult):
    def __init__(self, tests: dict[str, Outcome]) -> None:
        super().__init__()
        self.tests = tests

    def _end(self, test: Any, status: Status, reason: str = "") -> None:
        self.tests.setdefault(name_of(test), Outcome(status, 0.0, reason))

    def addSuccess(self, test: Any) -> None:
        self._end(test, Status.PASS)

    def addFailure(self, test: Any, err: Any) -> None:
        self._end(test, Status.FAIL, first_line(self._exc_info_to_string(err, test)))  # type: ignore[attr-defined]

    def addError(self, test: Any, err: Any) -> None:
        self.addFailure(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self._end(test, Status.SKIP, reason)


def name_of(test: Any) -> str:
    """``file: name of the test``."""
    data = getattr(test, "test_data", None)
    return f"{Path(test.test_directory).name}: {data['name']}" if data else str(test)


def side(clouds: Mapping[str, Cloud], name: str) -> Side:
    """A side of the comparison. ``CASCADE_LAB_THROUGH``: another gateway than the lab's, as in `tests/lab`."""
    accounts = {"admin": f"{name}-admin", "demo": name if name == CASCADE else f"{name}-demo", "other": f"{name}-other"}
    gateway = os.environ.get("CASCADE_LAB_THROUGH", GATEWAY_URL)
    url = f"{gateway}/metric" if name == CASCADE else metering.url(SITES[name])
    return Side(url, {known: clouds[entry].login() for known, entry in accounts.items()})


def rewritten(text: str, known: Side) -> str:
    """A file for real accounts."""

    def header(found: re.Match[str]) -> str:
        if not found[1]:
            return 'x-auth-token: ""'
        return f"x-auth-token: \"$ENVIRON['{_variable(base64.b64decode(found[1]).decode().partition(':')[0])}']\""

    text = _BASIC.sub(header, text)
    for project, account in PROJECTS.items():
        text = text.replace(project, known.accounts[account].project_id)
    for user, account in USERS.items():
        who = known.accounts[account]
        creator = f"{who.user_id}:{who.project_id}"
        text = re.sub(rf"(creator[:=] ?)\"?{user}\"?(?=\s)", lambda found, made=creator: found[1] + made, text)  # type: ignore[misc]
    return re.sub(r"(creator: )foo%", rf"\g<1>{known.accounts['demo'].user_id}%", text)


def _variable(user: str) -> str:
    return f"GNOCCHI_TOKEN_{user.upper()}"


def run(place: State, name: str, only: str = "") -> Results:
    """Run all files (or those ``only`` finds) on a side."""
    clouds = Cloud.load(place.clouds_file)
    known = side(clouds, name)
    for user, account in USERS.items():
        os.environ[_variable(user)] = known.accounts[account].token
    os.environ["GNOCCHI_SERVICE_TOKEN"], os.environ["GNOCCHI_AUTHORIZATION"] = known.accounts["admin"].token, ""
    yaml.add_constructor("!AssertNAN", lambda loader, node: AssertNAN())
    results = Results(name, "gnocchi", name, {})
    libraries = next((kind.venv(place, metering.RELEASE.name) / "lib").glob("python3*")) / "site-packages"
    paths = sorted(path for folder in FOLDERS for path in (libraries / folder).glob("*.yaml"))
    _sweep[:] = [Sweep(clouds, {name for path in paths for name in _NAMED.findall(path.read_text())})]
    for path in paths:
        if path.stem in UNFIT or not re.search(only, path.stem):
            continue
        with TemporaryDirectory() as folder:
            own = Path(folder) / path.stem
            shutil.copytree(path.parent, own, ignore=lambda at, names: [n for n in names if n.endswith(".yaml")])
            (own / path.name).write_text(rewritten(path.read_text(), known))
            here = sys.modules[__name__]
            suite = driver.build_tests(
                str(own), unittest.TestLoader(), url=known.url, test_loader_name="gnocchi", fixture_module=here, safe_yaml=False
            )
            suite.run(_Recorder(results.tests))
        _sweep[0].clean()
    return results
