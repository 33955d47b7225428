"""Servers accepted before their image's bits are at the site: made once, or never, or shown as failed, whoever dies when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cascade.model.caller import Caller
from cascade.model.errors import Fault, SiteTimeout, SiteUnreachable
from cascade.reconcile import building
from cascade.reconcile.copies import NotActive
from cascade.reconcile.watch import GIVEN_UP, Watch
from cascade.sites.buildrequest import BuildRequest, Seals
from cascade.store.intents import FAILED, Intent
from tests.unit.watch_fake import World, a_world, heir_of

SITE_ID = "5f0c2d3e-0000-4000-8000-000000000001"
OTHER_ID = "5f0c2d3e-0000-4000-8000-000000000002"
IMAGE = "aaaaaaaa-0000-4000-8000-000000000001"
THERE = "bbbbbbbb-0000-4000-8000-000000000001"
MADE: tuple[int, Any] = (202, {"server": {"id": SITE_ID}})
SECRETS = ("c2VjcmV0", "hunter2")
WHO = Caller(
    token="a-token-of-ann", user_id="u", user_name="ann", user_domain_id="default", project_id="p", project_name="p",
    project_domain_id="default", roles=frozenset({"member"}), expires_at=0.0,
)  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        yield found


def request() -> BuildRequest:
    body = {"server": {"name": "n", "imageRef": IMAGE, "user_data": SECRETS[0], "adminPass": SECRETS[1]}}
    return BuildRequest(
        user_id="u", user_name="ann", user_domain_id="default", project_id="p", project_name="p", project_domain_id="default",
        roles=["member"], version="2.90", body=body, images=[IMAGE], server=body["server"], description=None, hints={},
        group=None, flavor={"id": "42"}, properties={},
    )  # fmt: skip


async def accepted(world: World, a: Watch) -> tuple[Intent, str]:
    """One build request of ``a``'s process."""
    intent = await world.create(a, state="new")
    ident = await a.building.begin(intent, request(), WHO, user_ports=["mine"])
    return await a._store.intents.get(intent.id), ident


def posts(world: World) -> int:
    return sum(m == "POST" and p == "/servers" for m, p, _ in world.site.asked)


async def state(a: Watch, intent: Intent) -> str:
    return (await a._store.intents.get(intent.id)).state


async def delete(a: Watch, ident: str) -> None:
    entry = await a._store.index.get("server", ident)
    assert entry is not None
    await a.withdraw(entry, "r2")


async def test_known_at_once(world: World) -> None:
    """From the 202 on it has its id, its place and its quota; nothing is asked of the site."""
    a = await world.process()
    intent, ident = await accepted(world, a)
    entry = await a._store.index.get("server", ident)
    assert entry is not None and (entry.site, entry.project_id) == ("paris", "p")
    assert await world.round(a) == 0
    assert await state(a, intent) == building.WAITING and world.site.asked == []
    assert await a._store.ledger.usage("p") == {"instances": 1}
    await a._store.ledger.release(ident)
    assert await a._store.ledger.usage("p") == {}  # it was counted under its own id, once
    await a.close()


async def test_no_secret_in_the_database(world: World) -> None:
    a = await world.process()
    intent, _ = await accepted(world, a)
    async with a._store._session.engine.connect() as c:
        rows = str([tuple(r) for r in await c.execute(text("select * from intents"))])
    assert intent.id in rows and not any(s in rows for s in (*SECRETS, WHO.token))
    await a.close()


async def test_another_master_key_opens_nothing(world: World) -> None:
    assert Seals(b"x" * 32).open(world.site.seals.seal(request())) is None
    assert world.site.seals.open(world.site.seals.seal(request())) == request()


async def test_made_when_the_bits_are_there(world: World) -> None:
    """One POST; from then on the north id is one of a pair, and the watch asks for the site's."""
    a = await world.process()
    intent, ident = await accepted(world, a)
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": MADE, f"/servers/{SITE_ID}": (200, {"server": {"status": "BUILD"}})}
    await world.round(a)
    assert await a._store.pairs.at("server", ident, "paris") == SITE_ID
    assert await state(a, intent) == "accepted"
    await world.round(a)
    assert posts(world) == 1 and set(world.ports.owned) == {ident}
    assert await a._store.ledger.usage("p") == {"instances": 1}
    await world.later(GIVEN_UP - 10)  # a copy may take hours: the build has its own hour
    await world.round(a)
    assert await state(a, intent) == "owned"
    world.site.answers[f"/servers/{SITE_ID}"] = (200, {"server": {"status": "ACTIVE"}})
    assert await world.round(a) == 1
    assert await a._store.intents.pending() == []
    await a.close()


