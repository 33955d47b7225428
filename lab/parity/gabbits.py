"""Gnocchi's own gabbi files, as they ship with it, against an empty Gnocchi with Keystone: directly, or through Cascade.

They are written for users who are names in a header of basic authentication. So a file is rewritten before it runs: a header
becomes a real token, fixed project ids become projects there are, who created something is a user and a project, and an id that
Gnocchi makes out of a name and its creator is made out of that creator. Before each file everything is emptied (`bare.py`).
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import time
import unittest
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from gabbi import driver, fixture

from lab.addons import kind
from lab.addons.gnocchi import RELEASE
from lab.parity.bare import Bare
from lab.parity.results import Outcome, Results, Status, first_line
from lab.parity.sides import CASCADE
from lab.paths import State
from lab.raw import Cloud
from lab.report import LabError

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
UNOWNED = {"aggregation", "metric", "metric-granularity", "pagination", "resample-calendar", "search-metric"}
"""Files in which a user lists metrics of no resource. With Keystone a Gnocchi shows these to administrators alone, so he is one."""
PROJECTS = {
    # a project of the files: the account whose project stands for it
    "f3d41b770cc14f0bb94a1d5be9c0e3ea": "demo",
    "f3d41b77-0cc1-4f0b-b94a-1d5be9c0e3ea": "demo",
    "c7f32f1f-c5ef-427a-8ecd-915b219c66e8": "other",
    "fe20a931-1012-4cc6-addc-39556ec60907": "other",
    "ee4cfc41-1cdc-4d2f-9a08-f94111d80171": "admin",
}
_BASIC = re.compile(r"authorization: \"(?:basic ([A-Za-z0-9+/=]*))?\"", re.IGNORECASE)
_ACCEPT = re.compile(r"^defaults:\n(?:  .*\n)*?(?=( +)(?:authorization|content-type|x-auth-token):)", re.MULTILINE)
"""The client of the files' day sent no Accept, to which a refusal is plain text; today's would say that anything is welcome."""
TRANSFORMED = {
    # an id of the files: the name that Gnocchi made it of, and the user who did
    "a9c729cc-d1b0-5e6b-b5ba-8b5a7f45f1fc": ("1.2.3.4", "foobar"),
    "2fbfbb20-8d56-5e1e-afb9-b3007da11fdf": ("foobar", "foobar"),
    "b4d568e4-7af1-5aec-ac3f-9c09fa3685a9": ("foobar", "admin"),
    "6b9e2039-98d0-5d8d-9153-2d7491cf13e5": ("myvalue", "admin"),
    "da19a545-af76-5081-9a88-f370baab66c6": ("conflict", "admin"),
}
NAMESPACE = uuid.UUID("0a7a15ff-aa13-4ac2-897c-9bdf30ce175b")
"""Gnocchi's own."""
_SETTLED = 120.0
"""Seconds until sites that have joined are all there."""


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

    creators: Mapping[str, str]
    """Account -> ``user:project`` as the site has them where it is measured for him."""


class ConfigFixture(fixture.GabbiFixture):  # type: ignore[misc]
    """Stands for the one that makes a new Gnocchi: what is there was emptied."""


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


def side(bare: Bare, clouds: Mapping[str, Cloud], name: str) -> Side:
    """A side of the comparison."""
    names = {"admin": f"{name}-admin", "demo": name if name == CASCADE else f"{name}-demo", "other": f"{name}-other"}
    entries = {known: clouds[entry] for known, entry in names.items()}
    accounts = {known: c.through(bare.gateway_url) if name == CASCADE else c.login() for known, c in entries.items()}
    url = bare.url(name)
    return Side(url, accounts, {known: _creator(bare, clouds, url, c) for known, c in accounts.items()})


