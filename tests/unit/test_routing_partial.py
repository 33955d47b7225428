"""Servers of a site that is away."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cascade.routing import partial


@dataclass
class Entry:
    id: str
    project_id: str = "p"
    user_id: str | None = "u"
    created: float | None = 1763887200.0


@pytest.mark.parametrize(
    ("version", "params", "admin", "shown"),
    [
        ("2.68", [], False, False),
        (None, [], False, False),
        ("2.69", [], False, True),
        ("2.69", [("all_tenants", "1")], True, True),
        ("2.69", [("limit", "5")], False, False),
        ("2.69", [("status", "ACTIVE")], False, False),
        ("2.69", [("deleted", "False")], False, True),
        ("2.69", [("deleted", "False")], True, False),
        ("2.72", [("locked", "1")], False, True),
        ("2.73", [("locked", "1")], False, False),
        ("2.100", [], False, True),
    ],
)
def test_when_shown(version: str | None, params: list[tuple[str, str]], admin: bool, shown: bool) -> None:
    assert partial.wanted(version, params, is_admin=admin) is shown


def test_records() -> None:
    rows = partial.partial_rows([Entry("a"), Entry("b")], detail=False, public="https://api/compute", limit=1)
    assert rows == [{"id": "a", "status": "UNKNOWN", "links": [
        {"rel": "self", "href": "https://api/compute/v2.1/servers/a"},
        {"rel": "bookmark", "href": "https://api/compute/servers/a"}]}]  # fmt: skip
    (row,) = partial.partial_rows([Entry("a")], detail=True, public="x")
    assert row.keys() == {"id", "status", "tenant_id", "created", "links"} and row["created"] == "2025-11-23T08:40:00Z"
    assert "server_groups" in partial.show(Entry("a"), public="x", zone="paris", version="2.71")
    assert "server_groups" not in partial.show(Entry("a"), public="x", zone="paris", version="2.70")
