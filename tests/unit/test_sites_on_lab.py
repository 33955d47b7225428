"""On the real Keystones, Neutrons and Cinders of the lab: a reader stays a reader. ``CASCADE_LAB_CLOUDS`` names its clouds.yaml."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascade.model.caller import Caller
from cascade.model.site import Site
from cascade.sites.clouds import Clouds
from cascade.sites.discovery import Discovery
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.sites.tokens import Token
from tests.unit.sites_fake import Store, caller

CLOUDS = os.environ.get("CASCADE_LAB_CLOUDS", "")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not CLOUDS or not Path(CLOUDS).exists(), reason="no lab: CASCADE_LAB_CLOUDS names no clouds.yaml"),
]
USER, PROJECT = uuid.uuid4().hex, uuid.uuid4().hex
SITES = ("paris", "tokyo")


def as_(*roles: str) -> Caller:
    return caller(*roles, user=USER, project=PROJECT)


class Lab:
    def __init__(self) -> None:
        self.store = Store(*(Site(name=n, number=i, cloud=n) for i, n in enumerate(SITES, 1)))
        self.sites = Sites(self.store)
        self.clouds = Clouds(CLOUDS)
        self.south = South(self.sites, self.clouds, self.store, master_key=b"t" * 32)

    async def roles(self, site: str, token: Token) -> set[str]:
        """What the site's Keystone says the token is."""
        headers = {"x-subject-token": token.value}
        reply = await self.south.call(site, "identity", "GET", "/v3/auth/tokens", headers=headers, params={"nocatalog": "1"})
        return {r["name"] for r in reply.expect(200).json()["token"]["roles"]}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    it = Lab()
    await it.sites.reload()
    try:
        yield it
        for (kind, _, site), pair in it.store.pairs.rows.items():
            await it.south.call(site, "identity", "DELETE", f"/v3/{kind}s/{pair.site_id}")
    finally:
        await it.south.close()


@pytest.mark.parametrize("site", SITES)
async def test_reader_stays_reader(lab: Lab, site: str) -> None:
    member = await lab.south.shadow.token(site, as_("member", "reader"))
    reader = await lab.south.shadow.token(site, as_("reader"))
    assert await lab.roles(site, member) == {"member", "reader"}
    assert await lab.roles(site, reader) == {"reader"}
    assert member.user_id == reader.user_id
    network = {"network": {"name": "t"}}
    refused = await lab.south.call(site, "network", "POST", "/v2.0/networks", as_=as_("reader"), json=network)
    assert refused.status == 403, refused.body
    if site != "tokyo":  # there Cinder's own (older) default policy lets a reader make volumes: direct or not
        volume = {"volume": {"size": 1, "name": "t"}}
        assert (await lab.south.call(site, "volume", "POST", "/volumes", as_=as_("reader"), json=volume)).status == 403
    made = await lab.south.call(site, "network", "POST", "/v2.0/networks", as_=as_("member", "reader"), json=network)
    ident = made.expect(201).json()["network"]["id"]
    mine = f"/v2.0/networks/{ident}"
    assert (await lab.south.call(site, "network", "GET", mine, as_=as_("reader"))).status == 200
    assert (await lab.south.call(site, "network", "DELETE", mine, as_=as_("reader"))).status == 403
    assert (await lab.south.call(site, "network", "DELETE", mine, as_=as_("member", "reader"))).status == 204
    for service, path in (("compute", "/servers/detail"), ("volume", "/volumes/detail"), ("image", "/v2/images")):
        assert (await lab.south.call(site, service, "GET", path, as_=as_("reader"))).status == 200
    for service, path in (("compute", "/os-hypervisors"), ("identity", "/v3/users")):
        assert (await lab.south.call(site, service, "GET", path, as_=as_("member", "reader"))).status == 403


@pytest.mark.parametrize("site", SITES)
async def test_losses_heal(lab: Lab, site: str) -> None:
    own, who = as_("member"), as_("reader")
    first = await lab.south.shadow.token(site, own)
    assert await lab.roles(site, first) == {"member", "reader"}, "reader comes by Keystone's own implied roles"
    assert lab.store.roles.rows == {}, "all the roles the shadow has: it signs in itself"
    less = await lab.south.shadow.token(site, who)
    assert await lab.roles(site, less) == {"reader"}
    # the credential is deleted at the site: the token dies with it
    (held,) = lab.store.roles.rows.values()
    path = f"/v3/users/{less.user_id}/application_credentials/{held.app_cred_id}"
    (await lab.south.call(site, "identity", "DELETE", path)).expect(204)
    assert (await lab.south.call(site, "volume", "GET", "/volumes", as_=who)).status in (200, 401)  # Cinder may have cached it
    await lab.south.shadow.refused(site, who, less)
    second = await lab.south.shadow.token(site, who)
    assert await lab.roles(site, second) == {"reader"}
    # the database is lost, and then the master key is changed too
    for key in (b"t" * 32, b"u" * 32):
        fresh = Store()
        other = South(lab.sites, lab.clouds, fresh, master_key=key)
        for caller_, roles in ((own, {"member", "reader"}), (who, {"reader"})):
            third = await other.shadow.token(site, caller_)
            assert (third.user_id, third.project_id) == (first.user_id, first.project_id)
            assert await lab.roles(site, third) == roles
        assert fresh.pairs.rows == lab.store.pairs.rows
        await other._transport.close()


async def test_discovery(lab: Lab) -> None:
    discovery = Discovery(lab.sites, lab.south, lab.store)
    await discovery.refresh()
    assert discovery.window("compute")[0] == "2.1"
    assert discovery.target_window("tokyo", "compute") == discovery.window("compute"), "the older site decides"
    assert discovery.zones("paris") == ["nova"]
    assert {"router", "security-group", "trunk"} <= discovery.extensions("paris")
    for target in ("hub", *SITES):
        assert {"compute", "volume", "network", "image", "identity"} <= lab.south.base_urls(target).keys()
