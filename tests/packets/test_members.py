"""A rule with a remote group admits its members wherever they stand, and nobody else."""

from __future__ import annotations

from tests.packets.stage import Stage, denied, reaches


def test_members_of_both_sites(stage: Stage) -> None:
    """Two members and a stranger on one network: who leaves the group is a stranger within seconds, in either site."""
    net, web, other = stage.tenant.network("10.42.0.0/24")["id"], stage.group(), stage.group()
    stage.admit(web, protocol="tcp", port_range_min=80, port_range_max=80, remote_group_id=web)
    paris, tokyo = stage.leased(net, "paris", "tokyo", groups=[web])
    (stranger,) = stage.leased(net, "tokyo", groups=[other])
    for one, two in ((paris, tokyo), (tokyo, paris)):
        heard = reaches(one, two)
        assert heard is not None and heard.peer == one.address
    assert denied(stranger, tokyo, seconds=0) and denied(stranger, paris, seconds=0)
    stage.tenant.put(f"ports/{stranger.port['id']}", "port", security_groups=[web])
    assert reaches(stranger, tokyo) and reaches(stranger, paris)
    stage.tenant.put(f"ports/{tokyo.port['id']}", "port", security_groups=[other])
    assert denied(tokyo, paris) and denied(tokyo, stranger)
    assert reaches(stranger, paris), "the members that stay are admitted still"
