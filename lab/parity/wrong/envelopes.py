"""What can be wrong around a body: headers, microversions, methods, ids, query parameters. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from lab.parity.wrong.seeds.seed import NOWHERE, Seed

Headers = dict[str, str | None]
"""Header -> value; None takes away what is sent otherwise."""
Wrong = tuple[str, str, str, str, Headers]
"""The class of a mutation, what it is, method, path with query, and headers."""

_JSON = "application/json"
_CONTENT: tuple[str | None, ...] = (
    None, "text/plain", "application/xml", "application/x-www-form-urlencoded", "banana", "application/octet-stream",
    f"{_JSON}; charset=latin-1", f"{_JSON};", "*/*", "application/vnd.api+json",
)  # fmt: skip
_ACCEPT = ("application/xml", "text/html", "image/png", "banana", "*/*;q=0", "")
_MICROVERSIONS = (
    "9.9", "2", "0.0", "-1.0", "2.1.1", "banana", "", " ", "2.01", "2.1000", "3.9999", "2.-1", "1e1", "LATEST", "2.1 2.2",
    "\u0662.1",
)  # fmt: skip
_IDS = (
    "not-a-uuid", "0", "-1", "x" * 300, NOWHERE.upper(), NOWHERE.replace("-", ""), f"{{{NOWHERE}}}", "a b", "%F0%9F%98%80",
    "%FF", "%25",
    "null", "*", f"{NOWHERE},{NOWHERE}", f"{NOWHERE}.json", "..%3B", "1e9", "9" * 25, "'", "a;b", "a%3Fb", "a%23b",
)  # fmt: skip
_VALUES: tuple[str, ...] = (
    "", "-1", "0", "1.5", "banana", "9" * 20, "null", "%00", "%FF", "%F0%9F%98%80", "%25", "a,b", "x" * 300, "true", "[]", "{}",
    "'",
    NOWHERE, "in:", "in:a,b", "gt:5", "nonesuch:asc", "name:sideways", "1&{name}=2", "%5B%27a%27%5D", "2026-13-45", "  ",
    "*.*", "(", "%0A",
)  # fmt: skip
_METHODS = ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "POST", "GET", "TRACE", "FOO", "get")
_SLOT = re.compile(r"\{(?!user\}|project\})\w+\}")
"""What a wrong id takes the place of. The ids of accounts stay: a wrong one would be somebody else's."""


def wrong(seed: Seed) -> Iterator[Wrong]:
    """Everything that is done around one right request."""
    if seed.body is not None:
        for kind in _CONTENT:
            yield "content type", str(kind), seed.method, seed.path, {"Content-Type": kind}
    for accepted in _ACCEPT:
        yield "accept", accepted, seed.method, seed.path, {"Accept": accepted}
    if seed.version is not None:
        yield from _versions(seed)
    # A method that would really delete or change what others of this run need is left out.
    unsafe = ("POST", "PUT", "PATCH", "DELETE") if seed.path.endswith("}") and NOWHERE not in seed.path else ()
    for method in _METHODS:
        if method != seed.method and not (method in unsafe and "{uuid}" not in seed.path.rsplit("/", 1)[1]):
            yield "method", method, method, seed.path, {}
    for slot in _SLOT.finditer(seed.path):
        for ident in _IDS:
            path = seed.path[: slot.start()] + quote(ident, safe="%*,'") + seed.path[slot.end() :]
            yield "id", ident, seed.method, path, {}
    for tail in ("/", "/nonesuch", "?nonesuch=1", ".json", "%20", "//", "?=", "?&&", "?%", "?a=%zz"):
        yield "path", tail, seed.method, seed.path + tail, {}
    for name in seed.query:
        for value in _VALUES:
            text = value.replace("{name}", name)
            yield "query", f"{name}={value}", seed.method, f"{seed.path}?{name}={quote(text, safe='%&=,:*()')}", {}
    for one, two in zip(seed.query, seed.query[1:], strict=False):
        yield "query", f"{one} and {two}", seed.method, f"{seed.path}?{one}=1&{two}=2&{one}=3", {}


def _versions(seed: Seed) -> Iterator[Wrong]:
    for text in _MICROVERSIONS:
        value = text if text.isascii() else quote(text)
        yield "microversion", text, seed.method, seed.path, {"OpenStack-API-Version": f"{seed.service} {value}"}
    for name, header in {
        "of another service": "identity 3.1", "without a service": "2.96", "two": f"{seed.service} 2.1, {seed.service} 3.5",
        "in capitals": f"{seed.service.upper()} {seed.version}", "nothing": None, "with a tab": f"{seed.service}\t{seed.version}",
    }.items():  # fmt: skip
        yield "microversion", name, seed.method, seed.path, {"OpenStack-API-Version": header}
