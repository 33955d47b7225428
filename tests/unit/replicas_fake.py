"""A hub and sites in memory, as far as replicas of images, flavors, key pairs and types go: Glance, Nova, Cinder with
their rules on ids, states and names. Speaks the signatures of ``South``; no HTTP."""

from __future__ import annotations

import hashlib
import json as jsonlib
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from cascade.model.caller import Caller
from cascade.model.errors import SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.sites.registry import Sites
from cascade.store import Store

Doc = dict[str, Any]
Answer = tuple[int, Any]


def caller(name: str = "ann", *, project: str | None = None, admin: bool = False) -> Caller:
    """Somebody of project ``p-<name>``."""
    return Caller(
        token=f"t-{name}", user_id=f"u-{name}", user_name=name, user_domain_id="default", project_id=project or f"p-{name}",
        project_name=name, project_domain_id="default", roles=frozenset({"admin"} if admin else {"member"}), expires_at=9e9,
    )  # fmt: skip


class Cloud:
    """One target's services. ``project``: whose request it is; None = the service account, an administrator."""

    def __init__(self, name: str) -> None:
        self.name, self.service = name, f"svc-{name}"
        self.images: dict[str, Doc] = {}
        self.data: dict[str, bytes] = {}
        self.members: dict[str, set[str]] = {}
        self.algorithm = "sha512"
        self.flavors: dict[str, Doc] = {}
        self.access: dict[str, set[str]] = {}
        self.keys: dict[tuple[str, str], Doc] = {}
        self.types: dict[str, Doc] = {}
        self.volumes: list[Doc] = []

    # -- Glance ----------------------------------------------------------------------------------------------------

    def sees(self, image: Doc, project: str | None) -> bool:
        if project is None:
            return True
        if image["status"] == "deleted":
            return False
        return project == image["owner"] or image["visibility"] in ("public", "community") or project in self.members[image["id"]]

    def image_create(self, body: Doc, project: str | None) -> Answer:
        ident = body.get("id", str(uuid.uuid4()))
        if ident in self.images:
            return 409, {"message": "exists"}
        owner = body.get("owner", project or self.service)
        base: Doc = {"name": None, "status": "queued", "visibility": "shared", "tags": [], "protected": False, "size": None,
                "os_hash_algo": None, "os_hash_value": None, "checksum": None, "min_disk": 0, "min_ram": 0}  # fmt: skip
        self.images[ident] = {**base, **body, "id": ident, "owner": owner}
        self.members[ident] = set()
        return 201, self.images[ident]

    def image_put(self, ident: str, data: bytes) -> Answer:
        image = self.images[ident]
        if image["status"] != "queued":
            return 409, {}
        self.data[ident] = data
        digest = hashlib.new(self.algorithm, data).hexdigest()
        image.update(status="active", size=len(data), os_hash_algo=self.algorithm, os_hash_value=digest,
                     checksum=hashlib.md5(data).hexdigest())  # fmt: skip
        return 204, None

    def image(self, method: str, path: str, params: dict[str, str], doc: Any, project: str | None) -> Answer:
        if path == "/v2/images":
            if method == "POST":
                return self.image_create(doc, project)
            wanted = {k: v for k, v in params.items() if k in ("instance_uuid", "image_type")}
            rows = [
                i for i in self.images.values()
                if params.get("tag") in (None, *i["tags"]) and i["status"] != "deleted" and wanted.items() <= i.items()
            ]  # fmt: skip
            return 200, {"images": rows}
        _, _, _, ident, *rest = path.split("/")
        image = self.images.get(ident)
        if image is None or not self.sees(image, project):
            return 404, {}
        if rest[:1] == ["members"]:
            return self._members(method, ident, rest[1:], doc)
        if rest[:1] == ["actions"]:
            image["status"] = {"deactivate": "deactivated", "reactivate": "active"}[rest[1]]
        elif method == "DELETE":
            if image["status"] == "deleted":
                return 400, {}
            if image["protected"]:
                return 403, {}
            image["status"] = "deleted"
        elif method == "PATCH":
            for op in doc:
                key = op["path"][1:]
                if op["op"] == "remove":
                    del image[key]
                else:
                    image[key] = op["value"]
            return 200, image
        else:
            return 200, image
        return 204, None

    def _members(self, method: str, ident: str, rest: list[str], doc: Any) -> Answer:
        members = self.members[ident]
        if method == "GET":
            return 200, {"members": [{"member_id": m} for m in members]}
        if method == "DELETE":
            members.discard(rest[0])
            return 204, None
        if self.images[ident]["visibility"] != "shared":
            return 403, {}
        if doc["member"] in members:
            return 409, {}
        if len(members) >= 3:
            return 413, {}
        members.add(doc["member"])
        return 200, {}

    # -- Nova ------------------------------------------------------------------------------------------------------

    def flavor(self, ident: str, ram: int = 64, *, public: bool = True, name: str | None = None) -> Doc:
        """Make one directly."""
        body = {"id": ident, "name": name or ident, "ram": ram, "vcpus": 1, "disk": 0, "swap": 0, "rxtx_factor": 1.0,
                "OS-FLV-EXT-DATA:ephemeral": 0, "os-flavor-access:is_public": public, "description": None}  # fmt: skip
        self.flavors[ident] = {**body, "extra_specs": {}}
        self.access[ident] = set()
        return self.flavors[ident]

    def compute(self, method: str, path: str, params: dict[str, str], doc: Any, project: str | None, user: str) -> Answer:
        parts = [unquote(p) for p in path.strip("/").split("/")]
        if parts[0] == "os-keypairs":
            return self._keypair(method, parts[1:], params, doc, user)
        if parts == ["flavors", "detail"]:
            return 200, {"flavors": list(self.flavors.values())}
        if len(parts) == 1:
            body = doc["flavor"]
            if body["id"] in self.flavors or any(f["name"] == body["name"] for f in self.flavors.values()):
                return 409, {}
            made = self.flavor(body["id"], name=body["name"])
            made.update(body)
            return 200, {"flavor": made}
        flavor = self.flavors.get(parts[1])
        if flavor is None or not (flavor["os-flavor-access:is_public"] or project is None or project in self.access[parts[1]]):
            return 404, {}
        return self._flavor(method, flavor, parts[2:], doc)

    def _flavor(self, method: str, flavor: Doc, below: list[str], doc: Any) -> Answer:
        access = self.access[flavor["id"]]
        if below == ["os-flavor-access"]:
            return 200, {"flavor_access": [{"tenant_id": t} for t in access]}
        if below == ["action"]:
            ((action, body),) = doc.items()
            (access.add if action == "addTenantAccess" else access.discard)(body["tenant"])
        elif below[:1] == ["os-extra_specs"]:
            if method == "DELETE":
                del flavor["extra_specs"][below[1]]
            else:
                flavor["extra_specs"].update(doc["extra_specs"])
        elif method == "DELETE":
            del self.flavors[flavor["id"]]
            return 202, None
        elif method == "PUT":
            flavor.update(doc["flavor"])
        return 200, {"flavor": flavor}

    def _keypair(self, method: str, rest: list[str], params: dict[str, str], doc: Any, user: str) -> Answer:
        owner = params.get("user_id", user)
        if method == "POST":
            key = doc["keypair"]
            self.keys[owner, key["name"]] = {**key, "fingerprint": f"fp {key['public_key']}"}
            return 200, {"keypair": key}
        found = self.keys.get((owner, rest[0]))
        if found is None:
            return 404, {}
        if method == "DELETE":
            del self.keys[owner, rest[0]]
            return 202, None
        return 200, {"keypair": found}

    # -- Cinder ----------------------------------------------------------------------------------------------------

    def volume_type(self, name: str, **specs: str) -> Doc:
        """Make one directly; Cinder picks the id."""
        made = {"id": str(uuid.uuid4()), "name": name, "description": None, "is_public": True, "extra_specs": specs}
        self.types[made["id"]] = made  # type: ignore[index]
        return made

    def volume(self, method: str, path: str, params: dict[str, str], doc: Any) -> Answer:
        parts = path.strip("/").split("/")
        if parts[0] == "volumes":
            return 200, {"volumes": [v for v in self.volumes if v["volume_type_id"] == params["volume_type_id"]]}
        if parts[0] in ("group_types", "qos-specs"):
            return 200, {parts[0].replace("-", "_"): []}
        if len(parts) == 1:
            if method == "GET":
                return 200, {"volume_types": list(self.types.values())}
            made = self.volume_type(doc["volume_type"]["name"], **doc["volume_type"]["extra_specs"])
            return 200, {"volume_type": made}
        found = self.types.get(parts[1])
        if found is None:
            return 404, {}
        if parts[2:] == ["encryption"]:
            return 200, {}
        if parts[2:3] == ["extra_specs"]:
            if method == "POST":
                found["extra_specs"].update(doc["extra_specs"])
                return 200, doc
            del found["extra_specs"][parts[3]]
            return 202, None
        if method == "DELETE":
            if any(v["volume_type_id"] == parts[1] for v in self.volumes):
                return 400, {"badRequest": {"message": "in use"}}
            del self.types[parts[1]]
            return 202, None
        if method == "PUT":
            found.update(doc["volume_type"])
        return 200, {"volume_type": found}


