"""Exactly the roles of the north token, whatever happened at the site or to the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cascade.model.errors import BadReply, Fault, Terminal
from cascade.sites.secrets import Secrets, roles_hash
from cascade.sites.tokens import Token
from tests.unit.sites_fake import Store, World, caller, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as it:
        yield it


def roles_of(w: World, token: str) -> set[str]:
    return set(w.site.tokens[token]["roles"])


async def as_reader(w: World) -> Token:
    """The token of a reader who is a member as well: of a credential, since his shadow has both roles."""
    await w.south.shadow.token("paris", caller("member"))
    return await w.south.shadow.token("paris", caller("reader"))


async def test_one_role_set_needs_no_credential(w: World) -> None:
    """Services at the site may exchange his token for another (Cinder does, to detach): Keystone lets no credential's be."""
    token = await w.south.shadow.token("paris", caller("member"))
    assert roles_of(w, token.value) == {"member", "reader"}  # implied there
    assert not w.site.credentials and not w.store.roles.rows
    user = w.site.users[token.user_id]
    assert user["password"] not in repr(w.store.pairs.rows)


async def test_reader_stays_reader(w: World) -> None:
    """The same user, first as member and then as reader: the second token has nothing of the first."""
    member = await w.south.shadow.token("paris", caller("member", "reader"))
    reader = await w.south.shadow.token("paris", caller("reader"))
    again = await w.south.shadow.token("paris", caller("reader", "member"))
    assert roles_of(w, member.value) == {"member", "reader"}
    assert roles_of(w, reader.value) == {"reader"}
    assert again.value == member.value
    assert reader.user_id == member.user_id
    assert {tuple(r["name"] for r in c["roles"]) for c in w.site.credentials.values()} == {("reader",)}


async def test_what_stands_at_the_site(w: World) -> None:
    token = await w.south.shadow.token("paris", caller("member"))
    (domain,) = w.site.domains.values()
    assert domain["name"] == "cascade"
    project = w.site.projects[str(token.project_id)]
    assert (project["name"], project["description"], project["domain_id"]) == ("p" * 32, "cascade:" + "p" * 32, domain["id"])
    user = w.site.users[token.user_id]
    assert user["name"] == "u" * 32
    assert set(user["options"]) == {
        "ignore_password_expiry", "ignore_lockout_failure_attempts", "ignore_change_password_upon_first_use",
        "ignore_user_inactivity",
    }  # fmt: skip
    assert all(v is True for v in user["options"].values())
    pair = w.store.pairs.rows["project", "p" * 32, "paris"]
    assert (pair.site_id, pair.project_id) == (token.project_id, "p" * 32)
    assert w.store.pairs.rows["user", "u" * 32, "paris"].site_id == token.user_id
    await as_reader(w)
    (credential,) = w.site.credentials.values()
    assert roles_hash(["reader"]) in credential["name"]
    assert credential["unrestricted"] is False
    (kept,) = w.store.roles.rows.values()
    assert credential["secret"] not in repr(kept)
    assert user["password"] not in repr(kept)


async def test_one_login_for_a_herd(w: World) -> None:
    found = await asyncio.gather(*(w.south.shadow.token("paris", caller("member")) for _ in range(50)))
    assert len({t.value for t in found}) == 1
    assert (w.site.logins("password"), w.site.logins("application_credential")) == (1, 0)
    assert len(w.site.projects) == len(w.site.users) == 2


async def test_many_users_at_once_share_one_project(w: World) -> None:
    found = await asyncio.gather(*(w.south.shadow.token("paris", caller("member", user=f"{n:032x}")) for n in range(20)))
    assert len({t.user_id for t in found}) == 20
    assert len({t.project_id for t in found}) == 1


async def test_two_gateways_at_once(w: World) -> None:
    """Neither sees the other's rows before both have begun."""
    first, second = w.another(Store()), w.another(Store())
    a, b = await asyncio.gather(first.shadow.token("paris", caller("member")), second.shadow.token("paris", caller("member")))
    assert (a.user_id, a.project_id) == (b.user_id, b.project_id)
    await asyncio.gather(*(s.shadow.token("paris", caller("reader")) for s in (first, second)))
    assert len(w.site.credentials) == 1


async def test_second_process_makes_nothing_new(w: World) -> None:
    await as_reader(w)
    before = w.site.logins("password")
    await w.another().shadow.token("paris", caller("reader"))
    assert (w.site.logins("password"), w.site.logins("application_credential")) == (before, 2)


async def test_lost_database(w: World) -> None:
    old = await as_reader(w)
    fresh = Store()
    new = await w.another(fresh).shadow.token("paris", caller("reader"))
    assert (new.user_id, new.project_id) == (old.user_id, old.project_id)
    assert len(w.site.credentials) == 1
    assert fresh.pairs.rows == w.store.pairs.rows


async def test_changed_master_key(w: World) -> None:
    old = await as_reader(w)
    new = await w.another(master_key=b"x" * 32).shadow.token("paris", caller("reader"))
    assert new.user_id == old.user_id
    (kept,) = w.store.roles.rows.values()
    assert kept.version == 2
    assert len(w.site.credentials) == 1, "the one that works no more is gone"


