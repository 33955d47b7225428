"""``python -m sim.compare [paris]``: the same calls of a real cloud and of a fake one, and where their answers differ.

Compared are status, kind of body, key sets and JSON types, not values. The calls are a table, ``sim.compare_calls``; they make a
few small things named after the run and delete them again. It ends with 1 when there were differences.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from sim import app
from sim.__main__ import clouds_yaml
from sim.compare_ask import FREE, TOLERATED, TYPED, Ask
from sim.compare_calls import AFTER, CALLS
from sim.world import SERVICES, Options, World, new_id

STATE = Path(os.environ.get("CASCADE_LAB_STATE") or Path(__file__).parents[1] / ".lab")
PATIENCE = 60.0
"""Seconds for a status to come."""
AT_ONCE = 4
"""Reads under way: the lab is small."""
_TYPES = {"block-storage": "volume"}


@dataclass
class Shape:
    """What JSON documents look like, several in one: the elements of a list are taken together."""

    types: set[str] = field(default_factory=set)
    keys: dict[str, Shape] = field(default_factory=dict)
    always: set[str] | None = None
    """Keys that every object had; None = there was no object."""
    items: Shape | None = None

    def add(self, value: Any, *, free: bool = False) -> Shape:
        """Look at one more value. ``free``: its keys are users' words and do not count."""
        names = {type(None): "null", bool: "bool", int: "number", float: "number", str: "string", list: "list", dict: "object"}
        self.types.add(names[type(value)])
        if isinstance(value, list):
            self.items = self.items or Shape()
            for v in value:
                self.items.add(v)
        elif isinstance(value, dict) and free:
            self.items = self.items or Shape()
            for v in value.values():
                self.items.add(v)
        elif isinstance(value, dict):
            named = {k for k in value if not TYPED.match(k)}
            self.always = named if self.always is None else self.always & named
            for k in named:
                self.keys.setdefault(k, Shape()).add(value[k], free=k in FREE)
        return self


def differences(real: Shape, fake: Shape, at: str = "") -> Iterable[str]:
    """Where the fake's documents cannot be the real one's. What a list has no element for is not compared."""
    if real.types and fake.types and not real.types & fake.types:
        yield f"{at or '.'}: {'/'.join(sorted(real.types))} is {'/'.join(sorted(fake.types))}"
    if real.always is not None and fake.always is not None:
        yield from (f"{at}.{k}: missing" for k in sorted(real.always - set(fake.keys)))
        yield from (f"{at}.{k}: too much" for k in sorted(fake.always - set(real.keys)))
    for k in sorted(set(real.keys) & set(fake.keys)):
        yield from differences(real.keys[k], fake.keys[k], f"{at}.{k}")
    if real.items is not None and fake.items is not None:
        yield from differences(real.items, fake.items, f"{at}[]")


@dataclass
class Got:
    """One answer: ``status`` 0 = none came; ``body``: json, text or empty."""

    status: int
    body: str = "empty"
    doc: Any = None


