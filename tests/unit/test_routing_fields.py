"""Rows made north field by field are what decoding them whole gives, whatever stands in them."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.model.site import Site
from cascade.routing import bodies, translate
from cascade.routing.fields import Sheets, Translator

PARIS = Site(name="paris", number=1, cloud="paris", zones={"ssd": "paris-ssd"})
URLS = {
    "http://10.0.0.1:8774": "https://api/compute",
    "http:\\/\\/10.0.0.1:8774": "https:\\/\\/api\\/compute",
    "http://10.0.0.1/volume": "https://api/volume",
}
OWN, OTHER, PAIRED = (f"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f{n}" for n in "789")
HEX, STAMP = "0123456789abcdef0123456789abcdef", "f" * 32
NORTH = {PAIRED: str(uuid.UUID(int=1)), HEX: uuid.UUID(int=2).hex}
IDS = [OWN, OTHER, PAIRED, PAIRED.upper(), HEX, STAMP]


def slow(raws: Sequence[bytes], mapping: Mapping[str, str], service: str = "compute") -> list[Any]:
    """As any other document is translated."""
    docs = [msgspec.json.decode(raw) for raw in raws]
    return bodies.to_north(translate.rewrite(docs, mapping), site=PARIS, service=service, urls=URLS)  # type: ignore[no-any-return]


def fast(translator: Translator, raws: Sequence[bytes], mapping: Mapping[str, str]) -> list[Any]:
    sheet = translator.read([msgspec.Raw(raw) for raw in raws])
    docs = [msgspec.json.decode(raw) for raw in raws]
    ids = translate.tokens(docs)
    assert {i for i in mapping if i in ids} <= sheet.ids, "what is not asked for would not be found"
    out: list[Any] = msgspec.json.decode(msgspec.json.encode(sheet.north(mapping)))
    return out


def written(doc: Any, seed: int) -> bytes:
    """JSON as some service may write it: with or without spaces, any letter as an escape."""
    rnd = random.Random(seed)
    text = json.dumps(doc, separators=rnd.choice([(",", ":"), (", ", ": ")]), ensure_ascii=rnd.random() < 0.7)
    if rnd.random() < 0.3:  # letters of strings as escapes; outside strings there are none but those of true, false and null
        plain, escaped = rnd.choice([("/", "\\/"), ("/", "\\u002f"), ("a", "\\u0061"), ("-", "\\u002D"), ("o", "\\u006f")])
        parts = text.split('"')
        if '\\"' not in text:
            parts[1::2] = [p.replace(plain, escaped) for p in parts[1::2]]
        text = '"'.join(parts)
    return text.encode()


words = st.sampled_from([
    "", "nova", "ssd", "cmp1", "cascade", f"cascade.{STAMP}", "default", "a/b", "http://10.0.0.1:8774/v2.1/servers", "ü", "\\", '"',
    "http://nova.example:8774/v2.1/servers/x", "http://10.0.0.1/volume/v3/x", "line\nline", "DELETED", "2026-11-23T08:00:00Z", "//",
    f'[{{"id": "{PAIRED}"}}]', "%2F" + PAIRED, *IDS,
])  # fmt: skip
strings = words | st.builds("{}{}{}".format, words, st.sampled_from(["", "/", "-", " ", "x", ", "]), words)
keys = st.sampled_from([
    "name", "metadata", "tags", "links", "href", "rel", "host", "hosts", "availability_zone", "OS-EXT-AZ:availability_zone",
    "OS-EXT-SRV-ATTR:host", "tenant_id", "flavor", "image", "addresses", "fault", "message", "user_data", "never seen", *IDS,
])  # fmt: skip
numbers = st.integers(-(2**70), 2**70) | st.sampled_from([0.5, 1e300, -0.0])
scalars = st.none() | st.booleans() | numbers | strings
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=8)
rows = st.builds(lambda row, ident: {**row, "id": ident}, st.dictionaries(keys, values, max_size=8), st.sampled_from(IDS) | strings)
mappings = st.dictionaries(st.sampled_from(IDS), st.sampled_from([*NORTH.values(), str(uuid.UUID(int=3))]))
LEARNT = Sheets()
"""One memory for all examples: what one row taught must not be wrong of the next."""


@given(st.lists(rows, min_size=1, max_size=4), mappings, st.sampled_from(["compute", "volume", "metric"]), st.integers(0, 99))
def test_both_ways_are_one(docs: list[Any], mapping: dict[str, str], service: str, seed: int) -> None:
    raws = [written(doc, seed + n) for n, doc in enumerate(docs)]
    assert fast(LEARNT.of(PARIS, service, URLS), raws, mapping) == slow(raws, mapping, service)


SERVER = {
    "id": OWN, "tenant_id": HEX, "user_id": STAMP, "name": PAIRED, "hostId": "a" * 56, "OS-EXT-AZ:availability_zone": "nova",
    "OS-EXT-SRV-ATTR:host": "cmp1", "status": "ACTIVE", "metadata": {"volume": PAIRED, "host": "cmp1", "href": "http://10.0.0.1:8774/x"},
    "image": {"id": PAIRED, "links": [{"rel": "bookmark", "href": f"http://10.0.0.1:8774/images/{PAIRED}"}]},
    "links": [{"rel": "self", "href": f"http://10.0.0.1:8774/v2.1/servers/{OWN}"}],
    "addresses": {"net": [{"version": 4, "addr": "10.1.0.9", "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:01"}]},
    "os-extended-volumes:volumes_attached": [{"id": PAIRED}, {"id": OTHER}], "tags": ["mine", f"cascade.{STAMP}"],
    "fault": {"message": f"no host for {PAIRED}", "details": "Traceback\n\"x\""}, "x-new": f"volume-{PAIRED}", PAIRED: "a key",
}  # fmt: skip
ODD = [
    json.dumps(SERVER).encode(),
    b'{"id": "%s", "x": 1e2, "x": 123456789012345678901234567890, "x": {"id": "%s"}}' % (OWN.encode(), PAIRED.encode()),  # twice
    b'{"id": "%s", "a": "\\u0030%s", "b": "\\ud83d\\ude00 http:\\u002f\\u002f10.0.0.1:8774\\/x"}'
    % (OWN.encode(), PAIRED[1:].encode()),
    b'{"id": "%s", "links": [{"href": "http://10.0.0.1:8774/a-%s/%s"}]}' % (OWN.encode(), OWN.encode(), OWN.encode()),
    b' { "id" : "%s" ,\n"host":\t"cmp1", "volumes":[ ] , "deep": %s%s}' % (OWN.encode(), b"[" * 70, b"]" * 70),
    b'{"id": "%s", "security_groups": [{"name": "%s"}], "y": [{"metadata": {"id": "%s"}, "id": "%s"}]}'
    % (OWN.encode(), PAIRED.encode(), PAIRED.encode(), OWN.encode()),
]  # fmt: skip


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("mapping", [{}, NORTH, {OWN: OTHER, **NORTH}, {OWN: PAIRED}], ids=["none", "others", "all", "own"])
def test_odd_rows(raw: bytes, mapping: dict[str, str]) -> None:
    translator = Sheets().of(PARIS, "compute", URLS)
    for _ in range(2):  # the second time from memory
        assert fast(translator, [raw, raw], mapping) == slow([raw, raw], mapping)


def test_a_pair_that_comes_later_is_used() -> None:
    translator, raw = Sheets().of(PARIS, "compute", URLS), json.dumps(SERVER).encode()
    assert fast(translator, [raw], {})[0]["image"]["id"] == PAIRED
    assert fast(translator, [raw], NORTH)[0]["image"]["id"] == NORTH[PAIRED]
    assert fast(translator, [raw], {})[0]["image"]["id"] == PAIRED


def test_a_changed_site_is_heeded() -> None:
    sheets, raw = Sheets(), json.dumps(SERVER).encode()
    assert fast(sheets.of(PARIS, "compute", URLS), [raw], {})[0]["OS-EXT-AZ:availability_zone"] == "paris"
    moved = Site(name="paris", number=1, cloud="paris", options={"default_zone": "az1"})
    assert fast(sheets.of(moved, "compute", URLS), [raw], {})[0]["OS-EXT-AZ:availability_zone"] == "nova"
    elsewhere = {"http://10.0.0.1:8774": "https://other/compute"}
    assert (
        fast(sheets.of(moved, "compute", elsewhere), [raw], {})[0]["links"][0]["href"]
        == f"https://other/compute/v2.1/servers/{OWN}"
    )


@pytest.mark.parametrize("raw", [b"1", b"[]", b'{"a": "\xff"}', b'{"a": NaN}'])
def test_what_is_no_row(raw: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        Sheets().of(PARIS, "compute", URLS).read([msgspec.Raw(raw)])
