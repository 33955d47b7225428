"""Remembered positions: bounded, forgotten in time, never mixed up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cascade.routing.cursor import Cursors, scope


def test_forgotten_in_time() -> None:
    now = [0.0]
    kept = Cursors(ttl=10, clock=lambda: now[0])
    kept.remember("s", "m", {"paris": "1", "tokyo": None})
    now[0] = 9.9
    assert kept.recall("s", "m") == {"paris": "1", "tokyo": None}
    assert kept.recall("s", "n") is None and kept.recall("t", "m") is None
    now[0] = 10
    assert kept.recall("s", "m") is None and len(kept) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=60), st.integers(1, 30))
def test_bounded(steps: list[tuple[int, int]], size: int) -> None:
    kept = Cursors(size=size, clock=lambda: 0.0)
    for marker, sites in steps:
        kept.remember("s", str(marker), {str(i): None for i in range(sites)})
        assert sum(1 + len(p) for _, p in kept._kept.values()) == kept._weight <= size


def test_scope_is_the_question_not_the_page() -> None:
    one = scope("p", "/servers", [("name", "x"), ("limit", "3"), ("marker", "m")])
    assert one == scope("p", "/servers", [("limit", "9"), ("name", "x")])
    assert len({one, scope(None, "/servers", [("name", "x")]), scope("p", "/servers/detail", [("name", "x")]),
                scope("p", "/servers", [("name", "y")]), scope("p", "/servers", [])}) == 5  # fmt: skip
