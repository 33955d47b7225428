"""Placement through Cascade: what the sites' own say, as one; compared with paris asked directly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.rest import Answer, Cloud

VERSION = {"OpenStack-API-Version": "placement 1.39"}
UUID = "3f0c2a51-6f0e-4b57-9d0c-0123456789ab"


def ask(cloud: Cloud, path: str, method: str = "GET", body: Any = None) -> Answer:
    """One request; the catalogue of a lab that is older than this endpoint does not name it."""
    if not cloud.token:
        cloud.login()
    cloud.endpoints.setdefault("placement", cloud.endpoints["compute"].rpartition("/compute")[0] + "/placement")
    return cloud("placement", method, path, body, headers=VERSION)


def test_providers_are_the_sites_hosts(clouds: dict[str, Cloud]) -> None:
    """Each of paris' is there once, named as the hypervisor is, and what stands below it is what paris says."""
    direct, ours = clouds["paris-admin"], clouds["cascade-admin"]
    there = {p["uuid"]: p["name"] for p in ask(direct, "/resource_providers").json()["resource_providers"]}
    north = {p["uuid"]: p["name"] for p in ask(ours, "/resource_providers").json()["resource_providers"]}
    assert there and {u: f"{n}.paris" for u, n in there.items()}.items() <= north.items()
    assert any(n.endswith(".tokyo") for n in north.values())
    hypervisors = ours("compute", "GET", "/os-hypervisors", version="2.53").json()["hypervisors"]
    assert {h["hypervisor_hostname"] for h in hypervisors} <= set(north.values())
    for uuid in there:
        for below in ("inventories", "traits", "aggregates", "inventories/VCPU"):
            one, two = (ask(c, f"/resource_providers/{uuid}/{below}").json() for c in (direct, ours))
            for doc in (one, two):
                doc.pop("resource_provider_generation", None)  # moves with every server
            assert one == two and one


@pytest.mark.parametrize(
    "path",
    [
        f"/resource_providers/{UUID}", f"/resource_providers/{UUID}/usages", "/resource_providers?bogus=1", "/traits/NONE",
        "/resource_providers?required=CUSTOM_NONESUCH", "/allocation_candidates", "/allocation_candidates?resources=NONE:1",
        "/usages", "/nonesuch", "/resource_classes/NONE", "/resource_providers/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("who", ["admin", "demo"])
def test_refused_as_placement_refuses(clouds: dict[str, Cloud], who: str, path: str) -> None:
    """Administrators' mistakes are the real service's; tenants are kept out."""
    direct = ask(clouds[f"paris-{who}"], path)
    ours = ask(clouds["cascade" if who == "demo" else f"cascade-{who}"], path)
    if who == "demo" and direct.status in (400, 404):
        assert ours.status == 403  # whoever may see nothing is not told what there is not
    else:
        assert (ours.status, ours.shape()) == (direct.status, direct.shape()), (direct.body, ours.body)


def test_nothing_is_written(clouds: dict[str, Cloud]) -> None:
    """405 for an administrator, and no provider more than before."""
    admin = clouds["cascade-admin"]
    before = ask(admin, "/resource_providers").json()["resource_providers"]
    for method, path in (("POST", "/resource_providers"), ("PUT", "/traits/CUSTOM_WRONG"), ("DELETE", f"/allocations/{UUID}")):
        got = ask(admin, path, method, {"name": "wrong"} if method == "POST" else None)
        assert (got.status, got.headers["allow"]) == (405, "GET")
    after = ask(admin, "/resource_providers").json()["resource_providers"]
    assert {p["uuid"] for p in before} == {p["uuid"] for p in after}
    assert ask(admin, "/traits/CUSTOM_WRONG").status == 404
