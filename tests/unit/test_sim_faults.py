"""Every way a simulated cloud misbehaves, as its callers see it over HTTP."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sim import app, misbehave, run
from sim.__main__ import parse
from sim.faults import Refused
from sim.misbehave import MODES, Fault, Modes, Span
from sim.world import Options, World
from tests.unit.test_sim_nova import Place, free_ports

SERVERS = "/servers/detail"


@pytest.fixture
async def paris() -> AsyncIterator[Place]:
    """One site; its control path is the hub's."""
    world = World(["paris"], free_ports(2), Options(build=0.0, delete=0.0, volume=0.0))
    runners = await app.start(world)
    try:
        async with aiohttp.ClientSession() as session:
            place = Place(session, world, "paris")
            await place.token("demo", "demo")
            yield place
    finally:
        await app.stop(runners)


async def suffer(paris: Place, *faults: str, seed: int = 0, cloud: str = "paris") -> None:
    """Let the site misbehave from now on."""
    doc = {"cloud": cloud, "faults": list(faults), "seed": seed}
    async with paris.session.post(f"{paris.cloud.root}/_sim/faults", json=doc) as r:
        assert r.status == 200, await r.text()


async def seconds(paris: Place) -> float:
    """How long an answer takes."""
    began = time.monotonic()
    assert (await paris("GET", SERVERS))[0] == 200
    return time.monotonic() - began


@pytest.mark.parametrize(("mode", "words"), [("500", "computeFault"), ("502", "Bad Gateway"), ("503", "Service Unavailable")])
async def test_errors_in_the_words_of_who_says_them(paris: Place, mode: str, words: str) -> None:
    await suffer(paris, mode)
    status, said = await paris("GET", SERVERS)
    assert status == int(mode) and words in str(said)


async def test_who_asks_too_often_is_told_when_to_come_back(paris: Place) -> None:
    await suffer(paris, "429:seconds=7")
    async with paris.session.get(f"{paris.cloud.url('compute')}/v2.1{SERVERS}") as r:
        assert (r.status, r.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(("mode", "done"), [("down", False), ("cut", True), ("reset", True)])
async def test_broken_connections(paris: Place, mode: str, done: bool) -> None:
    await suffer(paris, f"{mode}:method=POST")
    assert (await paris("GET", SERVERS))[0] == 200
    body, token = b'{"volume": {"size": 1}}', (await paris.token("demo", "demo"))[0]
    lines = ("POST /volume/v3/volumes HTTP/1.1", "Host: paris", f"X-Auth-Token: {token}", "Content-Type: application/json",
             f"Content-Length: {len(body)}", "", "")  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", paris.cloud.port)
    writer.write("\r\n".join(lines).encode() + body)
    if mode == "reset":
        with pytest.raises(ConnectionResetError):
            await reader.read()
    else:
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        assert (b" 202 " in head and len(rest) > 0 and not rest.endswith(b"}}")) if done else not head
    writer.close()
    assert len(paris.cloud["volumes"]) == done


async def test_the_gateway_timeout_hides_that_it_was_done(paris: Place) -> None:
    await suffer(paris, "504:method=POST")
    status, _ = await paris("POST", "/volumes", {"volume": {"size": 1}}, service="volume/v3")
    assert status == 504 and len(paris.cloud["volumes"]) == 1


async def test_a_hang_ends_after_its_seconds_and_slow_is_late(paris: Place) -> None:
    await suffer(paris, "hang:seconds=0.3")
    assert await seconds(paris) >= 0.3
    await suffer(paris, "slow:seconds=0.2..0.25")
    assert await seconds(paris) >= 0.2
    await suffer(paris, "hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(paris("GET", SERVERS), 0.3)


async def test_a_trickle_is_whole_in_the_end(paris: Place) -> None:
    await suffer(paris, "trickle:seconds=0.3")
    began = time.monotonic()
    status, doc = await paris("GET", SERVERS)
    assert status == 200 and doc == {"servers": []} and time.monotonic() - began >= 0.3


async def test_a_duplicate_is_made_twice_and_a_delete_of_nothing_is_not_found(paris: Place) -> None:
    await suffer(paris, "twice:method=POST/DELETE")
    status, doc = await paris("POST", "/volumes", {"volume": {"size": 1}}, service="volume/v3")
    assert status == 202 and len(paris.cloud["volumes"]) == 2, doc
    status, made = await paris("POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": "ssh-rsa AAAA me"}})
    assert status in (400, 409), made  # the first one has made it
    assert doc["volume"]["id"] in paris.cloud["volumes"]


async def test_an_expired_token_is_refused_until_there_is_another(paris: Place) -> None:
    await suffer(paris, "401:count=1")
    for _ in range(2):
        assert (await paris("GET", SERVERS))[0] == 401
    paris.tokens.clear()
    assert (await paris("GET", SERVERS))[0] == 200


