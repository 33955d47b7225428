"""Rewriting ids in whatever holds them: documents, strings, paths, headers, JSON inside strings. Pure.

An id is a UUID in its canonical 8-4-4-4-12 form or 32 hexadecimal digits, in either case, standing alone: beside it is
nothing that could belong to a longer name. Looked up exactly, case and all, in the mapping given (design review 3.6:
the mapping must hold only pairs the caller's project may name). What users wrote themselves (``OPAQUE``) is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", str, bytes)

OPAQUE: frozenset[str] = frozenset({
    "metadata", "meta", "user_data", "OS-EXT-SRV-ATTR:user_data", "name", "description", "display_name",
    "display_description", "personality", "output", "adminPass", "admin_pass", "password", "new_pass", "public_key",
    "private_key", "key_name", "hostname", "OS-EXT-SRV-ATTR:hostname", "tags", "tags-any", "not-tags", "not-tags-any",
    "connector", "connection_info",
})  # fmt: skip
"""Keys whose values belong to users, or to the drivers of a site (``connection_info``). Image ``properties`` and
``volume_image_metadata`` are Nova's and Cinder's own words and are not among them, nor are messages of faults."""

DEEPEST = 64
"""Levels of nesting looked at. No service goes below ten; deeper is an attack and passes as it is."""

_ID = r"(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})"
# An escape ends in letters or digits that are no part of the word after it: %2F in URLs, \n and \u0022 in raw JSON.
_BEFORE = r"(?:(?<![0-9A-Za-z_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
_TOKEN = re.compile(_BEFORE + _ID + r"(?![0-9A-Za-z_-])")
_TOKEN_BYTES = re.compile((_BEFORE + _ID + r"(?![0-9A-Za-z_-])").encode())
_WHOLE = re.compile(_ID)
_NESTED = (dict, list, tuple)
_WORD = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-")
_GAPS = bytes(c if c in _WORD else 32 for c in range(256))


def tokens_text(text: str | bytes) -> set[str]:
    """All ids standing in a string or in undecoded bytes (which may be JSON)."""
    if len(text) < 32:
        return set()
    if isinstance(text, str):
        if len(text) in (32, 36) and _WHOLE.fullmatch(text):
            return {text}
        text = text.encode(errors="replace")
    if b"\\" in text or b"%" in text:
        return {m.decode() for m in _TOKEN_BYTES.findall(text)}
    # No escapes: cutting at everything that is no word and looking at lengths is some twenty times as fast.
    words = {w for w in text.translate(_GAPS).split() if len(w) in (32, 36)}
    return {w for word in words if _WHOLE.fullmatch(w := word.decode())}


def tokens(doc: Any, *, opaque: Collection[str] = OPAQUE) -> set[str]:
    """All ids in a decoded document: in string values and as keys, but not under ``opaque`` keys."""
    found: set[str] = set()
    _collect(doc, opaque, found, DEEPEST)
    return found


def _collect(doc: Any, opaque: Collection[str], found: set[str], deeper: int) -> None:
    """Every value of every row of every list comes by here: what is short or no text is passed over without a call."""
    if isinstance(doc, str):
        if len(doc) >= 32:
            found |= tokens_text(doc)
    elif deeper and isinstance(doc, dict):
        for key, value in doc.items():
            if len(key) in (32, 36) and key not in opaque and _WHOLE.fullmatch(key):
                found.add(key)
            if isinstance(value, str):
                if len(value) >= 32 and key not in opaque:
                    found |= tokens_text(value)
            elif isinstance(value, _NESTED) and value and key not in opaque:
                _collect(value, opaque, found, deeper - 1)
    elif deeper and isinstance(doc, list | tuple):
        for value in doc:
            _collect(value, opaque, found, deeper - 1)


def rewrite_text(text: T, mapping: Mapping[str, str]) -> T:
    """``text`` with every mapped id replaced; the very same object where there is none."""
    if not mapping or len(text) < 32:
        return text
    if isinstance(text, str):
        if len(text) in (32, 36) and text in mapping:
            return mapping[text]
        return _TOKEN.sub(lambda m: mapping.get(m[0], m[0]), text)
    if mapping.keys().isdisjoint(tokens_text(text)):
        return text
    return _TOKEN_BYTES.sub(lambda m: mapping.get(m[0].decode(), m[0].decode()).encode(), text)


def rewrite(doc: Any, mapping: Mapping[str, str], *, opaque: Collection[str] = OPAQUE) -> Any:
    """A copy of ``doc`` with every mapped id replaced, keys too; ``doc`` itself where the mapping is empty."""
    return _rewritten(doc, mapping, opaque, DEEPEST) if mapping else doc


def _rewritten(doc: Any, mapping: Mapping[str, str], opaque: Collection[str], deeper: int) -> Any:
    if isinstance(doc, str):
        return rewrite_text(doc, mapping)
    if deeper and isinstance(doc, dict):
        return {
            (mapping.get(key, key) if key not in opaque else key): (
                value if key in opaque else _rewritten(value, mapping, opaque, deeper - 1)
            )
            for key, value in doc.items()
        }
    if deeper and isinstance(doc, list | tuple):
        return [_rewritten(value, mapping, opaque, deeper - 1) for value in doc]
    return doc


def rewrite_json(body: bytes, mapping: Mapping[str, str], *, opaque: Collection[str] = OPAQUE) -> bytes:
    """JSON bytes with mapped ids replaced; not even decoded where none of them stands in it.

    Raises msgspec.DecodeError for what is not JSON.
    """
    if not mapping or mapping.keys().isdisjoint(tokens_text(body)):
        return body
    return msgspec.json.encode(rewrite(msgspec.json.decode(body), mapping, opaque=opaque))


def tokens_params(params: Iterable[tuple[str, str]], *, opaque: Collection[str] = OPAQUE) -> set[str]:
    """All ids in query values, but for filters on what users wrote (``name``, ``tags``)."""
    return {t for key, value in params if key not in opaque for t in tokens_text(value)}


def rewrite_params(
    params: Iterable[tuple[str, str]], mapping: Mapping[str, str], *, opaque: Collection[str] = OPAQUE
) -> list[tuple[str, str]]:
    """Query parameters with mapped ids replaced in their values, but for filters on what users wrote."""
    return [(k, v if k in opaque else rewrite_text(v, mapping)) for k, v in params]


def rewrite_headers(headers: Mapping[str, str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Header values with mapped ids replaced (``Location`` above all)."""
    return {k: rewrite_text(v, mapping) for k, v in headers.items()}
