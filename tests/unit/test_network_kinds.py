"""QoS policies, trunks and sharing in sites: made where they are used, following the hub, gone with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import Fault
from tests.unit.network_fake import EXTENSIONS, ME, Doc, Net


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


def policy(net: Net, *rules: Doc) -> Doc:
    """A hub policy."""
    rows = [{"id": f"rule-{n}", **r} for n, r in enumerate(rules)]
    return net.hub.add("qos", {"name": "gold", "project_id": "p1", "rules": rows})


LIMIT = {"type": "bandwidth_limit", "max_kbps": 1000, "max_burst_kbps": 0, "direction": "egress"}
MARK = {"type": "dscp_marking", "dscp_mark": 26}


async def test_a_policy_comes_with_the_port_and_the_network_that_use_it(net: Net) -> None:
    gold, silver = policy(net, LIMIT, MARK), policy(net, MARK)
    hub_net, _ = net.network(qos_policy_id=gold["id"])
    made = await net.networks.materialise_port("paris", net.port(hub_net, qos_policy_id=silver["id"]), ME)
    there = {r["description"]: r for r in net.paris.copies("qos")}
    assert net.paris.only("networks", name="net")["qos_policy_id"] == there[f"cascade:{gold['id']}"]["id"]
    assert net.paris.rows["ports"][made]["qos_policy_id"] == there[f"cascade:{silver['id']}"]["id"]
    rules = there[f"cascade:{gold['id']}"]["rules"]
    assert [(r["type"], r.get("max_kbps"), r.get("dscp_mark")) for r in rules] == [
        ("bandwidth_limit", 1000, None), ("dscp_marking", None, 26),
    ]  # fmt: skip
    assert not net.tokyo.copies("qos")


async def test_rules_of_a_policy_follow(net: Net) -> None:
    gold = policy(net, LIMIT, MARK)
    hub_net, _ = net.network()
    await net.networks.materialise_port("paris", net.port(hub_net, qos_policy_id=gold["id"]), ME)
    gold["rules"] = [{**LIMIT, "id": "rule-0", "max_kbps": 2000}, {**LIMIT, "id": "rule-7", "direction": "ingress"}]
    gold["name"] = "better"
    await net.networks.sync("qos_policy", gold["id"])
    await net.settle()
    copy = net.paris.only("qos", name="better")
    assert sorted((r["type"], r["direction"], r["max_kbps"]) for r in copy["rules"]) == [
        ("bandwidth_limit", "egress", 2000), ("bandwidth_limit", "ingress", 1000),
    ]  # fmt: skip


async def test_what_a_sites_driver_cannot_enforce_is_left_out(net: Net) -> None:
    gold = policy(net, {"type": "packet_rate_limit", "max_kpps": 5, "max_burst_kpps": 0, "direction": "egress"}, MARK)
    hub_net, _ = net.network()
    await net.networks.materialise_port("paris", net.port(hub_net, qos_policy_id=gold["id"]), ME)
    assert [r["type"] for r in net.paris.only("qos", name="gold")["rules"]] == ["dscp_marking"]


async def test_a_policy_put_on_and_taken_off_a_port(net: Net) -> None:
    gold = policy(net, LIMIT)
    hub_net, _ = net.network()
    port = net.port(hub_net)
    made = await net.networks.materialise_port("paris", port, ME)
    for wanted in (gold["id"], None):
        net.hub.rows["ports"][port["id"]]["qos_policy_id"] = wanted
        await net.networks.sync("port", port["id"])
        await net.settle()
        copy = net.paris.only("qos", name="gold")["id"]
        assert net.paris.rows["ports"][made]["qos_policy_id"] == (copy if wanted else None)
    assert net.hub._delete("qos", gold)[0] == 204
    await net.networks.sync("qos_policy", gold["id"])
    await net.settle()
    assert not net.paris.copies("qos") and not await net.store.pairs.all("qos_policy")


async def test_a_policy_deleted_at_the_site_is_made_again(net: Net) -> None:
    gold = policy(net, LIMIT)
    hub_net, _ = net.network()
    await net.networks.materialise_port("paris", net.port(hub_net, qos_policy_id=gold["id"]), ME)
    net.paris.rows["qos"].clear()
    await net.networks.sync("qos_policy", gold["id"])
    await net.settle()
    made = await net.networks.materialise_port("paris", net.port(hub_net, qos_policy_id=gold["id"]), ME)
    copy = net.paris.only("qos", name="gold")
    assert net.paris.rows["ports"][made]["qos_policy_id"] == copy["id"] and len(copy["rules"]) == 1


async def test_a_site_without_qos_has_the_port_without(net: Net) -> None:
    net.paris.extensions = [e for e in EXTENSIONS if e != "qos"]
    gold = policy(net, LIMIT)
    hub_net, _ = net.network(qos_policy_id=gold["id"])
    made = await net.networks.materialise_port("paris", net.port(hub_net, qos_policy_id=gold["id"]), ME)
    assert "qos_policy_id" not in net.paris.rows["ports"][made] and not net.paris.copies("qos")


# -- trunks ----------------------------------------------------------------------------------------------------------


def trunk(net: Net, subports: int = 2) -> tuple[Doc, Doc, list[Doc]]:
    """A hub trunk: (trunk, parent as read, subports)."""
    hub_net, _ = net.network()
    parent = net.port(hub_net, name="parent")
    subs = []
    for n in range(subports):
        more, _ = net.network(f"vlan{n}", f"10.{n + 1}.0.0/24")
        subs.append(net.port(more, name=f"sub{n}"))
    rows = [{"port_id": s["id"], "segmentation_type": "vlan", "segmentation_id": 100 + n} for n, s in enumerate(subs)]
    body = {"name": "trunk", "port_id": parent["id"], "project_id": "p1", "sub_ports": rows}
    return net.hub.add("trunks", body), net.hub.rows["ports"][parent["id"]], subs


def tags(net: Net) -> dict[str, int]:
    """Name of a subport's copy at paris -> its tag."""
    copy = net.paris.only("trunks", name="trunk")
    return {net.paris.rows["ports"][s["port_id"]]["name"]: s["segmentation_id"] for s in copy["sub_ports"]}


