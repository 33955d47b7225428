"""A walk through Horizon: every panel of the navigation, every tab, and the first thing of every table."""

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from lab.browser.horizon import PANELS, Horizon

ROWS = "table tbody tr a[href^='/']"
NOT_A_PAGE = ("/auth/logout", "/static/", "/download", "/rc/", "/api_access/clouds", "/openrc")


def crawl(horizon: Horizon) -> None:
    """All a user can reach; what is wrong is in the report."""
    horizon.visit("/")
    for panel in list(_links(horizon, PANELS)):
        if not horizon.visit(panel):
            continue
        first = next((path for path in _links(horizon, ROWS) if path != panel), None)
        _tabs(horizon, panel)
        if first is not None and horizon.visit(first):
            _tabs(horizon, first)


def _links(horizon: Horizon, selector: str) -> Iterator[str]:
    """Paths of our own site, each once."""
    seen = set()
    for element in horizon.page.locator(selector).all():
        path = urlsplit(urljoin(horizon.page.url, element.get_attribute("href") or "")).path
        if path not in seen and path.startswith("/") and not any(word in path for word in NOT_A_PAGE):
            seen.add(path)
            yield path


def _tabs(horizon: Horizon, where: str) -> None:
    """Every tab of the page that is open."""
    tabs = horizon.page.locator("ul.nav-tabs a:visible")
    for index in range(tabs.count()):
        tab = tabs.nth(index)
        if not tab.is_visible():
            continue
        tab.click()
        horizon.settle()
        horizon.complaints(f"{where} tab {' '.join(tab.inner_text().split())}")
