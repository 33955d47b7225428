"""Servers of a site that does not answer, shown as Nova shows those of a cell that does not (microversion 2.69). Pure.

Nova knows nothing of them but what its API database holds; we know nothing but the index. Below 2.69, and in every
request that filters, sorts or pages, such servers are left out, as Nova leaves them out: there is nothing to sort them by.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from cascade.sites.versions import at_least

SINCE = "2.69"
_PAGED = frozenset({"sort_key", "sort_dir", "limit", "marker"})
# What Nova honours of a non-administrator's filters, and since when; it drops the others before it looks.
_HONOURED = {
    "2.1": {"reservation_id", "name", "status", "image", "flavor", "ip", "changes-since"},
    "2.5": {"ip6"},
    "2.26": {"tags", "tags-any", "not-tags", "not-tags-any"},
    "2.66": {"changes-before"},
    "2.73": {"locked"},
    "2.83": {"availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state",
             "task_state", "vm_state", "progress", "user_id"},
    "2.90": {"hostname"},
}  # fmt: skip


class Known(Protocol):
    """What the index says of a server."""

    @property
    def id(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def created(self) -> float | None: ...


def supported(version: str | None) -> bool:
    """Whether the client can read partial records."""
    return at_least(version, SINCE)


def honoured(version: str | None, name: str) -> bool:
    """Whether Nova heeds this filter of a user who is no administrator."""
    return any(name in names and at_least(version, since) for since, names in _HONOURED.items())


def wanted(version: str | None, params: Iterable[tuple[str, str]], *, is_admin: bool) -> bool:
    """Whether a list of these parameters shows partial records."""
    asked = {k for k, _ in params}
    if not supported(version) or asked & _PAGED:
        return False
    asked.discard("all_tenants")
    if is_admin:
        return not asked
    return not any(honoured(version, name) for name in asked)


def partial_rows(entries: Iterable[Known], *, detail: bool, public: str, limit: int = 1000) -> list[dict[str, Any]]:
    """The records of a list; Nova puts them in front of all others, and they count to the page's ``limit``.

    ``public``: the north base URL of compute, without a version.
    """
    rows: list[dict[str, Any]] = []
    for entry in entries:
        if len(rows) >= limit:
            break
        row: dict[str, Any] = {"id": entry.id, "status": "UNKNOWN"}
        if detail:
            row["tenant_id"] = entry.project_id
            row["created"] = _isotime(entry.created)
        row["links"] = _links(entry.id, public)
        rows.append(row)
    return rows


def show(entry: Known, *, public: str, zone: str, version: str | None = None) -> dict[str, Any]:
    """The record of GET /servers/{id}. Image and flavor, which Nova still knows then, we do not: those keys are missing."""
    row: dict[str, Any] = {
        "id": entry.id,
        "status": "UNKNOWN",
        "tenant_id": entry.project_id,
        "created": _isotime(entry.created),
        "links": _links(entry.id, public),
        "OS-EXT-AZ:availability_zone": zone,
        "OS-EXT-STS:power_state": 0,
        "user_id": entry.user_id or "UNKNOWN",
    }
    if at_least(version, "2.71"):
        row["server_groups"] = []
    return row


def _links(ident: str, public: str) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{public}/v2.1/servers/{ident}"},
        {"rel": "bookmark", "href": f"{public}/servers/{ident}"},
    ]


def _isotime(at: float | None) -> str:
    """Nova's form. A creation time not yet seen shows as the epoch: the key must be there, and clients sort by it."""
    return datetime.fromtimestamp(at or 0.0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
