"""What counts as a difference between a real cloud's answer and a fake one's."""

from __future__ import annotations

from typing import Any

import pytest

from sim.compare import Got, Shape, batches, differences, judge
from sim.compare_ask import Ask, V
from sim.compare_calls import AFTER, CALLS


@pytest.mark.parametrize(
    ("real", "fake", "found"),
    [
        ({"a": 1}, {"a": 2}, []),
        ({"a": 1}, {"a": "2"}, [".a: number is string"]),
        ({"a": None}, {"a": "2"}, [".a: null is string"]),
        ({"a": 1, "b": 1}, {"a": 2, "c": 1}, [".b: missing", ".c: too much"]),
        ({"rows": [{"a": 1}, {"a": None, "b": 1}]}, {"rows": [{"a": 1}]}, []),  # b comes and goes
        ({"rows": [{"a": 1}]}, {"rows": [{"a": 1, "b": 1}]}, [".rows[].b: too much"]),
        ({"rows": [{"a": 1}]}, {"rows": []}, []),  # nothing to look at
        ({"rows": [{"a": {"b": 1}}]}, {"rows": [{"a": {}}]}, [".rows[].a.b: missing"]),
        ({"metadata": {"x": "1"}}, {"metadata": {"y": "1"}}, []),  # users' words
        ({"volumes_fast": 1, "volumes": 1}, {"volumes": 1}, []),  # a volume type's
        ({"volumes_links": []}, {}, [".volumes_links: missing"]),
        ([], {}, [".: list is object"]),
    ],
)
def test_differences(real: Any, fake: Any, found: list[str]) -> None:
    assert list(differences(Shape().add(real), Shape().add(fake))) == found


def test_a_status_comes_first_and_a_failed_call_is_never_well() -> None:
    ask = V("demo", "GET /volumes")
    assert judge(ask, Got(200, "json", {}), Got(200, "json", {})) == []
    (line,) = judge(ask, Got(200, "json", {}), Got(404, "json", {"itemNotFound": {}}))
    assert line.startswith("status 200 is 404")
    assert judge(ask, Got(204), Got(204, "json", None)) == ["body empty is json"]
    assert judge(ask, Got(0, "no answer"), Got(0, "no answer")) != []


def test_reads_go_together_and_writes_alone() -> None:
    asks = [V("demo", "GET /a", versions="3.0 3.1"), V("demo", "POST /b"), V("demo", "GET /c", keep="c"), V("demo", "GET /d")]
    got = [[f"{a.call} {v}".strip() for a, v in b] for b in batches(asks) if b]
    assert got == [["GET /a 3.0", "GET /a 3.1"], ["POST /b"], ["GET /c"], ["GET /d"]]


def test_what_a_call_names_was_kept_before() -> None:
    import re

    def words(value: Any) -> set[str]:
        return set(re.findall(r"\{([a-z_]+)\}", str(value)))

    known = {"name", "none", "cloud", *(f"{who}_{what}" for who in ("demo", "other") for what in ("project", "user", "token"))}
    for ask in (*CALLS, *AFTER):
        assert isinstance(ask, Ask) and words((ask.path, ask.body, ask.headers)) <= known, ask.call
        known.add(ask.keep.partition(":")[0])