@dataclass
class Side:
    """One cloud, with a token for everybody."""

    name: str
    clouds: dict[str, Any]
    session: aiohttp.ClientSession
    words: dict[str, str]
    """What ``{...}`` in a call stands for here."""
    tokens: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)

    async def login(self, who: str) -> str:
        """A token. Raises KeyError for an account the cloud does not have."""
        if who not in self.tokens:
            a = self.clouds[self.name if who == "service" else f"{self.name}-{who}"]["auth"]
            domain = {"id": "default"}
            user = {"name": a["username"], "password": a["password"], "domain": domain}
            doc = {
                "auth": {
                    "identity": {"methods": ["password"], "password": {"user": user}},
                    "scope": {"project": {"name": a["project_name"], "domain": domain}},
                }
            }
            async with self.session.post(f"{a['auth_url']}/auth/tokens", json=doc) as r:
                token = (await r.json())["token"]
                self.tokens[who] = r.headers["X-Subject-Token"]
            for s in token["catalog"]:
                for e in s["endpoints"]:
                    if e["interface"] == "public" and e["region_id"] == self.name:
                        url = re.sub(r"/v[0-9.]+(/.*)?$", "", e["url"].rstrip("/"))
                        self.roots[_TYPES.get(s["type"], s["type"])] = url
            named = {"project": token["project"]["id"], "user": token["user"]["id"], "token": self.tokens[who]}
            self.words |= {f"{who}_{k}": v for k, v in named.items()}
        return self.tokens[who]

    def fill(self, value: Any) -> Any:
        """A value with its words. Raises KeyError for one that is not known, since no earlier call made it."""
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda m: self.words[m[1]], value)
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        return {self.fill(k): self.fill(v) for k, v in value.items()} if isinstance(value, dict) else value

    async def ask(self, ask: Ask, version: str) -> Got:
        """The answer; for a call that waits the last one."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            got = await self._once(ask, version)
            if not ask.until or _status(got) == ask.until or asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.3)
        if ask.until and _status(got) != ask.until:
            return Got(0, f"it is {_status(got)}, never {ask.until}")
        if ask.keep and got.status < 300:
            name, _, path = ask.keep.partition(":")
            found = _at(got.doc, path)
            if found is not None:
                self.words[name] = str(found)
        return got

    async def _once(self, ask: Ask, version: str) -> Got:
        try:
            path, body = self.fill(ask.path), self.fill(ask.body)
        except KeyError as e:
            return Got(0, f"there is no {e.args[0]}")
        token = "" if ask.who == "nobody" else "nonsense" if ask.who == "stranger" else await self.login(ask.who)
        headers = {"Accept": "application/json"} | ({"X-Auth-Token": token} if token else {}) | self.fill(ask.headers)
        if version:
            headers["OpenStack-API-Version"] = f"{ask.service} {version}"
        data = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        url = self.roots[ask.service] + path
        try:
            async with self.session.request(ask.method, url, data=data, headers=headers, skip_auto_headers=("Content-Type",)) as r:
                raw = await r.read()
        except (aiohttp.ClientError, TimeoutError) as e:
            return Got(0, f"no answer: {type(e).__name__}")
        try:
            return Got(r.status, "json", json.loads(raw))
        except ValueError:
            return Got(r.status, "text" if raw else "empty")


def _status(got: Got) -> str:
    """The status of the one object in a document; "gone" for none."""
    if got.status == 404:
        return "gone"
    doc = got.doc if isinstance(got.doc, dict) else {}
    inner = next((v for v in doc.values() if isinstance(v, dict)), doc) if "status" not in doc else doc
    return str(inner.get("status", got.status)).lower()


def _at(doc: Any, path: str) -> Any:
    """The value at ``a.0.b``; at no path the id of the one object."""
    if not path:
        one = doc if not isinstance(doc, dict) or "id" in doc else next(iter(doc.values()))
        return one.get("id") if isinstance(one, dict) else None
    for step in path.split("."):
        try:
            doc = doc[int(step)] if step.isdigit() and isinstance(doc, list) else doc[step]
        except (KeyError, IndexError, TypeError):
            return None
    return doc


def judge(ask: Ask, real: Got, fake: Got) -> list[str]:
    """The differences of two answers, without those that are known and meant."""
    if real.status == fake.status == 0:
        return [f"neither: {real.body}; {fake.body}"]
    if real.status != fake.status:
        said = [f"{g.status or g.body} {json.dumps(g.doc)[:300] if g.status >= 400 else ''}".strip() for g in (real, fake)]
        return [f"status {said[0]} is {said[1]}"]
    found = [] if real.body == fake.body else [f"body {real.body} is {fake.body}"]
    if real.body == fake.body == "json":
        found += differences(Shape().add(real.doc), Shape().add(fake.doc))
    return [f for f in found if not any(t.match(f"{ask.service} {ask.call} {f}") for t in TOLERATED)]


@asynccontextmanager
async def sides(name: str) -> AsyncIterator[tuple[Side, Side]]:
    """The real cloud and the fake one. Raises OSError when there is no lab."""
    real = yaml.safe_load((STATE / "clouds.yaml").read_text())["clouds"]
    world = World(["paris", "tokyo"], _free(3), Options())
    runners = await app.start(world)
    words = {"name": f"simcompare-{new_id()[:8]}", "none": new_id(), "cloud": name}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as session:
            both = tuple(Side(name, clouds, session, dict(words)) for clouds in (real, clouds_yaml(world)["clouds"]))
            for side in both:
                for who in ("service", "admin", "demo", "demo-reader", "other"):
                    await side.login(who)
            assert set(both[1].roots) >= set(SERVICES)
            yield both[0], both[1]
    finally:
        await app.stop(runners)


def _free(count: int) -> int:
    """The first of some ports in a row that nobody listens at. Raises OSError for none."""
    for base in range(36000, 60000, 50):
        held = [socket.socket() for _ in range(count)]
        try:
            for n, s in enumerate(held):
                s.bind(("127.0.0.1", base + n))
        except OSError:
            continue
        else:
            return base
        finally:
            for s in held:
                s.close()
    raise OSError("no free ports")


def batches(asks: Iterable[Ask]) -> Iterable[list[tuple[Ask, str]]]:
    """The calls in order, each with its microversion. Reads in a row that nothing hangs on go together."""
    batch: list[tuple[Ask, str]] = []
    for ask in asks:
        for version in ask.versions.split() or [""]:
            if ask.reads and len(batch) < AT_ONCE:
                batch.append((ask, version))
                continue
            yield batch
            batch = [(ask, version)]
            if not ask.reads:
                yield batch
                batch = []
    yield batch


async def compare(name: str = "paris", service: str = "", say: Callable[[str], object] = print) -> int:
    """Say one line per difference, in the order of the table; their number. What was made is deleted, whatever happens.

    ``service``: leave the other services' reads out.
    """
    count = 0
    async with sides(name) as (real, fake):

        async def one(ask: Ask, version: str) -> list[str]:
            a, b = await asyncio.gather(real.ask(ask, version), fake.ask(ask, version))
            given = f" {json.dumps(ask.body)[:100]}" if ask.body is not None else ""
            title = f"{ask.service} {version} {ask.call}{given} ({ask.who})".replace("  ", " ")
            return [f"{title}: {d}" for d in judge(ask, a, b)]

        async def run(asks: Iterable[Ask]) -> None:
            nonlocal count
            wanted = (a for a in asks if service in ("", a.service) or not a.reads)
            for batch in batches(wanted):
                for lines in await asyncio.gather(*(one(*b) for b in batch)):
                    count += len(lines)
                    for line in lines:
                        say(line)

        try:
            await run(CALLS)
        finally:
            await run(AFTER)
    return count


async def _whole(args: argparse.Namespace) -> int:
    task = asyncio.ensure_future(compare(args.cloud, args.service, partial(print, flush=True)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    """The command; its exit status."""
    p = argparse.ArgumentParser(prog="python -m sim.compare", description=__doc__)
    p.add_argument("cloud", nargs="?", default="paris", help="a site of the lab: paris or tokyo")
    p.add_argument("--service", choices=sorted(SERVICES), default="", help="leave the other services' reads out")
    count = asyncio.run(_whole(p.parse_args()))
    print(f"{count} differences", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
