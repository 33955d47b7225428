"""A population lists exactly as the same servers would, one by one, in a plain table."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.population import SEEN, Population, order, shares

FLAVOR = {"id": "42", "vcpus": 1, "ram": 128, "disk": 1}
OWNERS = [("p0", "u0"), ("p1", "u1"), ("p2", "u2")]


def population(count: int) -> Population:
    return Population(7, count, OWNERS, "nova", FLAVOR, 1_000_000.0)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from([None, "p0", "p1", "p2", "nobody"]), st.data())
def test_pages_are_slices_of_the_whole(count: int, limit: int, project: str | None, data: st.DataObject) -> None:
    table = population(count)
    for number in data.draw(st.sets(st.integers(0, count - 1), max_size=5)):
        table[table.ident(number)]["deleted"] = True
    whole = sorted((r for r in table.values() if not r["deleted"] and project in (None, r["project_id"])), key=order)
    walked, marker = [], None
    while page := table.page(project, marker, limit):
        walked += page
        marker = page[-1]["id"]
    assert [r["id"] for r in walked] == [r["id"] for r in whole]


def test_a_change_stays_and_a_look_is_forgotten() -> None:
    table = population(3 * SEEN)
    table[table.ident(5)]["name"] = "changed"
    for number in range(SEEN + 100):
        assert table.get(table.ident(number))["number"] == number
    assert table[table.ident(5)]["name"] == "changed"
    assert len(table.kept()) <= SEEN + 1
    assert table.get("nobody") is None and "nobody" not in table and table.ident(3 * SEEN) not in table


def test_every_tenant_is_in_two_sites() -> None:
    places = [tenant for mine in shares(100, 10).values() for tenant in mine]
    assert {places.count(t) for t in places} == {2} and len(set(places)) == 500
