"""Nova: the few rules of its JSON schemas that callers run into, and its words for them."""

from __future__ import annotations

import re
from typing import Any

from sim.faults import Refused
from sim.web import Call, invalid
from sim.world import Cloud, Row

UNEXPECTED = {
    True: "Unexpected API Error. Please contact the administrator\n<class '{}'>",
    False: "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n"
    "<class '{}'>",
}


def fields(name: str, given: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Row:
    """An object with these properties and no others. Raises Refused 400."""
    if not isinstance(given, dict):
        raise Refused(400, invalid(name, given, "is not of type 'object'"))
    shown = f"Invalid input for field/attribute {name}. Value: {given}. "
    for wanted in required:
        if wanted not in given:
            raise Refused(400, f"{shown}{wanted!r} is a required property")
    closed(given, (*required, *optional), shown)
    return given


def closed(given: Row, allowed: tuple[str, ...], shown: str = "") -> None:
    """Raises Refused 400 for properties that are not ``allowed``."""
    extra = [k for k in given if k not in allowed]
    if extra:
        verb = "was" if len(extra) == 1 else "were"
        raise Refused(400, f"{shown}Additional properties are not allowed ({', '.join(map(repr, extra))} {verb} unexpected)")


def text(name: str, value: Any, pattern: str = "", most: int = 255) -> str:
    """A string that says something. Raises Refused 400."""
    if not isinstance(value, str):
        raise Refused(400, invalid(name, value, "is not of type 'string'"))
    if not value.strip():
        raise Refused(400, invalid(name, value, "should be non-empty"))
    if len(value) > most:
        raise Refused(400, invalid(name, value, "is too long"))
    if pattern and not re.match(pattern, value):
        raise Refused(400, invalid(name, value, f"does not match {pattern!r}"))
    return value


def integer(name: str, value: Any, least: int = 0) -> int:
    """An integer, also one written as a string. Raises Refused 400."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise Refused(400, invalid(name, value, "is not of type 'integer', 'string'"))
    if not re.fullmatch("-?[0-9]+", str(value)):
        raise Refused(400, invalid(name, value, f"does not match {'^-?[0-9]+$'!r}"))
    if int(value) < least:
        raise Refused(400, invalid(name, value, f"is less than the minimum of {least}"))
    return int(value)


def choice(name: str, value: Any, allowed: list[str]) -> str:
    """One of a few words. Raises Refused 400."""
    if value not in allowed:
        raise Refused(400, invalid(name, value, f"is not one of {allowed}"))
    return str(value)


def strings(given: Row, most: int = 255) -> Row:
    """Metadata: strings by strings. Raises Refused 400, 403."""
    for k, v in given.items():
        if not isinstance(v, str):
            raise Refused(400, invalid(k, v, "is not of type 'string'"))
        if len(v) > most:
            raise Refused(400, invalid(k, v, "is too long"))
    if len(given) > 128:
        raise Refused(403, "Maximum number of metadata items exceeds 128")
    return given


def number(call: Call, name: str, default: int | None) -> int | None:
    """A number of the query. Raises Refused 400."""
    value = call.get(name)
    if not value and not call.values(name):
        return default
    if not value.isdigit():
        raise Refused(400, f"Invalid input for query parameters {name}. Value: {value}. '{value}' does not match '^[0-9]*$'")
    return int(value)


def page(call: Call, rows: list[Row], key: str = "id") -> tuple[list[Row], bool]:
    """The page that ``limit`` and ``marker`` ask for, and whether a next one may follow. Raises Refused 400."""
    limit, marker = number(call, "limit", None), call.get("marker")
    if marker:
        at = next((n for n, r in enumerate(rows) if str(r[key]) == marker), None)
        if at is None:
            message = f"marker [{marker}] not found" if "flavors" in call.path else f"Marker {marker} could not be found."
            raise Refused(400, message)
        rows = rows[at + 1 :]
    return (rows, False) if limit is None else (rows[:limit], len(rows) >= limit > 0)


def unexpected(cloud: Cloud, kind: str) -> Refused:
    """500, as Nova says it for an exception that nobody caught."""
    return Refused(500, UNEXPECTED[cloud.newest].format(kind))
