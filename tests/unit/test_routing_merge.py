"""The merge: complete, each row once, no site's order changed, and pages add up to the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cascade.routing.merge import Order, merge, parse_ties, sort_key

NOVA = parse_ties(("created_at:desc", "id:asc"))
KEY = sort_key(NOVA)

seconds = st.integers(0, 5).map(lambda s: f"2026-11-23T08:00:0{s}Z")


@st.composite
def streams(draw: st.DrawFn, *, ordered: bool = False) -> dict[str, list[dict[str, str]]]:
    out: dict[str, list[dict[str, str]]] = {}
    number = 0
    for site in draw(st.lists(st.sampled_from(["paris", "tokyo", "oslo", "lima"]), unique=True, max_size=4)):
        rows = []
        for created in draw(st.lists(seconds, max_size=7)):
            number += 1
            rows.append({"id": f"{draw(st.integers(0, 9))}-{number}", "created_at": created})
        out[site] = sorted(rows, key=KEY) if ordered else rows
    return out


@given(streams())
def test_all_rows_once_in_their_own_order(given_: dict[str, list[dict[str, str]]]) -> None:
    out = merge(given_, 1000, key=KEY)
    assert not out.more and not out.starved
    for site, rows in given_.items():
        assert [r for s, r in out.rows if s == site] == rows
    assert len(out.rows) == sum(map(len, given_.values()))


@given(streams(ordered=True))
def test_sorted_where_the_sites_are(given_: dict[str, list[dict[str, str]]]) -> None:
    keys = [KEY(r) for _, r in merge(given_, 1000, key=KEY).rows]
    assert keys == sorted(keys)


@given(streams(), st.integers(1, 6))
def test_pages_add_up(given_: dict[str, list[dict[str, str]]], limit: int) -> None:
    whole = merge(given_, 1000, key=KEY).rows
    at = dict.fromkeys(given_, 0)
    walked = []
    more = True
    while more:
        page = merge({s: r[at[s] : at[s] + limit] for s, r in given_.items()}, limit, key=KEY,
                     open={s for s, r in given_.items() if len(r) > at[s] + limit})  # fmt: skip
        assert not page.starved, "a page never needs more of a site than its own length"
        walked += page.rows
        at = {s: at[s] + page.taken[s] for s in at}
        more = page.more
        assert len(page.rows) == limit or not more
    assert walked == whole


@given(streams(), st.integers(1, 3))
def test_refilling_the_starved_gives_the_same(given_: dict[str, list[dict[str, str]]], chunk: int) -> None:
    at = dict.fromkeys(given_, 0)
    fetched = {s: min(chunk, len(r)) for s, r in given_.items()}
    got = []
    while True:
        page = merge({s: r[at[s] : fetched[s]] for s, r in given_.items()}, 1000, key=KEY,
                     open={s for s, r in given_.items() if fetched[s] < len(r)})  # fmt: skip
        got += page.rows
        at = {s: at[s] + page.taken[s] for s in at}
        if not page.starved:
            break
        for site in page.starved:
            fetched[site] = min(fetched[site] + chunk, len(given_[site]))
    assert got == merge(given_, 1000, key=KEY).rows


@given(streams())
def test_order_of_sites_given_does_not_matter(given_: dict[str, list[dict[str, str]]]) -> None:
    assert merge(given_, 9, key=KEY).rows == merge(dict(reversed(given_.items())), 9, key=KEY).rows


def test_build_requests_stay_in_front_of_their_site() -> None:
    by_name = sort_key([Order("name"), Order("id")])
    paris = [{"id": "1", "name": "z"}, {"id": "2", "name": "a"}]
    tokyo = [{"id": "3", "name": "b"}]
    assert [r["id"] for _, r in merge({"paris": paris, "tokyo": tokyo}, 9, key=by_name).rows] == ["3", "1", "2"]


def test_nothing_sorts_first_and_types_never_clash() -> None:
    key = sort_key([Order("x"), Order("id", descending=True)])
    rows = [{"id": "a", "x": "B"}, {"id": "b"}, {"id": "c", "x": 3}, {"id": "d", "x": "a"}, {"id": "e"}, {"id": "f", "x": {"y": 1}}]
    assert [r["id"] for r in sorted(rows, key=key)][:4] == ["e", "b", "c", "d"]
    assert sort_key([Order("image.id")])({"image": {"id": "i"}}) == sort_key([Order("x")])({"x": "i"})
    assert sort_key([Order("image.id")])({"image": ""}) == ((0,),)
