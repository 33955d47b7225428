"""clouds.yaml: endpoints by type, region and interface; one login; refusals remembered for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openstack.config import OpenStackConfig

from cascade.model.errors import BadReply, SiteTimeout, SiteUnreachable
from cascade.sites.clouds import Clouds
from tests.unit.sites_fake import QUICK, Fake, serving, write_clouds


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    async with serving(Fake()) as it:
        yield it


def logins(fake: Fake) -> int:
    return fake.calls["POST /v3/auth/tokens"]


def change(file: Path, entry: str, **what: Any) -> None:
    doc = yaml.safe_load(file.read_text())
    doc["clouds"][entry].update(what)
    time.sleep(0.01)  # the file's time stamp has to differ
    file.write_text(yaml.safe_dump(doc))


async def test_endpoints_and_one_login(fake: Fake, tmp_path: Path) -> None:
    clouds = Clouds(write_clouds(tmp_path / "c.yaml", paris=fake.url), limits=QUICK)
    assert clouds.known_place("paris") is None
    tokens = await asyncio.gather(*(clouds.token("paris", "paris") for _ in range(20)))
    assert len({t.value for t in tokens}) == 1
    assert logins(fake) == 1
    place = await clouds.place("paris", "paris")
    assert place.endpoints == {
        "compute": f"{fake.url}/compute/v2.1", "volume": f"{fake.url}/volume/v3/svc", "network": f"{fake.url}/network",
        "image": f"{fake.url}/image", "identity": f"{fake.url}/v3",
    }  # fmt: skip
    assert (tokens[0].project_id, tokens[0].user_id) == ("svc", "svc")
    assert 3500 < tokens[0].expires_at - time.time() <= 3600
    await clouds.close()


async def test_logins_at_once_read_the_file_once(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def slowly(**what: Any) -> OpenStackConfig:
        reads.append(what)
        time.sleep(0.05)  # in a login's thread
        return OpenStackConfig(**what)

    monkeypatch.setattr("cascade.sites.clouds.OpenStackConfig", slowly)
    names = [f"site{n}" for n in range(12)]
    clouds = Clouds(write_clouds(tmp_path / "c.yaml", **dict.fromkeys(names, fake.url)), limits=QUICK)
    await asyncio.gather(*(clouds.token(name, name) for name in names))
    assert (logins(fake), len(reads)) == (12, 1)
    await clouds.close()


async def test_interface_region_and_override(fake: Fake, tmp_path: Path) -> None:
    file = write_clouds(tmp_path / "c.yaml", paris=fake.url)
    change(file, "paris", interface="internal", image_endpoint_override="http://images.example/")
    clouds = Clouds(file, limits=QUICK)
    place = await clouds.place("paris", "paris")
    assert place.endpoints["compute"] == "http://no/compute/v2.1"
    assert place.endpoints["image"] == "http://images.example"
    change(file, "paris", interface="public", region_name="z")
    clouds.forget("paris")
    assert (await clouds.place("paris", "paris")).endpoints["compute"] == "http://other.region"
    await clouds.close()


async def test_refused_login_is_not_repeated_until_the_entry_is_corrected(fake: Fake, tmp_path: Path) -> None:
    file = write_clouds(tmp_path / "c.yaml", paris=fake.url)
    fake.users["svc"]["password"] = "other"
    now = [1000.0]
    clouds = Clouds(file, limits=QUICK, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(BadReply, match="refused"):
            await clouds.token("paris", "paris")
    assert logins(fake) == 1
    fake.users["svc"]["password"] = "secret"
    now[0] += 11
    await clouds.token("paris", "paris")
    await clouds.close()


async def test_no_such_entry_and_no_such_file(fake: Fake, tmp_path: Path) -> None:
    clouds = Clouds(write_clouds(tmp_path / "c.yaml", paris=fake.url), limits=QUICK)
    with pytest.raises(BadReply, match="tokyo"):
        await clouds.token("tokyo", "tokyo")
    change(tmp_path / "c.yaml", "paris")
    doc = yaml.safe_load((tmp_path / "c.yaml").read_text())
    doc["clouds"]["tokyo"] = doc["clouds"]["paris"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(doc))
    clouds.forget("tokyo")
    await clouds.token("tokyo", "tokyo")
    with pytest.raises(BadReply, match="not usable"):
        await Clouds(tmp_path / "none.yaml", limits=QUICK).token("paris", "paris")
    await clouds.close()


async def test_dead_and_hung_keystone(fake: Fake, tmp_path: Path) -> None:
    clouds = Clouds(write_clouds(tmp_path / "c.yaml", dead="http://127.0.0.1:1", hung=fake.url), limits=QUICK)
    with pytest.raises(SiteUnreachable):
        await clouds.token("dead", "dead")
    fake.hang = True
    begun = time.monotonic()
    with pytest.raises((SiteTimeout, SiteUnreachable)):
        await clouds.token("hung", "hung")
    assert time.monotonic() - begun < QUICK.login + 0.5
    fake.hang = False
    await clouds.close()


async def test_skewed_clock_of_a_site(fake: Fake, tmp_path: Path) -> None:
    """The token's life counts from its arrival, whatever time it is there."""
    clouds = Clouds(write_clouds(tmp_path / "c.yaml", paris=fake.url), limits=QUICK, clock=lambda: 5_000_000.0)
    token = await clouds.token("paris", "paris")
    assert (token.issued_at, round(token.expires_at)) == (5_000_000.0, 5_003_600)
    await clouds.close()