async def test_a_trunk_stands_before_its_server_boots(net: Net) -> None:
    row, parent, _ = trunk(net)
    made = await net.networks.materialise_port("paris", parent, ME)
    copy = net.paris.only("trunks", name="trunk")
    assert copy["port_id"] == made and copy["description"] == f"cascade:{row['id']}" and tags(net) == {"sub0": 100, "sub1": 101}
    assert not net.tokyo.copies("trunks")


async def test_subports_come_and_go(net: Net) -> None:
    row, parent, subs = trunk(net)
    await net.networks.materialise_port("paris", parent, ME)
    more, _ = net.network("late", "10.9.0.0/24")
    late = net.port(more, name="late")
    net.hub._verb(row, "add_subports", {"sub_ports": [{"port_id": late["id"], "segmentation_type": "vlan", "segmentation_id": 7}]})
    net.hub._verb(row, "remove_subports", {"sub_ports": [{"port_id": subs[0]["id"]}]})
    await net.networks.sync("trunk", row["id"])
    await net.settle()
    assert tags(net) == {"sub1": 101, "late": 7}
    assert not await net.store.pairs.of_hub("port", subs[0]["id"])
    assert {p["name"] for p in net.paris.copies("ports")} == {"parent", "sub1", "late"}


async def test_a_disabled_trunk_still_changes(net: Net) -> None:
    row, parent, subs = trunk(net)
    await net.networks.materialise_port("paris", parent, ME)
    row["admin_state_up"] = False
    await net.networks.sync("trunk", row["id"])
    await net.settle()
    assert net.paris.only("trunks", name="trunk")["admin_state_up"] is False
    net.hub._verb(row, "remove_subports", {"sub_ports": [{"port_id": subs[0]["id"]}]})
    await net.networks.sync("trunk", row["id"])
    await net.settle()
    assert tags(net) == {"sub1": 101} and net.paris.only("trunks", name="trunk")["admin_state_up"] is False


async def test_a_trunk_made_on_a_port_that_stands_already(net: Net) -> None:
    hub_net, _ = net.network()
    parent = net.port(hub_net, name="parent")
    made = await net.networks.materialise_port("paris", parent, ME)
    net.hub.add("trunks", {"name": "trunk", "port_id": parent["id"], "project_id": "p1"})
    await net.networks.sync("port", parent["id"])
    await net.settle()
    assert net.paris.only("trunks", name="trunk")["port_id"] == made