async def test_the_body_names_the_sites_image(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = await world.process()
    await accepted(world, a)
    world.images.there[IMAGE] = THERE
    sent: list[Any] = []

    async def call(*args: Any, json: Any = None, as_: Any = None, version: Any = None, **_: Any) -> Any:
        sent.append((args[2:4], json, as_, version))
        raise SiteTimeout("paris", "slow")

    monkeypatch.setattr(world.site, "call", call)
    await world.round(a)
    (what, body, who, version), *_ = sent
    assert what == ("POST", "/servers") and version == "2.90" and who == WHO
    assert body["server"]["imageRef"] == THERE and body["server"]["user_data"] == SECRETS[0]
    await a.close()


async def test_an_heir_carries_on(world: World) -> None:
    """Killed while the image travels: the next process makes it, as the user, without a token."""
    a = await world.process()
    intent, ident = await accepted(world, a)
    b = await heir_of(world, a)
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": MADE, f"/servers/{SITE_ID}": (200, {"server": {"status": "BUILD"}})}
    await world.round(b)
    await world.round(a)
    assert posts(world) == 1 and await state(b, intent) in ("accepted", "owned")
    assert await b._store.pairs.at("server", ident, "paris") == SITE_ID
    await b.close()


@pytest.mark.parametrize("paired", [False, True])
async def test_killed_around_the_post(world: World, paired: bool) -> None:
    """The site has the server, its answer was lost or not yet written down: found by its stamp, not made again."""
    a = await world.process()
    intent, ident = await accepted(world, a)
    assert await a._store.intents.swap(intent.id, (building.WAITING,), building.SENDING)
    if paired:
        await a.building._arrived(intent, SITE_ID)
        await a._store.intents.update(intent.id, state=building.SENDING)
    b = await heir_of(world, a)
    world.images.there[IMAGE] = THERE
    world.site.answers = {"/servers": (200, {"servers": [{"id": SITE_ID}]})}
    await world.round(b)
    assert posts(world) == 0 and ("all_tenants", "1") in world.site.asked[0][2]
    assert ("tags", f"cascade.{ident}") in world.site.asked[0][2]
    assert await b._store.pairs.at("server", ident, "paris") == SITE_ID and await state(b, intent) == "accepted"
    assert await b._store.ledger.usage("p") == {"instances": 1}
    await b.close()


async def test_a_post_that_never_arrived_is_made_again(world: World) -> None:
    a = await world.process()
    intent, _ = await accepted(world, a)
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": SiteTimeout("paris", "slow"), "/servers": (200, {"servers": []})}
    await world.round(a)
    await world.round(a)
    assert await state(a, intent) == building.SENDING and posts(world) == 1
    await world.later(building.LOST_AFTER + 1)
    await world.round(a)
    assert await state(a, intent) == building.WAITING
    world.site.answers = {"POST /servers": MADE}
    await world.round(a)
    assert posts(world) == 2 and await state(a, intent) == "accepted"
    await a.close()


async def test_refused_a_connection(world: World) -> None:
    """Nothing was sent: it waits on, and the next look sends it."""
    a = await world.process()
    intent, _ = await accepted(world, a)
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": SiteUnreachable("paris", "refused")}
    with pytest.raises(SiteUnreachable):
        await world.round(a)
    assert await state(a, intent) == building.WAITING
    await a.close()


async def test_a_late_twin_goes(world: World) -> None:
    """A process taken for dead learns of its server after another was made in its place."""
    a = await world.process()
    intent, ident = await accepted(world, a)
    await a._store.intents.swap(intent.id, (building.WAITING,), building.SENDING)
    await a.building._arrived(intent, SITE_ID)
    world.site.answers = {f"DELETE /servers/{OTHER_ID}": (204, None)}
    await a.building._arrived(intent, OTHER_ID)
    assert [(m, p) for m, p, _ in world.site.asked] == [("DELETE", f"/servers/{OTHER_ID}")]
    assert await a._store.pairs.at("server", ident, "paris") == SITE_ID
    await a.close()


FAILURES: list[tuple[Any, Any, int, str]] = [
    (NotActive(IMAGE), MADE, 400, f"Image {IMAGE} is not active."),
    (Fault(500, "no"), MADE, 500, "no"),
    (THERE, (400, {"badRequest": {"code": 400, "message": f"Flavor's disk is too small for image {THERE}"}}), 400, IMAGE),
    (THERE, (403, {"forbidden": {"code": 403, "message": "Quota exceeded"}}), 403, "Quota exceeded"),
    (THERE, (401, {"error": {"code": 401, "message": "?"}}), 401, "The token this server was asked for with ended"),
]


@pytest.mark.parametrize(("bits", "answer", "status", "message"), FAILURES)
async def test_failed(world: World, bits: Any, answer: Any, status: int, message: str) -> None:
    """Kept and counted with its fault until it is deleted; its ports go. Nobody looks at it again."""
    a = await world.process()
    await a._store.pairs.put(building.Pair(kind="image", hub_id=IMAGE, site="paris", site_id=THERE, project_id=None))
    intent, ident = await accepted(world, a)
    world.images.there[IMAGE] = bits
    world.site.answers = {"POST /servers": answer}
    await world.round(a)
    failed = await a._store.intents.get(intent.id)
    fault = a.building.fault(failed)
    assert failed.state == FAILED and fault is not None
    assert fault["code"] == status and message in fault["message"] and THERE not in fault["message"]
    assert world.ports.released == [intent.id]
    assert await a._store.intents.unsettled("paris") == []
    assert await a._store.ledger.usage("p") == {"instances": 1}
    await delete(a, ident)
    assert await a._store.ledger.usage("p") == {} and await a._store.intents.pending() == []
    assert await a._store.index.get("server", ident) is None
    await a.close()


async def test_a_proxys_word_is_no_refusal(world: World) -> None:
    a = await world.process()
    intent, _ = await accepted(world, a)
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": (503, {})}
    await world.round(a)
    assert await state(a, intent) == building.SENDING
    await a.close()


async def test_deleted_while_it_waits_by_another_process(world: World) -> None:
    """Never made, nothing left, and the process that waits for the image finds nothing to do."""
    a, b = await world.process(), await world.process()
    intent, ident = await accepted(world, a)
    await delete(b, ident)
    assert await b._store.intents.pending() == [] and await b._store.ledger.usage("p") == {}
    assert intent.id in world.ports.released
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": MADE}
    await a.building.step(intent, a._stamped)  # it had read the intent before
    assert posts(world) == 0
    await a.close()
    await b.close()


async def test_killed_in_the_middle_of_a_withdrawal(world: World) -> None:
    a = await world.process()
    intent, ident = await accepted(world, a)
    entry = await a._store.index.get("server", ident)
    assert entry is not None
    await a.begin_delete("server.delete", entry, "r2", building.LATER)
    assert await a.building.withdraw(intent)
    b = await heir_of(world, a)
    world.images.there[IMAGE] = THERE
    await world.round(b)
    assert posts(world) == 0 and await b._store.intents.pending() == [] and await b._store.ledger.usage("p") == {}
    await b.close()


async def test_deleted_while_it_is_sent(world: World) -> None:
    """Nobody knows whether the site has it: it goes as soon as it is found there, and counts until it is gone."""
    a = await world.process()
    intent, ident = await accepted(world, a)
    await a._store.intents.swap(intent.id, (building.WAITING,), building.SENDING)
    await delete(a, ident)
    assert await state(a, intent) == building.SENDING and await a._store.ledger.usage("p") == {"instances": 1}
    gone = {f"DELETE /servers/{SITE_ID}": (204, None)}
    world.site.answers = {"/servers": (200, {"servers": [{"id": SITE_ID}]}), f"/servers/{SITE_ID}": (404, {}), **gone}
    for _ in range(4):
        await world.round(a)
    assert ("DELETE", f"/servers/{SITE_ID}", None) in world.site.asked
    assert await a._store.intents.pending() == [] and await a._store.ledger.usage("p") == {}
    assert await a._store.index.get("server", ident) is None
    await a.close()


async def test_sent_or_deleted_but_never_both(world: World) -> None:
    """The delete in one process and the send in another start from the same state; one of them wins."""
    a, b = await world.process(), await world.process()
    world.images.there[IMAGE] = THERE
    world.site.answers = {"POST /servers": MADE}
    for _ in range(10):
        intent, _ident = await accepted(world, a)
        await a._store.pairs.drop("server", _ident, "paris")
        before = posts(world)
        _, withdrawn = await asyncio.gather(a.building._send(intent), b.building.withdraw(intent))
        assert (posts(world) - before == 1) is not withdrawn
        await a._store.intents.close(intent.id)
        for pair in await a._store.pairs.all("server"):
            await a._store.pairs.drop("server", pair.hub_id, pair.site)
    await a.close()
    await b.close()


@pytest.mark.parametrize(
    ("tags", "north"),
    [
        (["x", f"cascade.{OTHER_ID}"], OTHER_ID),
        ([f"cascade.{OTHER_ID.replace('-', '')}"], None),  # an ordinary create's: the server's id is its own
        (["cascade.mine", "cascade."], None),
        ([], None),
    ],
)
def test_the_north_id_in_the_tags(tags: list[str], north: str | None) -> None:
    assert building.north_of(tags) == north