class Shadow:
    """Shadow projects are called ``<site>:<project>``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def project(self, site: str, project: str) -> str:
        from cascade.store.pairs import Pair

        await self._store.pairs.put(Pair(kind="project", hub_id=project, site=site, site_id=f"{site}:{project}"))
        return f"{site}:{project}"


class FakeStream:
    """As ``StreamReply``."""

    def __init__(self, status: int, data: bytes = b"") -> None:
        self.status, self.headers, self._data = status, {"content-type": "application/octet-stream"}, data

    async def chunks(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), 1000):
            yield self._data[at : at + 1000]

    async def read(self, limit: int = 0) -> bytes:
        return self._data


class FakeSouth:
    """``calls`` counts (target, method, path with ids as ``*``); targets in ``down`` are unreachable."""

    def __init__(self, store: Store, *sites: str) -> None:
        self.clouds = {name: Cloud(name) for name in ("hub", *sites)}
        self.shadow = Shadow(store)
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.down: set[str] = set()
        self.spoil: Callable[[bytes], bytes] | None = None

    async def project_id(self, target: str, who: Caller | None) -> str | None:
        return self.clouds[target].service if who is None else who.project_id

    async def call(
        self, target: str, service: str, method: str, path: str, *, as_: Caller | None = None, json: Any = None,
        body: bytes | None = None, headers: Any = None, params: Any = None, timeout: float | None = None,
        version: str | None = None,
    ) -> Reply:  # fmt: skip
        if target in self.down:
            raise SiteUnreachable(target, "down")
        self.calls[target, method, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "*", path)] += 1
        doc = json if json is not None else jsonlib.loads(body) if body else None
        cloud, query = self.clouds[target], dict(params or ())
        far = as_ is not None and target != "hub"
        project = None if as_ is None or as_.is_admin else f"{target}:{as_.project_id}" if far else as_.project_id
        user = "" if as_ is None else f"{target}:{as_.user_id}" if far else as_.user_id
        if service == "image":
            status, out = cloud.image(method, path, query, doc, project)
        elif service == "compute":
            status, out = cloud.compute(method, path, query, doc, project, user)
        else:
            status, out = cloud.volume(method, path, query, doc)
        return Reply(target, status, {"content-type": "application/json"}, b"" if out is None else jsonlib.dumps(out).encode())

    @asynccontextmanager
    async def stream(
        self, target: str, service: str, method: str, path: str, *, as_: Caller | None = None, headers: Any = None,
        params: Any = None, data: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[FakeStream]:  # fmt: skip
        if target in self.down:
            raise SiteUnreachable(target, "down")
        self.calls[target, method, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "*", path)] += 1
        cloud, ident = self.clouds[target], path.split("/")[3]
        if data is None:
            yield FakeStream(200, cloud.data[ident])
            return
        got = b"".join([chunk async for chunk in data])
        status, _ = cloud.image_put(ident, self.spoil(got) if self.spoil else got)
        yield FakeStream(status)


async def rig(url: str, *names: str) -> tuple[Store, FakeSouth, Sites]:
    """Store, south and sites of a cloud with these sites."""
    store = await Store.open(url)
    for number, name in enumerate(names, 1):
        await store.sites.add(Site(name=name, number=number, cloud=name))
    sites = Sites(store)
    await sites.reload()
    return store, FakeSouth(store, *names), sites
