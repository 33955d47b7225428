"""Horizon, unmodified, in a real browser: a tenant's day and an administrator's. ``bin/lab up --with horizon`` brings it up.

``CASCADE_PICTURES``: a folder for screenshots.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lab.addons import kind
from lab.browser import operator, tenant
from lab.browser.crawl import crawl
from lab.browser.horizon import signed_in
from lab.browser.screen import CHROMIUM, chromium
from lab.data import PASSWORD as ADMINS
from tests.lab.rest import Cloud
from tests.stories.world import PASSWORD, lab_world
from tests.stories.world import tenant as fresh_tenant

URL = os.environ.get("CASCADE_LAB_HORIZON", kind.url("horizon"))
PICTURES = os.environ.get("CASCADE_PICTURES")
HORIZONS_OWN = (
    # refused by Horizon's own policy before Keystone is asked
    r"/identity/[0-9a-f]{32}/detail/ answers 403",
    # an empty list of namespaces is more than Horizon's thread pool can take, whoever answers it
    r"500 for GET /api/glance/metadefs/namespaces/",
)
"""What Horizon complains of in front of any cloud."""
QUOTAS = {"instances": 10, "cores": 20, "ram": 51200}
"""Nova's ordinary ones: the lab's own are so large that no chart shows anything."""


@pytest.fixture(scope="module")
def office(clouds: dict[str, Cloud], tmp_path_factory: pytest.TempPathFactory) -> Iterator[operator.Office]:
    """An administrator and a fresh tenant, both signed in. Whatever a failed step leaves goes with the tenant."""
    with socket.socket() as s:
        if s.connect_ex(("127.0.0.1", urlsplit(URL).port or 80)) != 0:
            pytest.skip("Horizon is not up (bin/lab up --with horizon)")
    if not CHROMIUM.exists():
        pytest.skip("no browser (apt-get install chromium)")
    folder = Path(PICTURES) if PICTURES else None
    with lab_world() as world, fresh_tenant(world, "horizon") as it, chromium() as browser:
        admin = world.admin
        assert admin("compute", "PUT", f"/os-quota-sets/{it.cloud.project_id}", {"quota_set": QUOTAS}).status == 200
        screen = signed_in(browser, URL, it.cloud.auth["username"], password=PASSWORD, pictures=folder)
        day = tenant.Day(screen, it.cloud, "web", tmp_path_factory.mktemp("day"))
        sites = {zone: clouds[f"{zone}-admin"] for zone in tenant.ZONES}
        yield operator.Office(signed_in(browser, URL, "admin", password=ADMINS, pictures=folder), admin, day, sites)
        operator.sweep(admin, day.name, it.cloud.auth["project_name"])


def _wrong(*screens: Any) -> list[str]:
    """What was complained of since the last time, without what is Horizon's own."""
    seen = [p for screen in screens for p in screen.report.problems if not any(re.search(own, p) for own in HORIZONS_OWN)]
    for screen in screens:
        screen.report.problems.clear()
    return seen


@pytest.fixture
def unbroken(office: operator.Office, request: pytest.FixtureRequest) -> Iterator[None]:
    """A step needs those before it, and no page may complain in it."""
    if request.session.testsfailed:
        pytest.skip("an earlier step failed")
    yield
    assert _wrong(office.screen, office.tenant.screen) == []


def _ids(step: Callable[..., None]) -> str:
    return step.__name__


@pytest.mark.parametrize("step", tenant.MORNING, ids=_ids)
def test_a_tenants_day(office: operator.Office, unbroken: None, step: Callable[[tenant.Day], None]) -> None:
    """All a tenant makes, in both zones."""
    step(office.tenant)


@pytest.mark.parametrize("step", operator.STEPS, ids=_ids)
def test_an_administrators(office: operator.Office, unbroken: None, step: Callable[[operator.Office], None]) -> None:
    """What an administrator sees of it and may change."""
    step(office)


def test_no_page_complains_to_the_administrator(office: operator.Office, unbroken: None) -> None:
    """Every panel, every tab, the first thing of every list; the tenant's are a step of his day."""
    crawl(office.screen)
    seen = office.screen.report.pages
    assert "/admin/hypervisors/" in seen and len(seen) > 40


@pytest.mark.parametrize("step", tenant.EVENING, ids=_ids)
def test_in_the_evening(office: operator.Office, unbroken: None, step: Callable[[tenant.Day], None]) -> None:
    """Everything goes again."""
    step(office.tenant)