async def test_trunk_and_subports_leave_with_their_parent(net: Net) -> None:
    _row, parent, _ = trunk(net)
    await net.networks.materialise_port("paris", parent, ME)
    await net.networks.drop_port(parent["id"], "paris")
    assert not net.paris.copies("ports") and not net.paris.copies("trunks")
    assert not await net.store.pairs.all("trunk") and not await net.store.pairs.all("port")
    await net.networks.materialise_port("tokyo", parent, ME)  # and the next server may be anywhere
    assert len(net.tokyo.only("trunks", name="trunk")["sub_ports"]) == 2


async def test_a_trunk_is_not_made_again_while_its_parent_leaves(net: Net) -> None:
    row, parent, _ = trunk(net)
    await net.networks.materialise_port("paris", parent, ME)
    # A look at the trunk, again and again, between any two calls of the leave.
    leaving = asyncio.create_task(net.networks.drop_port(parent["id"], "paris"))
    while not leaving.done():
        await net.networks._sync_trunk(row["id"])
    await leaving
    await net.networks._sync_trunk(row["id"])
    assert not net.paris.copies("ports") and not net.paris.copies("trunks")


async def test_subports_made_for_a_parent_that_left_meanwhile(net: Net) -> None:
    """The copies of the subports stood when the site refused the trunk: its parent was gone."""
    row, _parent, subs = trunk(net)
    for sub in subs:
        await net.networks._stand("paris", sub)
    assert len(net.paris.copies("ports")) == 2
    await net.networks._sync_trunk(row["id"])
    assert not net.paris.copies("ports") and not await net.store.pairs.all("port")


async def test_a_trunk_deleted_at_the_hub(net: Net) -> None:
    row, parent, _ = trunk(net)
    made = await net.networks.materialise_port("paris", parent, ME)
    assert net.hub._delete("trunks", row)[0] == 204
    await net.networks.sync("trunk", row["id"])
    await net.settle()
    assert not net.paris.copies("trunks") and [p["id"] for p in net.paris.copies("ports")] == [made]


async def test_a_subport_at_work_elsewhere_is_not_taken(net: Net) -> None:
    _row, parent, subs = trunk(net)
    copy = await net.networks.materialise_port("tokyo", subs[0], ME)
    net.tokyo.rows["ports"][copy]["device_id"] = "other-trunk"
    with pytest.raises(Fault) as caught:
        await net.networks.materialise_port("paris", parent, ME)
    assert caught.value.status == 409


# -- sharing ---------------------------------------------------------------------------------------------------------


async def test_sharing_ends_at_the_sites_too(net: Net) -> None:
    hub_net, _ = net.network()
    policies = {
        p: net.hub.add("rbac-policies", {"object_type": "network", "object_id": hub_net["id"], "action": "access_as_shared",
                                         "target_tenant": p})
        for p in ("p2", "p3")
    }  # fmt: skip
    for project in policies:
        await net.networks.materialise_port("paris", net.port(hub_net, project_id=project), ME)
    await net.store.pairs.put(_project("p2"))
    await net.store.pairs.put(_project("p3"))
    assert {r["target_tenant"] for r in net.paris.rows["rbac-policies"].values()} == {"paris-p2", "paris-p3"}
    net.hub._delete("rbac-policies", policies["p2"])
    await net.networks.sync("sharing", hub_net["id"])
    await net.settle()
    assert {r["target_tenant"] for r in net.paris.rows["rbac-policies"].values()} == {"paris-p3"}


async def test_a_sites_own_network_keeps_its_policies(net: Net) -> None:
    hub = net.hub.only("networks", name="public")
    await net.networks._networks.external("paris", hub)
    net.paris.add("rbac-policies", {"object_type": "network", "object_id": net.paris.external, "action": "access_as_shared",
                                    "target_tenant": "somebody"})  # fmt: skip
    await net.networks.sync("sharing", hub["id"])
    await net.settle()
    assert len(net.paris.rows["rbac-policies"]) == 1


def _project(hub_id: str) -> Any:
    from cascade.store.pairs import Pair

    return Pair(kind="project", hub_id=hub_id, site="paris", site_id=f"paris-{hub_id}", project_id=hub_id)
