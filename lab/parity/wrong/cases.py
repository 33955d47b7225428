"""A seeded choice among all wrong requests: each operation and each class of mutation has its turn. Pure."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.parity.wrong import bodies, envelopes
from lab.parity.wrong.seeds.seed import Seed

_POISON = frozenset({"surrogate"})
"""Never in what an administrator makes: Keystone keeps half a character in a service's name, answers 500, and from then on to
every login as well, since each token's catalogue shows that name."""


@dataclass(frozen=True)
class Case:
    """One wrong request, before the things of a side are filled in."""

    seed: Seed
    kind: str
    """The class of its mutation: ``dropped``, ``schema: maxLength``, ``query``..."""
    what: str
    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For reports."""
        who = "" if self.seed.account == "member" else f" ({self.seed.account})"
        return f"{self.seed.name}{who}: {self.kind}: {self.what}"[:200]


def of(seed: Seed, schemas: Mapping[str, Any]) -> Iterator[Case]:
    """Everything that is done to one right request. Raises KeyError for a schema that is not there."""
    body = None if seed.body is None else json.dumps(seed.body).encode()
    if seed.body is not None:
        schema = schemas[seed.schema] if seed.schema else None
        for kind, where, raw in bodies.mutations(seed.body, schema):
            if seed.account == "admin" and kind in _POISON:
                continue
            yield Case(seed, kind, where, seed.method, seed.path, raw)
    for kind, what, method, path, headers in envelopes.wrong(seed):
        yield Case(seed, kind, what, method, path, body, headers)


def choose(seeds: Sequence[Seed], schemas: Mapping[str, Any], *, seed: str, count: int) -> list[Case]:
    """``count`` cases, the same ones for the same ``seed``: by turns one of each operation, each time of another class."""
    chance = random.Random(seed)
    queues = [_by_turns(of(one, schemas), chance) for one in seeds]
    chance.shuffle(queues)
    out: list[Case] = []
    while queues and len(out) < count:
        for queue in list(queues):
            case = next(queue, None)
            if case is None:
                queues.remove(queue)
            elif len(out) < count:
                out.append(case)
    return out


def _by_turns(cases: Iterable[Case], chance: random.Random) -> Iterator[Case]:
    classes: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        classes[case.kind].append(case)
    for rows in classes.values():
        chance.shuffle(rows)
    while classes:
        kinds = sorted(classes)
        chance.shuffle(kinds)
        for kind in kinds:
            yield classes[kind].pop()
            if not classes[kind]:
                del classes[kind]
