"""The lab's data cannot contradict itself, and what is rendered from it is what the services need."""

import configparser
import re
from itertools import combinations
from pathlib import Path

import pytest

from lab import accounts, config, infra, ovn, services
from lab.__main__ import NAMES
from lab.addons import ADDONS, aodh, heat, kind
from lab.config.ini import render
from lab.data import CLOUDS, CONSOLES, DATABASES, GATEWAY_PORT, GATEWAY_URL, HUB, RELEASES, SERVICES, SITES, Cloud, Identity
from lab.paths import State

CLOUD_LIST = list(CLOUDS.values())


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A state folder whose virtual environments hold just the file that is copied from them."""
    for release in RELEASES:
        paste = tmp_path / "venvs" / release / "etc" / "nova" / "api-paste.ini"
        paste.parent.mkdir(parents=True)
        paste.touch()
    return State(tmp_path)


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    return parser


def test_no_two_clouds_share_a_port_a_mac_prefix_or_an_external_address() -> None:
    for one, two in combinations(CLOUD_LIST, 2):
        assert not {one.port(name) for name in SERVICES} & {two.port(name) for name in SERVICES}
        assert one.base_mac != two.base_mac
        assert one.external_pool[1] < two.external_pool[0] or two.external_pool[1] < one.external_pool[0]


def test_every_cloud_runs_a_known_release() -> None:
    assert {cloud.release for cloud in CLOUD_LIST} <= set(RELEASES)
    assert set(DATABASES) == set(SERVICES)


def test_the_hub_has_no_placement_and_a_shared_site_no_keystone() -> None:
    assert "placement" not in HUB.services
    for site in SITES.values():
        assert ("keystone" in site.services) == (site.identity is Identity.MAPPED)


def test_a_shared_site_authenticates_at_the_hub() -> None:
    shared = [site for site in SITES.values() if site.identity is Identity.SHARED]
    assert shared
    assert {site.identity_url for site in shared} == {HUB.identity_url}


def test_render_writes_booleans_as_oslo_config_reads_them() -> None:
    assert render({"DEFAULT": {"a": True, "b": 1, "c": Path("/x")}, "z": {}}) == ("[DEFAULT]\na = true\nb = 1\nc = /x\n\n[z]\n")


@pytest.mark.parametrize("cloud", CLOUD_LIST, ids=lambda cloud: cloud.name)
def test_every_configuration_file_a_process_names_is_written(state: State, cloud: Cloud) -> None:
    config.write(state, cloud)
    for proc in services.procs(state, cloud):
        for flag, value in zip(proc.argv, proc.argv[1:], strict=False):
            if flag == "--config-file":
                assert Path(value).is_file(), f"{proc.name}: {value}"
    for service in cloud.services:
        assert (state.cloud(cloud).etc / service).is_dir()


def test_the_hub_has_no_broker_no_agents_and_spans_networks_over_vlans(state: State) -> None:
    config.write(state, HUB)
    etc = state.cloud(HUB).etc
    neutron, ml2 = read(etc / "neutron" / "neutron.conf"), read(etc / "neutron" / "ml2_conf.ini")
    assert neutron["DEFAULT"]["transport_url"] == "fake://"
    assert ml2["ml2"]["mechanism_drivers"] == "openvswitch"
    assert ml2["ml2"]["tenant_network_types"] == "vlan"
    assert "public_endpoint" not in read(etc / "keystone" / "keystone.conf")["DEFAULT"]
    assert [proc.name for proc in services.procs(state, HUB)] == [f"{name}-api" for name in HUB.services]


def test_the_hubs_nova_asks_cascade_about_images_networks_and_volumes(state: State) -> None:
    config.write(state, HUB)
    nova = read(state.cloud(HUB).etc / "nova" / "nova.conf")
    assert nova["glance"]["endpoint_override"] == f"{GATEWAY_URL}/image"
    assert nova["neutron"]["endpoint_override"] == f"{GATEWAY_URL}/network"
    assert nova["cinder"]["endpoint_template"] == f"{GATEWAY_URL}/volume/v3"


@pytest.mark.parametrize("site", list(SITES.values()), ids=lambda site: site.name)
def test_nova_of_an_eventlet_release_gets_processes_not_threads(state: State, site: Cloud) -> None:
    argv = services.api(state, site, "nova").argv
    threads = int(argv[argv.index("--threads") + 1])
    assert (threads == 1) == RELEASES[site.release].eventlet


def test_every_compute_service_has_a_chassis_of_its_own(state: State) -> None:
    site = next(iter(SITES.values()))
    twin = Cloud(site.name, site.release, site.base_port, site.identity, site.base_mac, site.external_pool, computes=2)
    computes = [proc for proc in services.procs(state, twin) if proc.name.startswith("nova-compute")]
    assert len({proc.env["LAB_OVSDB"] for proc in computes}) == 2
    assert sum(proc.name.startswith("ovn-controller") for proc in ovn.procs(state, twin)) == 2


def test_process_names_are_unique_within_a_place(state: State) -> None:
    for cloud in CLOUD_LIST:
        names = [proc.name for proc in (*services.procs(state, cloud), *ovn.procs(state, cloud))]
        assert len(names) == len(set(names))
    assert len({proc.name for proc in infra.procs(state)}) == 3


def test_clouds_yaml_has_the_accounts_people_and_cascade_use() -> None:
    found = accounts.clouds()
    assert {"cascade", "cascade-reader", "cascade-other", "cascade-admin", "hub", "hub-admin"} <= set(found)
    assert {"paris", "paris-demo", "paris-admin", "tokyo", "osaka"} <= set(found)
    assert found["osaka"]["auth"]["auth_url"] == HUB.identity_url
    assert found["osaka"]["region_name"] == "osaka"
    assert found["paris"]["auth"]["username"] == "cascade"


def test_an_add_on_has_a_name_and_ports_of_its_own(state: State) -> None:
    taken = {cloud.port(name) for cloud in CLOUD_LIST for name in SERVICES} | {GATEWAY_PORT}
    taken |= {cloud.console_port(program) for cloud in CLOUD_LIST for program in CONSOLES}
    listening = [proc.port for addon in ADDONS.values() for proc in addon.procs(state) if proc.port]
    assert not taken & set(listening) and len(set(listening)) == len(listening)
    assert set(kind.PORTS.values()) <= set(listening)
    assert not set(ADDONS) & {*CLOUDS, *RELEASES, "cascade", "infra"} and set(ADDONS) <= set(NAMES["start"])


def test_aodh_knows_the_gateway_alone(state: State) -> None:
    found = {int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", render(aodh.configuration(state)))}
    assert found == {GATEWAY_PORT}


def test_heat_knows_the_gateway_alone(state: State) -> None:
    text = render(heat.configuration(state))
    found = {int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", text)}
    assert found == {GATEWAY_PORT, kind.PORTS["heat-api-cfn"]}


def test_heat_at_a_site_knows_that_site_alone(state: State) -> None:
    paris = SITES["paris"]
    stand = heat.at_site(paris)
    text = render(heat.configuration(state, stand))
    found = {int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", text)}
    assert found == {paris.port("keystone"), stand.ports["heat-api-cfn"]}
    taken = {cloud.port(name) for cloud in CLOUD_LIST for name in SERVICES} | set(kind.PORTS.values())
    assert not taken & set(stand.ports.values())
    assert not {stand.database, stand.bus} & {heat.AT_HUB.database, heat.AT_HUB.bus}