async def test_answers_that_mean_nothing(paris: Place) -> None:
    await suffer(paris, "garbage")
    assert await paris("GET", SERVERS) == (200, "<html>it works</html>")
    await suffer(paris, "wrong-json", seed=3)
    headers, url = {"X-Auth-Token": (await paris.token("demo", "demo"))[0]}, f"{paris.cloud.url('compute')}/v2.1{SERVERS}"
    said = set()
    for _ in range(30):
        async with paris.session.get(url, headers=headers) as r:
            assert r.status == 200 and r.content_type == "application/json"
            said.add(await r.read())
    assert said == set(misbehave.WRONG)


async def test_a_clock_that_is_ahead(paris: Place) -> None:
    await suffer(paris, "skew:seconds=300")
    _, doc = await paris("POST", "/volumes", {"volume": {"size": 1}}, service="volume/v3")
    assert paris.cloud["volumes"][doc["volume"]["id"]]["created_at"] > time.time() + 290
    await suffer(paris, "ok")
    assert abs(paris.cloud.now() - time.time()) < 2


async def test_servers_find_no_host_and_images_take_no_bits(paris: Place) -> None:
    image = await paris._image()
    await suffer(paris, "no-host", "no-bits")
    ident = await paris.server(imageRef=image)
    for _ in range(100):
        doc = (await paris("GET", f"/servers/{ident}"))[1]["server"]
        if doc["status"] != "BUILD":
            break
    assert doc["status"] == "ERROR"
    _, made = await paris("POST", "/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"}, service="image")
    headers = {"X-Auth-Token": (await paris.token("demo", "demo"))[0], "Content-Type": "application/octet-stream"}
    url = f"{paris.cloud.url('image')}/v2/images/{made['id']}/file"
    async with paris.session.put(url, data=b"bits", headers=headers) as r:
        assert r.status == 500
    await suffer(paris, "slow-bits:seconds=0.2")
    began = time.monotonic()
    async with paris.session.put(url, data=b"bits", headers=headers) as r:
        assert r.status == 204 and time.monotonic() - began >= 0.2


async def test_only_the_service_meant_and_only_so_long(paris: Place) -> None:
    await suffer(paris, "500:service=volume", "503:service=compute,count=2")
    assert (await paris("GET", "/volumes", service="volume/v3"))[0] == 500
    assert [(await paris("GET", SERVERS))[0] for _ in range(3)] == [503, 503, 200]
    await suffer(paris, "500:for=0.05")
    assert (await paris("GET", SERVERS))[0] == 500
    await asyncio.sleep(0.06)
    assert (await paris("GET", SERVERS))[0] == 200


async def test_a_mix_draws_the_same_from_the_same_seed(paris: Place) -> None:
    runs = []
    for seed in (5, 5, 6):
        await suffer(paris, "500:rate=0.3", "503:rate=0.3", seed=seed, cloud="p*")
        runs.append([(await paris("GET", SERVERS))[0] for _ in range(60)])
    assert runs[0] == runs[1] != runs[2] and set(runs[0]) == {200, 500, 503}


async def test_a_cloud_of_none_is_not_found(paris: Place) -> None:
    async with paris.session.post(f"{paris.cloud.root}/_sim/faults", json={"cloud": "rome", "mode": "down"}) as r:
        assert r.status == 404


def test_spans() -> None:
    source = random.Random(1)
    assert Span.parse("2").draw(source) == 2
    assert all(0.1 <= Span.parse("0.1..0.3").draw(source) <= 0.3 for _ in range(50))
    mean = sum(Span.parse("~0.5").draw(source) for _ in range(4000)) / 4000
    assert 0.45 < mean < 0.55
    source = random.Random(1)
    hit = sum(Modes([Fault.parse("slow:rate=0.2")], source).for_request("compute", "GET")[0] == "slow" for _ in range(4000))
    assert 700 < hit < 900


@pytest.mark.parametrize("text", ["fast", "slow:seconds=x", "slow:speed=1", "slow:seconds", "500:rate=much"])
def test_what_is_no_fault_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused):
        Fault.parse(text)
    for command in (parse, run.parse):
        with pytest.raises(SystemExit):
            command(["--fault", f"paris={text}"])
        capsys.readouterr()


def test_the_command_line_names_clouds_and_lists_the_modes(capsys: pytest.CaptureFixture[str]) -> None:
    world, _ = parse(["--many", "3", "--fault", "site00*=slow:rate=0.5", "--fault", "site002=500", "--seed", "4"])
    assert [c.modes.mode for c in world.clouds.values()] == ["ok", "slow", "slow+500", "slow"]
    with pytest.raises(SystemExit):
        parse(["--fault", "rome=down"])
    assert "there is no cloud rome" in capsys.readouterr().err
    args = run.parse(["--fault", "paris=down", "--seed", "4"])
    assert run.documents(args) == [{"cloud": "paris", "faults": ["down"], "seed": 4}]
    with pytest.raises(SystemExit):
        run.parse(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {mode:11}" in said for mode in MODES)