def _creator(bare: Bare, clouds: Mapping[str, Cloud], url: str, account: Cloud) -> str:
    """Whom a site takes an account for: it makes something, and whoever has it says who did."""
    account.endpoints["metric"] = url
    end = time.monotonic() + _SETTLED
    while (made := account("metric", "POST", "/v1/resource/generic", {"id": str(uuid.uuid4())})).status != 201:
        if made.status != 503 or time.monotonic() > end:
            raise LabError(f"{account.name} cannot make a resource: {made.status} {made.body[:300]!r}")
        time.sleep(2)
    path = f"/v1/resource/generic/{made.json()['id']}"
    for name, there in bare.sites().items():
        site = clouds[f"{name}-admin"]
        site.login().endpoints["metric"] = there
        with suppress(OSError):  # directly, the other ones do not run
            if (shown := site("metric", "GET", path)).status == 200:
                return str(shown.json()["creator"])
    raise LabError(f"what {account.name} made is nowhere")


def rewritten(text: str, known: Side, users: Mapping[str, str] = USERS) -> str:
    """A file for real accounts."""

    def header(found: re.Match[str]) -> str:
        if not found[1]:
            return 'x-auth-token: ""'
        return f"x-auth-token: \"$ENVIRON['{_variable(users[base64.b64decode(found[1]).decode().partition(':')[0]])}']\""

    text = _BASIC.sub(header, text)
    if not re.search("^defaults:", text, re.MULTILINE):
        text = re.sub("^tests:", 'defaults:\n  request_headers:\n    x-auth-token: ""\n\ntests:', text, flags=re.MULTILINE)
    text = _ACCEPT.sub(r'\g<0>\g<1>accept: ""\n', text, count=1)
    for ident, (external, user) in TRANSFORMED.items():
        text = text.replace(ident, str(uuid.uuid5(NAMESPACE, f"{external}\0{known.creators[users[user]]}")))
    for project, account in PROJECTS.items():
        text = text.replace(project, known.accounts[account].project_id)
    for user, account in users.items():
        who = known.accounts[account]
        creator = f"{who.user_id}:{who.project_id}"
        text = re.sub(rf"(creator[:=] ?)\"?{user}\"?(?=\s)", lambda found, made=creator: found[1] + made, text)  # type: ignore[misc]
    return re.sub(r"(creator: )foo%", rf"\g<1>{known.accounts['demo'].user_id}%", text)


def _variable(account: str) -> str:
    return f"GNOCCHI_TOKEN_{account.upper()}"


def run(place: State, name: str, only: str = "") -> Results:
    """Run all files (or those ``only`` finds) on a side."""
    bare, clouds = Bare(place), Cloud.load(place.clouds_file)
    yaml.add_constructor("!AssertNAN", lambda loader, node: AssertNAN())
    results = Results(name, "gnocchi", name, {})
    libraries = next((kind.venv(place, RELEASE.name) / "lib").glob("python3*")) / "site-packages"
    paths = sorted(path for folder in FOLDERS for path in (libraries / folder).glob("*.yaml"))
    with bare.running(name):
        bare.empty(name)
        known = side(bare, clouds, name)
        for account, entry in known.accounts.items():
            os.environ[_variable(account)] = entry.token
        os.environ["GNOCCHI_SERVICE_TOKEN"], os.environ["GNOCCHI_AUTHORIZATION"] = known.accounts["admin"].token, ""
        for path in paths:
            if path.stem not in UNFIT and re.search(only, path.stem):
                bare.empty(name)
                _file(path, known, results.tests)
    return results


def _file(path: Path, known: Side, tests: dict[str, Outcome]) -> None:
    with TemporaryDirectory() as folder:
        own = Path(folder) / path.stem
        shutil.copytree(path.parent, own, ignore=lambda at, names: [n for n in names if n.endswith(".yaml")])
        users = USERS | ({"foobar": "admin"} if path.stem in UNOWNED else {})
        (own / path.name).write_text(rewritten(path.read_text(), known, users))
        here = sys.modules[__name__]
        suite = driver.build_tests(
            str(own), unittest.TestLoader(), url=known.url, test_loader_name="gnocchi", fixture_module=here, safe_yaml=False
        )
        suite.run(_Recorder(tests))
