"""What can be wrong with a JSON body: by its shape alone, and by the JSON schema it is checked with. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

Wrong = tuple[str, str, bytes]
"""The class of a mutation, where it struck, and the body."""
Path = tuple[str | int, ...]

_DEEP = 60
"""Levels: more than any body has, fewer than any parser gives up at."""
_STRINGS: dict[str, str] = {
    "empty": "", "blank": "   ", "over-long": "x" * 300, "far too long": "x" * 70_000,
    "unicode": "Zo\u00eb \u65e5\u672c \U0001f600",
    "nul": "a\u0000b", "surrogate": "a\ud800b", "control": "a\u0007\u001bb", "markup": "<a href='x'>&amp;%s{0}",
    "four bytes": "\U00010348",
}  # fmt: skip
_NUMBERS: dict[str, Any] = {
    "negative": -1, "zero": 0, "2^31": 2**31, "2^63": 2**63, "10^30": 10**30, "float": 1.5, "number as text": "1",
    "minus zero": -0.0,
}  # fmt: skip


def broken() -> Iterator[Wrong]:
    """Bodies that are no object at all, or no JSON."""
    rows: dict[str, bytes] = {
        "nothing": b"", "null": b"null", "a list": b"[]", "a string": b'"x"', "a number": b"5", "true": b"true",
        "empty object": b"{}",
        "truncated": b'{"a": {"b"', "trailing comma": b'{"a": 1,}', "single quotes": b"{'a': 1}", "NaN": b'{"a": NaN}',
        "a huge exponent": b'{"a": 1e999}', "byte order mark": b'\xef\xbb\xbf{"a": 1}', "UTF-16": '{"a": 1}'.encode("utf-16"),
        "not UTF-8": b'{"a": "\xff\xfe"}', "two documents": b'{"a": 1}{"b": 2}', "XML": b"<a/>", "form": b"a=1&b=2",
        "blanks": b"  \n",
        "empty key": b'{"": {}}', "a bad escape": b'{"a": "\\x"}',
    }  # fmt: skip
    for name, raw in rows.items():
        yield "not the body", name, raw


def mutations(body: Any, schema: Any) -> Iterator[Wrong]:
    """Everything that is done to one right body."""
    yield from broken()
    for path, value in _walk(body):
        where = _said(path)
        for kind, other in _instead(value):
            yield kind, where, _encode(_put(body, path, other))
        yield "deep", where, _encode(_put(body, path, _nested(value)))
        if path and isinstance(path[-1], str):
            yield "dropped", where, _encode(_drop(body, path))
            yield "renamed", where, _encode(_put(_drop(body, path), (*path[:-1], path[-1] + "_"), value))
            yield "twice", where, _twice(body, path, value)
        if isinstance(value, dict):
            yield "unknown key", where, _encode(_put(body, (*path, "nonesuch"), {"a": [1]}))
    yield from _violations(body, schema)


def _walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield from _walk(inner, (*path, key))


def _instead(value: Any) -> Iterator[tuple[str, Any]]:
    """Other values than a right one."""
    for kind, other in (("null", None), ("a bool", True), ("a list", []), ("an object", {}), ("a list of null", [None])):
        if other != value:
            yield kind, other
    if isinstance(value, str):
        yield "a number", 5
        yield from _STRINGS.items()
    elif isinstance(value, bool | int | float):
        yield from _NUMBERS.items()
        yield "text", "many"
    elif isinstance(value, list):
        yield "text", "x"
        yield "elements twice", [*value, *value]
        yield "a list of lists", [value]
    else:
        yield "text", "x"
        yield "a number", 5


def _violations(body: Any, schema: Any) -> Iterator[Wrong]:
    """By the schema, also of what the right body does not have."""
    for path, part in _parts(schema):
        if len(path) > 1 and not _has(body, path[:-1]):
            continue
        for kind, value in _violating(part):
            yield f"schema: {kind}", _said(path), _encode(_put(body, path, value))


def _parts(schema: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every property of a schema, through its alternatives."""
    if not isinstance(schema, dict) or len(path) > 6:
        return
    if path:
        yield path, schema
    for name, inner in (schema.get("properties") or {}).items():
        yield from _parts(inner, (*path, name))
    if path and isinstance(schema.get("items"), dict):
        yield from _parts(schema["items"], (*path, 0))
    for word in ("oneOf", "anyOf", "allOf"):
        for inner in schema.get(word) or ():
            yield from _parts(inner, path)


_OTHER = {"string": 5, "integer": "many", "number": "many", "boolean": "perhaps", "array": "x", "object": "x", "null": "x"}


def _violating(part: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kind = part.get("type")
    first = kind[0] if isinstance(kind, list) else kind
    yield "type", _OTHER.get(str(first), ["x"])
    if isinstance(part.get("maxLength"), int):
        yield "maxLength", "x" * (part["maxLength"] + 1)
    if part.get("minLength"):
        yield "minLength", ""
    for word, step in (("minimum", -1), ("maximum", 1)):
        if isinstance(part.get(word), int):
            yield word, part[word] + step
    if "enum" in part:
        yield "enum", "nonesuch"
    if "pattern" in part or "format" in part:
        yield "pattern", "\u0001 ?/\u2028"
    if isinstance(part.get("maxItems"), int) and part["maxItems"] < 200:
        yield "maxItems", [f"x{n}" for n in range(part["maxItems"] + 1)]
    if part.get("uniqueItems"):
        yield "uniqueItems", ["x", "x"]
    if part.get("additionalProperties") is False:
        yield "additionalProperties", {"nonesuch": 1}


def _has(body: Any, path: Path) -> bool:
    for key in path:
        inside = key in body if isinstance(body, dict) else isinstance(key, int) and isinstance(body, list) and key < len(body)
        if not inside:
            return False
        body = body[key]
    return isinstance(body, dict | list)


def _put(body: Any, path: Path, value: Any) -> Any:
    out = copy.deepcopy(body)
    at = out
    for key in path[:-1]:
        at = at[key]
    if isinstance(at, list) and path[-1] == len(at):
        at.append(value)
    else:
        at[path[-1]] = value
    return out


def _drop(body: Any, path: Path) -> Any:
    out = copy.deepcopy(body)
    at = out
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return out


def _twice(body: Any, path: Path, value: Any) -> bytes:
    """A key that stands twice, with another value the first time."""
    mark = "\u2063twice"
    text = json.dumps(_put(_drop(body, path), (*path[:-1], mark), None))
    name = json.dumps(path[-1])
    return text.replace(f"{json.dumps(mark)}: null", f"{name}: [7], {name}: {json.dumps(value)}", 1).encode()


def _nested(value: Any) -> Any:
    for _ in range(_DEEP):
        value = {"a": value}
    return value


def _said(path: Path) -> str:
    return ".".join(map(str, path))


def _encode(body: Any) -> bytes:
    return json.dumps(body).encode()
