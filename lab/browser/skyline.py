"""One user's browser in front of Skyline's console: signing in, and its tables."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, expect

from lab.browser.screen import PATIENCE, Screen
from lab.data import PASSWORD

TOASTS = """
window.toasts = [];
new MutationObserver(changes => {
  for (const change of changes) for (const node of change.addedNodes) {
    if (!(node instanceof Element)) continue;
    const bad = '.ant-message-error, .ant-notification-notice-icon-error, .ant-alert-error';
    const found = node.matches(bad) ? node : node.querySelector(bad);
    if (found) toasts.push((found.closest('.ant-notification-notice') || found).innerText);
  }
}).observe(document, {childList: true, subtree: true});
"""
"""They are gone after seconds: each is kept when it comes."""


class Skyline(Screen):
    """One user's console."""

    wrong = ".ant-message-error, .ant-notification-notice-icon-error, .ant-alert-error, .ant-result-error"

    def sign_in(self, user: str, password: str = PASSWORD) -> None:
        """By the form. Where there is one region it is chosen already."""
        self.page.add_init_script(TOASTS)
        self.page.goto(f"{self.url}/auth/login")
        self.settle()
        region = self.page.locator(".ant-form-item").filter(has=self.page.locator("#normal_login_region"))
        if not region.locator(".ant-select-selection-item").count():
            region.locator(".ant-select-selector").click()
            self.page.locator(".ant-select-item-option").first.click()
        self.page.fill("#normal_login_domain", user)
        self.page.fill("#normal_login_password", password)
        self.page.click(".login-form-button")
        self.page.wait_for_url("**/base/overview")
        self.settle()
        self.complaints("/base/overview")

    def complaints(self, where: str) -> None:
        """What is on the page, and what came and went."""
        super().complaints(where)
        for text in self.page.evaluate("() => window.toasts.splice(0)"):
            self.problem(f"{where} complained: {' '.join(text.split())[:300]}")

    def row(self, name: str) -> Locator:
        """The row of the open page's table that has a link of this name."""
        return self.page.locator("tbody tr.ant-table-row").filter(has=self.page.get_by_text(name, exact=True))

    def sees(self, name: str, *cells: str) -> None:
        """The row of this name has these cells, perhaps after a while."""
        for text in cells:
            cell = self.row(name).locator("td").filter(has_text=_whole(text))
            expect(cell.first).to_be_visible(timeout=PATIENCE)

    def choose(self, label: str, choice: str) -> None:
        """One of a form's list; it is shown then."""
        field = self.page.locator(".ant-select").filter(has=self.page.get_by_role("combobox", name=label))
        field.locator(".ant-select-selector").click()
        self.page.locator(".ant-select-item-option").filter(has_text=_whole(choice)).click()
        expect(field.locator(".ant-select-selection-item")).to_have_text(choice)


def _whole(text: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(text)}\s*$")


def signed_in(browser: Browser, url: str, user: str, *, password: str = PASSWORD, pictures: Path | None = None) -> Skyline:
    """A user's own window (and cookies) of a browser, signed in."""
    it = Skyline(browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US"), url, pictures)
    it.sign_in(user, password)
    return it
