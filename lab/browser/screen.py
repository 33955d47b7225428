"""One user's browser window before a dashboard: opening pages, waiting for them, and everything that complains is written down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, Error, Page, Response, TimeoutError, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PATIENCE = 60_000
"""Milliseconds a page may take: many colleagues share a small machine."""
PROBLEM = 500
"""From this status on, what a page fetched is a problem even if it says nothing."""


@dataclass
class Report:
    """What was seen."""

    pages: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Screen:
    """One user's window."""

    wrong: ClassVar[str]
    """Where the dashboard says that something failed."""

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
        for toast in self.page.locator(self.wrong).all():
            if toast.is_visible():
                self.problem(f"{where} complains: {' '.join(toast.inner_text().split())[:300]}")

    def picture(self, name: str, at: str = "h1") -> None:
        """What is in the window, from the top of something on, without the mouse over anything."""
        if self.pictures:
            self.page.mouse.move(0, 0)
            self.page.evaluate("at => document.querySelector(at)?.scrollIntoView({block: at == 'h1' ? 'end' : 'start'})", at)
            self.page.wait_for_timeout(500)  # what is being faded in
            self.page.screenshot(path=self.pictures / f"{name}.png")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser without a window. One at a time: Playwright's synchronous half has one loop per thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