async def test_deleted_credential_is_made_anew(w: World) -> None:
    token = await as_reader(w)
    w.site.credentials.clear()
    await w.south.shadow.refused("paris", caller("reader"), token)
    await w.south.shadow.token("paris", caller("reader"))
    (kept,) = w.store.roles.rows.values()
    assert kept.version == 2


async def test_taken_role_is_assigned_again(w: World) -> None:
    token = await w.south.shadow.token("paris", caller("member", "reader"))
    w.site.grants.discard((str(token.project_id), token.user_id, "role-member"))
    await w.south.shadow.refused("paris", caller("member", "reader"), token)
    again = await w.south.shadow.token("paris", caller("member", "reader"))
    assert roles_of(w, again.value) == {"member", "reader"}


async def test_deleted_project_and_user_come_back(w: World) -> None:
    token = await w.south.shadow.token("paris", caller("member"))
    del w.site.projects[str(token.project_id)], w.site.users[token.user_id]
    w.site.credentials.clear()
    await w.south.shadow.refused("paris", caller("member"), token)
    again = await w.south.shadow.token("paris", caller("member"))
    assert again.project_id != token.project_id
    assert again.user_id != token.user_id
    assert w.store.pairs.rows["project", "p" * 32, "paris"].site_id == again.project_id


async def test_disabled_shadow_user_stays_disabled(w: World) -> None:
    token = await w.south.shadow.token("paris", caller("member"))
    w.site.users[token.user_id]["enabled"] = False
    w.site.credentials.clear()
    await w.south.shadow.refused("paris", caller("member"), token)
    with pytest.raises(Fault) as e:
        await w.south.shadow.token("paris", caller("member"))
    assert e.value.status == 403
    assert w.site.users[token.user_id]["enabled"] is False


async def test_unknown_roles(w: World) -> None:
    token = await w.south.shadow.token("paris", caller("reader", "auditor"))
    assert roles_of(w, token.value) == {"reader"}
    for who in (caller("auditor"), caller("member", project=None)):
        with pytest.raises(Fault) as e:
            await w.south.shadow.token("paris", who)
        assert e.value.status == 403


async def test_implied_roles_are_the_sites_own_business(w: World) -> None:
    w.site.roles["auditor"] = "role-auditor"
    w.site.implies["reader"] = ["auditor"]
    token = await w.south.shadow.token("paris", caller("member"))
    assert roles_of(w, token.value) == {"member", "reader", "auditor"}


async def test_a_credential_that_gives_more_is_replaced(w: World) -> None:
    await as_reader(w)
    (credential,) = w.site.credentials.values()
    credential["roles"].append({"id": "role-member", "name": "member"})
    w.site.grants |= {(credential["project"], credential["user"], "role-member")}
    token = await w.another().shadow.token("paris", caller("reader"))
    assert roles_of(w, token.value) == {"reader"}
    assert credential["id"] not in w.site.credentials


async def test_a_site_that_always_gives_more_is_not_used(w: World) -> None:
    """Its rule is not among those it tells: no token with more roles than asked for is ever used."""

    async def no_rules(_: web.Request) -> web.StreamResponse:
        return web.json_response({"role_inferences": []})

    w.site.implies["reader"] = ["admin"]
    w.site.extra["GET", "/v3/role_inferences"] = no_rules
    with pytest.raises(BadReply, match="roles"):
        await w.south.shadow.token("paris", caller("reader"))


async def test_foreign_project_of_our_name_is_not_adopted(w: World) -> None:
    w.site.domains["d"] = {"id": "d", "name": "cascade"}
    w.site.projects["f"] = {"id": "f", "name": "p" * 32, "domain_id": "d", "description": "mine"}
    with pytest.raises(Terminal):
        await w.south.shadow.project("paris", "p" * 32)


async def test_cap_of_logins_per_site(w: World) -> None:
    running = peak = 0
    serve = w.site._login

    async def slow(request: object) -> object:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1
        return serve((await request.json())["auth"])  # type: ignore[attr-defined]

    w.site.extra["POST", "/v3/auth/tokens"] = slow
    await asyncio.gather(*(w.south.shadow.token("paris", caller("member", user=f"{n:032x}")) for n in range(20)))
    assert peak <= 4


async def test_shared_site_has_no_shadows(tmp_path: Path) -> None:
    async with world(tmp_path, identity="shared") as w:
        assert await w.south.shadow.project("paris", "p" * 32) == "p" * 32
        assert await w.south.shadow.user("paris", caller()) == "u" * 32
        assert not w.site.seen


parts = st.tuples(st.text(max_size=5), st.text(max_size=5))


@given(parts, parts)
def test_secrets_differ_by_what_they_are_for(a: tuple[str, str], b: tuple[str, str]) -> None:
    secrets = Secrets(b"k" * 32)
    assert (secrets.password(*a) == secrets.password(*b)) == (a == b)
    assert secrets.password(*a) == Secrets(b"k" * 32).password(*a) != Secrets(b"x" * 32).password(*a)
    assert secrets.credential(*a, "p", ["m"], 1) != secrets.credential(*a, "p", ["r"], 1)
    assert secrets.credential(*a, "p", ["m", "r"], 1) == secrets.credential(*a, "p", ["r", "m"], 1)


def test_short_master_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Secrets(b"short")
