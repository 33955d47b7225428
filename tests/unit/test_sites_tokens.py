"""One login at a time, renewed early, dropped when refused."""

from __future__ import annotations

import asyncio

import pytest

from cascade.model.errors import SiteUnreachable
from cascade.sites.tokens import Token, TokenCache


class Issuer:
    def __init__(self) -> None:
        self.now, self.made, self.fails = 1000.0, 0, False

    def __call__(self) -> float:
        return self.now

    async def make(self) -> Token:
        await asyncio.sleep(0.01)
        if self.fails:
            raise SiteUnreachable("paris", "gone")
        self.made += 1
        return Token(value=f"t{self.made}", issued_at=self.now, expires_at=self.now + 3600, project_id=None, user_id="u")


async def test_single_flight_survives_who_stops_waiting() -> None:
    issuer = Issuer()
    cache: TokenCache[str] = TokenCache(clock=issuer)
    first = asyncio.create_task(cache.get("k", issuer.make))
    rest = [asyncio.create_task(cache.get("k", issuer.make)) for _ in range(100)]
    await asyncio.sleep(0)
    first.cancel()
    assert {t.value for t in await asyncio.gather(*rest)} == {"t1"}
    assert issuer.made == 1


async def test_error_reaches_all_and_is_not_kept() -> None:
    issuer = Issuer()
    issuer.fails = True
    cache: TokenCache[str] = TokenCache(clock=issuer)
    found = await asyncio.gather(*(cache.get("k", issuer.make) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(e, SiteUnreachable) for e in found)
    issuer.fails = False
    assert (await cache.get("k", issuer.make)).value == "t1"


async def test_renewed_beside_use() -> None:
    issuer = Issuer()
    cache: TokenCache[str] = TokenCache(clock=issuer)
    await cache.get("k", issuer.make)
    issuer.now += 3600 * 0.74
    assert (await cache.get("k", issuer.make)).value == "t1"
    await asyncio.sleep(0.03)
    assert issuer.made == 1
    issuer.now += 3600 * 0.12
    assert (await cache.get("k", issuer.make)).value == "t1", "nobody waits for a renewal"
    await asyncio.sleep(0.03)
    assert (await cache.get("k", issuer.make)).value == "t2"


async def test_failed_renewal_keeps_the_old_until_its_end() -> None:
    issuer = Issuer()
    cache: TokenCache[str] = TokenCache(clock=issuer)
    await cache.get("k", issuer.make)
    issuer.fails = True
    issuer.now += 3600 * 0.9
    for _ in range(3):
        assert (await cache.get("k", issuer.make)).value == "t1"
        await asyncio.sleep(0.02)
    issuer.now += 3600 * 0.1
    with pytest.raises(SiteUnreachable):
        await cache.get("k", issuer.make)


async def test_forget_spares_a_fresh_token() -> None:
    issuer = Issuer()
    cache: TokenCache[str] = TokenCache(clock=issuer)
    old = await cache.get("k", issuer.make)
    cache.forget("k", old)
    new = await cache.get("k", issuer.make)
    cache.forget("k", old)  # a slow call comes back with the old token's 401
    assert (await cache.get("k", issuer.make)).value == new.value == "t2"


async def test_bounded_and_secret() -> None:
    issuer = Issuer()
    cache: TokenCache[int] = TokenCache(clock=issuer, size=2)
    for key in (1, 2, 3):
        token = await cache.get(key, issuer.make)
    assert "t3" not in repr(token)
    await cache.get(1, issuer.make)
    assert issuer.made == 4
