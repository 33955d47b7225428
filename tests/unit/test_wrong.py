"""Wrong requests: what is made of a right one, that the choice is the same again, and what a comparison says."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from lab.parity.wrong import bodies
from lab.parity.wrong.cases import Case, choose
from lab.parity.wrong.seeds import SEEDS
from lab.parity.wrong.seeds.seed import Seed
from lab.parity.wrong.verdict import REASONS, Row, Seen, classes, reason, sums
from lab.raw import Answer

SCHEMA = {
    "type": "object",
    "properties": {
        "thing": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 5},
                "kind": {"enum": ["a", "b"]},
                "size": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+$"}]},
            },
        }
    },
}
SEED = Seed("compute", "POST", "/things", {"thing": {"name": "n", "list": [1]}}, "things.create", version="2.96")
SCHEMAS: Any = {"things.create": SCHEMA}


def made() -> dict[str, list[Any]]:
    """Class and place of each mutation of SEED -> its bodies, decoded."""
    out: dict[str, list[Any]] = {}
    for kind, where, raw in bodies.mutations(SEED.body, SCHEMA):
        if kind != "not the body":
            out.setdefault(f"{kind}: {where}", []).append(json.loads(raw))
    return out


def test_a_body_is_mutated_everywhere() -> None:
    found = made()
    assert found["dropped: thing.name"] == [{"thing": {"list": [1]}}]
    assert found["renamed: thing.name"] == [{"thing": {"list": [1], "name_": "n"}}]
    assert found["negative: thing.list.0"] == [{"thing": {"name": "n", "list": [-1]}}]
    assert found["unknown key: thing"][0]["thing"]["nonesuch"] == {"a": [1]}
    assert found["surrogate: thing.name"][0]["thing"]["name"] == "a\ud800b"
    doubled = next(raw for kind, where, raw in bodies.mutations(SEED.body, None) if (kind, where) == ("twice", "thing.name"))
    assert doubled.count(b'"name"') == 2


def test_a_schema_is_violated_also_where_the_body_says_nothing() -> None:
    found = made()
    assert found["schema: maxLength: thing.name"] == [{"thing": {"name": "xxxxxx", "list": [1]}}]
    assert found["schema: enum: thing.kind"][0]["thing"]["kind"] == "nonesuch"
    assert found["schema: minimum: thing.size"][0]["thing"]["size"] == 0
    assert found["schema: additionalProperties: thing"] == [{"thing": {"nonesuch": 1}}]


def test_the_same_seed_chooses_the_same() -> None:
    one, again, other = (choose(SEEDS["network"], _Any(), seed=s, count=300) for s in ("1", "1", "2"))
    assert one == again and one != other and len(one) == 300
    turns = Counter(id(case.seed) for case in one)
    assert len(turns) == len(SEEDS["network"]) and max(turns.values()) - min(turns.values()) <= 1
    assert len({case.kind for case in one}) > 30


@pytest.mark.parametrize("service", SEEDS)
def test_there_are_enough(service: str) -> None:
    """At least a thousand over all services, and no administrator ever makes what kills a Keystone."""
    cases = choose(SEEDS[service], _Any(), seed="x", count=100_000)
    assert len(cases) > 1000 and len({c.name for c in cases}) > 800
    assert not [c for c in cases if c.seed.account == "admin" and c.kind == "surrogate"]


class _Any(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        return {}


def row(direct: tuple[int, Any], ours: tuple[int, Any], what: str = "x", **kw: Any) -> Row:
    case = Case(kw.pop("seed", SEED), kw.pop("kind", "dropped"), what, kw.pop("method", "POST"), "/things", None)
    answers = [Seen.of(case, Answer(status, {}, json.dumps(doc).encode())) for status, doc in (direct, ours)]
    return Row(case, *answers)


BAD = {"badRequest": {"code": 400, "message": "one"}}


def test_words_are_not_compared_but_status_and_shape_are() -> None:
    assert row((400, BAD), (400, {"badRequest": {"code": 400, "message": "another"}})).same
    assert not row((400, BAD), (400, {"message": "x", "code": "400 Bad Request", "title": "Bad Request"})).same
    assert not row((400, BAD), (404, BAD)).same and not row((400, BAD), (202, {})).same
    assert row((500, {}), (400, BAD)).same and row((0, {}), (504, BAD)).same and not row((500, {}), (200, {})).same


def test_a_servers_error_of_ours_is_never_excused_in_general() -> None:
    crash = row((400, BAD), (500, {}), "FOO", kind="method")
    assert crash.crash and reason(crash) == ""
    refused = row((404, BAD), (400, {}), "FOO", kind="method")
    assert reason(refused) == REASONS[0].why
    line = sums([crash, refused, row((400, BAD), (400, BAD))])["compute"]
    assert (line.sent, line.same, line.excused, line.different, line.crashes) == (3, 1, 1, 1, 1)
    assert [alike for _, alike in classes([crash, refused])] == [[crash]]
