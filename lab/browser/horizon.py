"""One user's browser in front of Horizon: signing in, tables, forms, wizards; everything that complains is written down."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, expect

from lab.browser.screen import PATIENCE, Screen
from lab.data import PASSWORD

COMPLAINTS = ".alert-danger, .alert-error"
GOOD_NEWS = ".messages .alert-success, .messages .alert-info"
PANELS = "#sidebar-accordion a[href], .sidebar a[href]"


class Horizon(Screen):
    """One user's Horizon."""

    wrong = COMPLAINTS

    def sign_in(self, user: str, password: str = PASSWORD) -> None:
        """By the form."""
        self.page.goto(f"{self.url}/auth/login/")
        self.page.fill("#id_username", user)
        self.page.fill("#id_password", password)
        if self.page.locator("#id_domain:visible").count():
            self.page.fill("#id_domain", "Default")
        self.page.click("#loginBtn")
        self.page.wait_for_selector(PANELS, state="attached")

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


def signed_in(browser: Browser, url: str, user: str, *, password: str = PASSWORD, pictures: Path | None = None) -> Horizon:
    """A user's own window (and cookies) of a browser, signed in to Horizon."""
    it = Horizon(browser.new_page(viewport={"width": 1280, "height": 800}), url, pictures)
    it.sign_in(user, password)
    return it
