"""Glance's image list: who sees what, filters, order, pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from sim.faults import Refused
from sim.web import Call
from sim.world import Row, parse_time

PAGING = {"limit", "marker", "sort_key", "sort_dir", "sort", "member_status", "visibility", "os_hidden"}
SORTABLE = {"name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"}
DEFAULT_LIMIT, MOST = 25, 1000


def _listed(call: Call, row: Row) -> bool:
    """Whether it is in the caller's list: community images and unaccepted shares only when asked for."""
    who, asked = call.who, call.get("visibility")
    if asked and asked != "all" and row["visibility"] != asked:
        return False
    if row["os_hidden"] != (call.get("os_hidden") == "true"):
        return False
    if row["owner"] == who.project_id or row["visibility"] == "public" or (who.admin and asked != "shared"):
        return True
    if row["visibility"] == "community":
        return asked in ("community", "all")
    status = call.get("member_status") or "accepted"
    member = row["members"].get(who.project_id)
    return who.admin or (row["visibility"] == "shared" and member is not None and status in ("all", member["status"]))


def chosen(call: Call) -> list[Row]:
    """The images of a list, newest first unless it says otherwise. Raises Refused 400."""
    rows = [r for r in call.cloud["images"].values() if _listed(call, r) and _matches(call, r)]
    rows.sort(key=lambda r: (r["created_at"], r["id"]), reverse=True)
    for key, direction in reversed(_order(call)):
        if key not in SORTABLE:
            raise Refused(400, f"Invalid sort key: {key}. It must be one of: {', '.join(sorted(SORTABLE))}.")
        if direction not in ("asc", "desc"):
            raise Refused(400, f"Invalid sort direction: {direction}")
        rows.sort(key=lambda r, key=key: (r[key] is not None, r[key] or ""), reverse=direction == "desc")  # type: ignore[misc]
    return rows


def _order(call: Call) -> list[tuple[str, str]]:
    if call.get("sort"):
        parts = [p.strip().partition(":") for p in call.get("sort").split(",")]
        return [(k, d or "desc") for k, _, d in parts]
    dirs = call.values("sort_dir")
    return [(k, dirs[n] if n < len(dirs) else dirs[0] if dirs else "desc") for n, k in enumerate(call.values("sort_key"))]


def _matches(call: Call, row: Row) -> bool:
    for name, value in call.query:
        if name in PAGING:
            continue
        if name == "tag":
            ok = value in row["tags"]
        elif name in ("size_min", "size_max"):
            size = row["size"] or 0
            ok = size >= int(value) if name == "size_min" else size <= int(value)
        elif name in ("created_at", "updated_at"):
            ok = _time(row[name], value)
        elif name == "protected":
            ok = row["protected"] == (value.lower() == "true")
        else:
            have = row.get(name, row["properties"].get(name))
            wanted = [v.strip('"') for v in value[3:].split(",")] if value.startswith("in:") else [value]
            ok = str(have) in wanted if have is not None else False
        if not ok:
            return False
    return True


def _time(have: float, asked: str) -> bool:
    op, _, text = asked.partition(":") if asked.split(":")[0] in ("gt", "gte", "lt", "lte", "eq", "neq") else ("eq", "", asked)
    try:
        t = parse_time(text)
    except ValueError:
        raise Refused(400, f"Bad time {text}") from None
    return {"gt": have > t, "gte": have >= t, "lt": have < t, "lte": have <= t, "eq": have == t, "neq": have != t}[op]


def page(call: Call, rows: list[Row]) -> tuple[list[Row], Row]:
    """One page and its links. Raises Refused 400."""
    limit = DEFAULT_LIMIT
    if call.get("limit"):
        if not call.get("limit").isdigit():
            raise Refused(
                400, "limit param must be an integer" if not call.get("limit").startswith("-") else "limit param must be positive"
            )
        limit = min(int(call.get("limit")), MOST)
    marker = call.get("marker")
    if marker:
        at = next((n for n, r in enumerate(rows) if r["id"] == marker), None)
        if at is None:
            raise Refused(400, f"Invalid marker. Image {marker} could not be found.")
        rows = rows[at + 1 :]
    kept = [(k, v) for k, v in call.query if k != "marker"]
    links: dict[str, Any] = {"first": "/v2/images" + ("?" + urlencode(kept) if kept else "")}
    if len(rows) >= limit and limit:
        links["next"] = "/v2/images?" + urlencode([*kept, ("marker", rows[limit - 1]["id"])])
    return rows[:limit], links
