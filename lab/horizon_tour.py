"""A walk through Horizon in a real browser: every panel, every tab, and the first thing of every table.

Runs by itself in an environment with Playwright (``lab.addons.horizon.BROWSER``), drives Debian's Chromium and prints one JSON
document: the pages seen, and what was wrong on them.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Error, Page, Response, TimeoutError, sync_playwright

SECONDS = 60_000
"""Milliseconds a page may take: many colleagues share a small machine."""
TOASTS = ".alert-danger, .alert-error"
PANELS = "#sidebar-accordion a[href], .sidebar a[href]"
ROWS = "table tbody tr a[href^='/']"
NOT_A_PAGE = ("/auth/logout", "/static/", "/download", "/rc/", "/api_access/clouds", "/openrc")
PROBLEM = 500
"""From this status on, what a page fetched is a problem even if it says nothing."""


@dataclass
class Report:
    """What was seen."""

    pages: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Tour:
    """One user's browser."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url, self.report = page, url, Report()
        page.set_default_timeout(SECONDS)
        page.on("response", self._fetched)
        page.on("pageerror", lambda error: self.problem(f"script error: {error.message[:200]}"))

    def problem(self, what: str) -> None:
        """Write down what is wrong on the page that is open."""
        self.report.problems.append(f"{urlsplit(self.page.url).path}: {what}")

    def _fetched(self, response: Response) -> None:
        if response.status >= PROBLEM:
            self.problem(f"{response.status} for {response.request.method} {urlsplit(response.url).path}")

    def sign_in(self, user: str, password: str) -> None:
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
        for toast in self.page.locator(TOASTS).all():
            if toast.is_visible():
                self.problem(f"{where} complains: {' '.join(toast.inner_text().split())[:300]}")

    def links(self, selector: str) -> Iterator[str]:
        """Paths of our own site, each once."""
        seen = set()
        for element in self.page.locator(selector).all():
            path = urlsplit(urljoin(self.page.url, element.get_attribute("href") or "")).path
            if path not in seen and path.startswith("/") and not any(word in path for word in NOT_A_PAGE):
                seen.add(path)
                yield path

    def tabs(self, where: str) -> None:
        """Every tab of the page that is open."""
        for index in range(self.page.locator("ul.nav-tabs a:visible").count()):
            tab = self.page.locator("ul.nav-tabs a:visible").nth(index)
            if not tab.is_visible():
                continue
            tab.click()
            self.settle()
            self.complaints(f"{where} tab {' '.join(tab.inner_text().split())}")

    def launch(self, name: str, zone: str, image: str, flavor: str, network: str) -> None:
        """Launch an instance through the wizard."""
        self.visit("/project/instances/")
        self.page.click("#instances__action_launch-ng")
        wizard = self.page.locator(".modal-content:visible")
        wizard.locator("input#name").fill(name)
        wizard.locator("#availability-zone").select_option(label=zone)
        for step, choice in (("Source", image), ("Flavor", flavor), ("Networks", network)):
            wizard.locator("li a", has_text=step).first.click()
            if step == "Source":  # boot from the image itself, not from a volume made of it
                wizard.locator("label:has-text('No'):visible").first.click()
            wizard.locator("tr:visible", has_text=choice).locator("button:visible").last.click()
        wizard.locator("button.finish").click()
        wizard.wait_for(state="hidden", timeout=3 * SECONDS)

    def crawl(self) -> None:
        """Every panel of the navigation, its tabs, and the first thing it lists."""
        self.visit("/")
        for panel in list(self.links(PANELS)):
            if not self.visit(panel):
                continue
            first = next((path for path in self.links(ROWS) if path != panel), None)
            self.tabs(panel)
            if first is not None and self.visit(first):
                self.tabs(first)


def main() -> int:
    """One user's tour."""
    parser = argparse.ArgumentParser()
    parser.add_argument("chromium", help="the browser's program")
    parser.add_argument("url")
    parser.add_argument("user")
    parser.add_argument("password")
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots of the panels named with --picture")
    parser.add_argument("--picture", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--launch", action="append", default=[], metavar="ZONE", help="launch an instance there instead")
    for name in ("prefix", "image", "flavor", "network"):
        parser.add_argument(f"--{name}", default="", help="of what is launched")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox", "--disable-gpu"])
        tour = Tour(browser.new_page(viewport={"width": 1280, "height": 800}), args.url)
        tour.sign_in(args.user, args.password)
        for picture in args.picture:
            name, _, path = picture.partition("=")
            tour.visit(path)
            tour.page.screenshot(path=args.pictures / f"{name}.png")
        for zone in args.launch:
            tour.launch(f"{args.prefix}-{zone}", zone, args.image, args.flavor, args.network)
        if not (args.picture or args.launch):
            tour.crawl()
        browser.close()
    json.dump(asdict(tour.report), sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
