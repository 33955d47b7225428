"""Aggregates over sites: whatever combines is what one Gnocchi with all the series would say; what does not is refused."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.routing import series
from cascade.routing.series import Ask, Node, NotCombinable, Series

G = 60.0
INNER = "(metric load mean)"
VALUE = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
ONE = st.dictionaries(st.integers(0, 5), VALUE, min_size=1)
SITES = st.lists(st.lists(ONE, min_size=1, max_size=4), min_size=1, max_size=4)
REFERENCE: Mapping[str, Callable[[list[float]], float]] = {
    "sum": sum, "count": len, "min": min, "max": max, "mean": statistics.fmean, "var": statistics.pvariance,
    "std": statistics.pstdev,
}  # fmt: skip


def gnocchi(part: str, held: list[dict[int, float]]) -> dict[int, float]:
    """What one Gnocchi says of its series: at every time that any of them knows, over those that know it."""
    times = {t for one in held for t in one}
    return {t: float(REFERENCE[part]([one[t] for one in held if t in one])) for t in times}


def points(values: Mapping[int, float]) -> Series:
    return {(G, f"2026-11-24T00:0{t}:00+00:00"): v for t, v in values.items()}


def over(tree: Node, sites: list[list[dict[int, float]]]) -> Any:
    return series.evaluate(tree, {ask: [points(gnocchi(ask.part, held)) for held in sites] for ask, _ in series.asks(tree)})


@pytest.mark.parametrize("how", sorted(REFERENCE))
@given(sites=SITES)
def test_sites_together_are_one_gnocchi(how: str, sites: list[list[dict[int, float]]]) -> None:
    whole = points(gnocchi(how, [one for held in sites for one in held]))
    got = over(series.parse(f"(aggregate {how} {INNER})"), sites)
    assert got.keys() == whole.keys()
    assert [got[p] for p in whole] == pytest.approx(list(whole.values()), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("how", sorted(REFERENCE))
@given(sites=SITES)
def test_a_rate_is_the_difference_of_what_is_combined(how: str, sites: list[list[dict[int, float]]]) -> None:
    whole = points(gnocchi(how, [one for held in sites for one in held]))
    times = sorted(whole)
    wanted = [whole[b] - whole[a] for a, b in itertools.pairwise(times)]
    got = over(series.parse(f"(aggregate rate:{how} {INNER})"), sites)
    assert list(got) == times[1:]
    assert list(got.values()) == pytest.approx(wanted, rel=1e-6, abs=2e-3)


def test_a_mean_of_means_would_be_wrong() -> None:
    got = over(series.parse(f"(aggregate mean {INNER})"), [[{0: 1.0}, {0: 2.0}], [{0: 30.0}]])
    assert list(got.values()) == [11.0]


@pytest.mark.parametrize("text", [
    "(aggregate median (metric a mean))", "(aggregate rate:median (metric a mean))",
    "(aggregate mean (rolling mean 2 (metric a mean)))", "(aggregate sum (resample mean 60 (metric a mean)))",
    "(aggregate sum (rateofchange (metric a mean)))", "(rolling mean 2 (aggregate sum (metric a mean)))",
    "(aggregate sum (+ (metric a mean) (metric b mean)))", "(aggregate sum (aggregate mean (metric a mean)))",
    "(+ (metric a mean) (metric b mean))",
])  # fmt: skip
def test_what_has_no_parts_is_refused(text: str) -> None:
    with pytest.raises(NotCombinable):
        series.asks(series.parse(text))


def test_arithmetic_stands_above_and_below_an_aggregate() -> None:
    tree = series.parse("(/ (aggregate sum (* (metric a mean) 2)) (aggregate count (metric a mean)))")
    below = "(* (metric a mean) 2.0)"
    assert {a for a, _ in series.asks(tree)} == {Ask("sum", below), Ask("count", "(metric a mean)")}
    at = (G, "t")
    got = series.evaluate(
        tree, {Ask("sum", below): [{at: 4.0}, {at: 8.0}], Ask("count", "(metric a mean)"): [{at: 1.0}, {at: 2.0}]}
    )
    assert got == {at: 4.0}


def test_division_by_zero_has_no_point() -> None:
    tree = series.parse("(/ 1 (aggregate sum (metric a mean)))")
    assert series.evaluate(tree, {Ask("sum", "(metric a mean)"): [{(G, "t"): 0.0, (G, "u"): 2.0}]}) == {(G, "u"): 0.5}


@pytest.mark.parametrize("how", ["mean", "var", "std"])
def test_a_count_of_nothing_has_no_part(how: str) -> None:
    """Somebody measured no number: there is a time, and nothing at it."""
    tree, inner = series.parse(f"(aggregate {how} (metric a mean))"), "(metric a mean)"
    said = {"sum": [0.0, 6.0], "count": [0.0, 2.0], "var": [math.nan, 0.0]}
    times = {part: [{(G, "t"): values[0]}, {(G, "t"): values[1]}] for part, values in said.items()}
    wanted = {(G, "t"): 3.0 if how == "mean" else 0.0}
    assert series.evaluate(tree, {Ask(part, inner): times[part] for part in series.PARTS[how]}) == wanted
    assert series.evaluate(tree, {Ask(part, inner): times[part][:1] for part in series.PARTS[how]}) == {}


def test_what_is_too_large_has_no_point() -> None:
    tree = series.parse("(aggregate sum (metric a mean))")
    assert series.evaluate(tree, {Ask("sum", "(metric a mean)"): [{(G, "t"): 1.7e308}, {(G, "t"): 1.7e308}]}) == {}


def test_a_time_that_only_one_answer_knows_is_not_said() -> None:
    tree, inner = series.parse("(aggregate mean (metric a mean))"), "(metric a mean)"
    parts = {Ask("sum", inner): [{(G, "t"): 4.0}], Ask("count", inner): [{(G, "t"): 2.0, (G, "u"): 1.0}]}
    assert series.evaluate(tree, parts) == {(G, "t"): 2.0}


def test_granularities_that_one_site_lacks_are_left_out() -> None:
    coarse, fine = {(300.0, "t"): 1.0}, {(60.0, "t"): 1.0}
    assert series.in_common([coarse | fine, coarse, {}]) == {300.0}
    assert series.written(coarse | fine, {300.0}) == [["t", 300.0, 1.0]]


def test_each_site_is_asked_for_its_own_metrics() -> None:
    tree = series.parse("(* (metric (a mean) (b max)) 2)")
    assert series.references(tree) == [("a", "mean"), ("b", "max")]
    assert series.render(series.restricted(tree, {"b"}.__contains__)) == "(* (metric b max) 2.0)"
    assert series.restricted(tree, set().__contains__) is None


@pytest.mark.parametrize("given_", ["(aggregate", "mean", ")", "", "(a) (b)", [], [None], {"a": 1}, [True], ["metric", None]])
def test_what_is_no_operation_is_said_so(given_: object) -> None:
    with pytest.raises(ValueError):
        assert isinstance(series.parse(given_), list)
        raise AssertionError
