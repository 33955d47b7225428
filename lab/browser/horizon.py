"""One user's browser in front of Horizon: signing in, tables, forms, wizards; everything that complains is written down."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, Error, Locator, Page, Response, TimeoutError, expect, sync_playwright

from lab.data import PASSWORD

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PATIENCE = 60_000
"""Milliseconds a page may take: many colleagues share a small machine."""
COMPLAINTS = ".alert-danger, .alert-error"
GOOD_NEWS = ".messages .alert-success, .messages .alert-info"
PANELS = "#sidebar-accordion a[href], .sidebar a[href]"
PROBLEM = 500
"""From this status on, what a page fetched is a problem even if it says nothing."""


@dataclass
class Report:
    """What was seen."""

    pages: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Horizon:
    """One user's browser."""

    def __init__(self, page: Page, url: str, pictures: Path | None = None) -> None:
        """``pictures``: a folder for screenshots; none are taken without."""
        self.page, self.url, self.pictures, self.report = page, url, pictures, Report()
        page.set_default_timeout(PATIENCE)
        page.set_default_navigation_timeout(PATIENCE)
        page.on("response", self._fetched)
        page.on("pageerror", lambda error: self.problem(f"script error: {error.message[:200]}"))

    def problem(self, what: str) -> None:
        """Write down what is wrong on the page that is open."""
        self.report.problems.append(f"{urlsplit(self.page.url).path}: {what}")

    def _fetched(self, response: Response) -> None:
        if response.status >= PROBLEM:
            self.problem(f"{response.status} for {response.request.method} {urlsplit(response.url).path}")

    def sign_in(self, user: str, password: str = PASSWORD) -> None:
        """By the form."""
        self.page.goto(f"{self.url}/auth/login/")
        self.page.fill("#id_username", user)
        self.page.fill("#id_password", password)
        if self.page.locator("#id_domain:visible").count():
            self.page.fill("#id_domain", "Default")
        self.page.click("#loginBtn")
        self.page.wait_for_selector(PANELS, state="attached")

    def visit(self, path: str) -> bool:
        """Open a page, wait until it is quiet, and look for complaints. Whether it is a page at all."""
        self.report.pages.append(path)
        try:
            answer = self.page.goto(urljoin(self.url, path), wait_until="load")
        except Error as error:
            self.problem(f"{path} does not open: {error.message.splitlines()[0]}")
            return False
        self.settle()
        if answer is not None and answer.status >= 400:
            self.problem(f"{path} answers {answer.status}")
            return False
        self.complaints(path)
        return True

    def settle(self) -> None:
        """Wait for what the page fetches by itself."""
        with contextlib.suppress(TimeoutError):  # some pages poll for ever
            self.page.wait_for_load_state("networkidle", timeout=8000)

    def complaints(self, where: str) -> None:
        """Toasts and messages of failure."""
        for toast in self.page.locator(COMPLAINTS).all():
            if toast.is_visible():
                self.problem(f"{where} complains: {' '.join(toast.inner_text().split())[:300]}")

    def picture(self, name: str, at: str = "h1") -> None:
        """What is in the window, from the top of something on, without the mouse over anything."""
        if self.pictures:
            self.page.mouse.move(0, 0)
            self.page.evaluate("at => document.querySelector(at)?.scrollIntoView({block: at == 'h1' ? 'end' : 'start'})", at)
            self.page.wait_for_timeout(500)  # what is being faded in
            self.page.screenshot(path=self.pictures / f"{name}.png")

    def cell(self, text: str) -> Locator:
        """The cells that have this text and no other."""
        return self.page.locator("td").filter(has_text=_whole(text))

    def row(self, name: str) -> Locator:
        """The row of the open page's table that has this in one of its cells, on its own or as a link."""
        return self.page.locator("tbody tr").filter(has=self.cell(name))

    def shows(self, path: str, *names: str) -> None:
        """Open a page with a table that has rows of these names. A site that is busy may miss from a table for once."""
        for _ in range(5):
            self.visit(path)
            if all(self.row(name).count() for name in names):
                return
        for name in names:
            expect(self.row(name)).to_be_visible()

    def sees(self, name: str, *cells: str) -> None:
        """The row of this name has these cells, perhaps after a while: tables keep up with what is under way."""
        for text in cells:
            expect(self.row(name).locator("td").filter(has_text=_whole(text)).first).to_be_visible(timeout=PATIENCE)

    def do(self, row: Locator, action: str) -> None:
        """Choose something from the actions of a row, in its menu or on its button."""
        button = row.locator(".actions_column").locator("a, button").filter(has_text=_whole(action))
        if not button.first.is_visible():
            row.locator(".actions_column .dropdown-toggle").click()
        button.first.click()

    @property
    def dialogue(self) -> Locator:
        """The form, wizard or question on top."""
        return self.page.locator(".modal-content:visible").last

    def fill(self, fields: dict[str, str | bool]) -> None:
        """Fill in fields of the dialogue by the names they are sent under; of a list, what its text contains."""
        for name, value in fields.items():
            part = self.dialogue.locator(f"[name='{name}']").last
            part.wait_for(state="attached")  # first there is a dialogue that says that one is being fetched
            shell = self.dialogue.locator(".themable-select").filter(has=self.page.locator(f"select[name='{name}']"))
            if isinstance(value, bool):
                if part.is_checked() is not value:
                    self.dialogue.locator(f"label[for='{part.get_attribute('id')}']").last.click()
            elif shell.count():
                shell.locator("button").click()
                shell.locator("li a").filter(has_text=value).first.click()
            elif part.evaluate("e => e.tagName") == "SELECT":
                text = part.locator("option").filter(has_text=value).first.inner_text()
                part.select_option(label=text)
            else:
                part.fill(value)

    def send(self) -> None:
        """Send the dialogue off: it goes, and the page says that it worked."""
        self.dialogue.locator(".modal-footer").locator(".btn-primary, .btn-danger").locator("visible=true").last.click()
        expect(self.page.locator(".modal-content:visible")).to_have_count(0, timeout=PATIENCE)
        self.said()

    def said(self) -> None:
        """The page says that something was done or is being done, and complains of nothing."""
        message = self.page.locator(GOOD_NEWS).locator("visible=true")
        wrong = self.page.locator(COMPLAINTS).locator("visible=true")
        expect(message.or_(wrong).first).to_be_visible(timeout=PATIENCE)
        assert message.count(), wrong.all_inner_texts()

    def create(self, button: str, fields: dict[str, str | bool]) -> None:
        """One form, opened with a button of the page."""
        self.page.locator("a, button").filter(has_text=button).locator("visible=true").first.click()
        expect(self.dialogue).to_be_visible()
        self.fill(fields)
        self.send()

    def agree(self) -> None:
        """Say yes to the question that is asked."""
        expect(self.dialogue.locator(".btn-danger, .btn-primary").locator("visible=true").last).to_be_visible()
        self.send()

    def delete(self, name: str, action: str) -> None:
        """Choose something from a row that is asked back before it is done."""
        self.do(self.row(name), action)
        self.agree()


def _whole(text: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(text)}\s*$")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser without a window. One at a time: Playwright's synchronous half has one loop per thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def signed_in(browser: Browser, url: str, user: str, *, password: str = PASSWORD, pictures: Path | None = None) -> Horizon:
    """A user's own window (and cookies) of a browser, signed in to Horizon."""
    it = Horizon(browser.new_page(viewport={"width": 1280, "height": 800}), url, pictures)
    it.sign_in(user, password)
    return it
