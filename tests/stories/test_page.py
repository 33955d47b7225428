"""The operators' page in a real browser: Debian's Chromium, in front of a gateway that has sites to show."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.lab.rest import raw
from tests.stories.world import PASSWORD, World, tenant

CHROMIUM = Path("/usr/bin/chromium")
SHOT = Path(__file__).parents[2] / "docs" / "images" / "operators-page.png"
PATIENCE = 20_000
"""Milliseconds until what happened is seen: a look every five seconds, and two probes."""


@pytest.fixture(scope="module")
def browser_page(world: World) -> Iterator[Page]:
    """The page, not signed in; whatever goes wrong in its script fails the module."""
    if not CHROMIUM.exists():
        pytest.skip("no browser (apt-get install chromium)")
    expect.set_options(timeout=PATIENCE)
    wrong: list[str] = []
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = chromium.new_page(viewport={"width": 1400, "height": 760}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", lambda m: wrong.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto(world.url + "/cascade/")
        yield page
        chromium.close()
    assert wrong == []


def sign_in(page: Page, user: str, password: str, project: str) -> None:
    """By keyboard alone: the first field has the focus."""
    page.reload()
    expect(page.get_by_label("User", exact=True)).to_be_focused()
    for text in (user, password, "Default", project):
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def row(page: Page, site: str) -> Locator:
    """A site's row of the table."""
    return page.locator("#sites tbody tr").filter(has=page.get_by_role("rowheader", name=re.compile(f"^{site}\\b")))


def test_who_is_no_operator_sees_nothing(browser_page: Page, world: World) -> None:
    """A wrong password and a tenant are told so, and no site is named to them."""
    page = browser_page
    sign_in(page, "admin", "wrong", "admin")
    expect(page.get_by_role("status")).to_contain_text("not right")
    with tenant(world, "page") as someone:
        name = someone.cloud.auth["username"]
        sign_in(page, name, PASSWORD, name)
        expect(page.get_by_role("status")).to_contain_text("not an operator")
    expect(page.locator("#all")).to_be_hidden()
    assert "paris" not in (page.locator("body").text_content() or "")


def test_a_site_is_drained_and_used_again(browser_page: Page, world: World) -> None:
    """The table says what the sites are; draining asks first, and only the answer yes does it."""
    page, auth = browser_page, world.admin.auth
    sign_in(page, auth["username"], auth["password"], auth["project_name"])
    for site in ("hub", "paris", "tokyo"):
        expect(row(page, site)).to_contain_text("up")
    expect(row(page, "paris")).to_contain_text(re.compile(r"compute 2\.1–2\.\d+"))
    expect(row(page, "paris").locator("td").nth(4)).to_have_text(re.compile(r"\d+ of \d+"))
    expect(page.locator("#summary")).to_contain_text(re.compile(r"\d of \d sites up"))
    if world.control and os.environ.get("CASCADE_PICTURES"):  # the documentation's is made anew when somebody wants it
        page.screenshot(path=SHOT)
    for answer, drained in (("Leave it as it is", False), ("Drain it", True)):
        page.get_by_role("button", name="Drain: tokyo").press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("Drain tokyo?")
        page.get_by_role("button", name=answer).press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()
        if not drained:
            assert world.admin("cascade", "GET", "/sites/tokyo").json()["site"]["draining"] is False
    expect(row(page, "tokyo")).to_contain_text("draining")
    expect(page.get_by_role("status")).to_contain_text("tokyo is being drained")
    assert world.admin("cascade", "GET", "/sites/tokyo").json()["site"]["draining"] is True
    page.get_by_role("button", name="Use again: tokyo").press("Enter")
    page.get_by_role("button", name="Use it again").press("Enter")
    expect(row(page, "tokyo")).not_to_contain_text("draining")
    assert world.admin("cascade", "GET", "/sites/tokyo").json()["site"]["draining"] is False


def test_a_site_that_says_nothing_is_seen_down(browser_page: Page, world: World) -> None:
    """By itself, with what to do; and up again when it answers. Announced to who cannot see it."""
    if not world.control:
        pytest.skip("only the simulator's sites hang on demand")
    page = browser_page
    hang = {"cloud": "tokyo", "mode": "hang"}
    assert raw(world.control + "/faults", "POST", body=json.dumps(hang).encode()).status < 300
    try:
        world.admin("compute", "GET", "/os-hypervisors")  # asks every site: somebody notices
        expect(row(page, "tokyo")).to_contain_text("down")
        expect(row(page, "tokyo")).to_contain_text("look at its API workers")
        expect(page.get_by_role("status")).to_contain_text("tokyo is down")
    finally:
        raw(world.control + "/faults", "POST", body=b'{"mode": "ok"}')
    expect(row(page, "tokyo")).not_to_contain_text("down")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("User", exact=True)).to_be_visible()
    assert "tokyo" not in (page.locator("body").text_content() or "")
