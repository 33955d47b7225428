"""Neutron's resources as data: attributes, defaults, who may set and who may see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim.world import Row


@dataclass(frozen=True)
class Attr:
    """c: may be given in a create. u: may be changed. r: required. p: only administrators may give it. h: only they see it."""

    flags: str = ""
    default: Any = None
    kind: str = ""
    """"", "uuid", "uuid?", "bool", "str", "list", "dict", "dict?", "int"."""


def _(flags: str = "", default: Any = None, kind: str = "") -> Attr:
    return Attr(flags, default, kind)


@dataclass(frozen=True)
class Kind:
    """A resource. ``missing``: Neutron's error type for an unknown id, and its words."""

    one: str
    many: str
    path: str
    attrs: dict[str, Attr]
    missing: tuple[str, str]
    first: int = 1
    """Revision number after the create."""


_ZONES = _("c", [], "list")

KINDS: dict[str, Kind] = {
    k.one: k
    for k in (
        Kind("network", "networks", "networks", {
            "name": _("cu", "", "str"), "admin_state_up": _("cu", True, "bool"), "mtu": _("cu", None, "int"),
            "status": _("", "ACTIVE"), "shared": _("cup", False, "bool"), "router:external": _("cup", False, "bool"),
            "is_default": _("cup", False, "bool"), "availability_zone_hints": _ZONES,
            "port_security_enabled": _("cu", True, "bool"), "qos_policy_id": _("cu"), "dns_domain": _("cu", "", "str"),
            "vlan_transparent": _("c", False), "provider:network_type": _("cuph"), "provider:physical_network": _("cuph"),
            "provider:segmentation_id": _("cuph"), "segments": _("cuph"), "qinq": _("c", False),
        }, ("NetworkNotFound", "Network {} could not be found.")),
        Kind("subnet", "subnets", "subnets", {
            "name": _("cu", "", "str"), "network_id": _("cr", None, "uuid"), "ip_version": _("c", None, "int"),
            "cidr": _("c", None, "str"), "subnetpool_id": _("c"), "use_default_subnetpool": _("c", False), "prefixlen": _("c"),
            "enable_dhcp": _("cu", True, "bool"), "ipv6_ra_mode": _("cu"), "ipv6_address_mode": _("cu"), "gateway_ip": _("cu", ""),
            "allocation_pools": _("cu", None), "host_routes": _("cu", [], "list"), "dns_nameservers": _("cu", [], "list"),
            "service_types": _("cup", [], "list"), "segment_id": _("cph"), "dns_publish_fixed_ip": _("cu", False),
        }, ("SubnetNotFound", "Subnet {} could not be found."), first=0),
        Kind("port", "ports", "ports", {
            "name": _("cu", "", "str"), "network_id": _("cr", None, "uuid"), "mac_address": _("cup", None, "str"),
            "admin_state_up": _("cu", True, "bool"), "status": _("", "DOWN"), "device_id": _("cu", "", "str"),
            "device_owner": _("cu", "", "str"), "fixed_ips": _("cu", None), "allowed_address_pairs": _("cu", [], "list"),
            "extra_dhcp_opts": _("cu", [], "list"), "security_groups": _("cu", None), "binding:vnic_type": _("cu", "normal"),
            "binding:profile": _("cuph", {}), "binding:host_id": _("cuph", ""), "binding:vif_type": _("h", "unbound"),
            "binding:vif_details": _("h", {}), "port_security_enabled": _("cu", True, "bool"), "qos_policy_id": _("cu"),
            "qos_network_policy_id": _(), "dns_name": _("cu", "", "str"), "dns_domain": _("cu", "", "str"),
            "numa_affinity_policy": _("cup"), "device_profile": _("cp"), "propagate_uplink_status": _("cu"), "hints": _("cup"),
            "resource_request": _("h"), "ip_allocation": _("", "immediate"),
        }, ("PortNotFound", "Port {} could not be found.")),
        Kind("router", "routers", "routers", {
            "name": _("cu", "", "str"), "admin_state_up": _("cu", True, "bool"), "status": _("", "ACTIVE"),
            "external_gateway_info": _("cu", None, "dict?"), "availability_zone_hints": _ZONES, "routes": _("u", [], "list"),
            "flavor_id": _("c"), "distributed": _("cuph"), "ha": _("cuph", True), "enable_ndp_proxy": _("cu"),
            "enable_default_route_ecmp": _("cup", False), "enable_default_route_bfd": _("cup", False),
        }, ("RouterNotFound", "Router {} could not be found")),
        Kind("floatingip", "floatingips", "floatingips", {
            "floating_network_id": _("cr", None, "uuid"), "port_id": _("cu", None, "uuid?"), "fixed_ip_address": _("cu"),
            "floating_ip_address": _("cp"), "subnet_id": _("c"), "router_id": _(), "status": _("", "DOWN"),
            "qos_policy_id": _("cu"), "dns_name": _("c", ""), "dns_domain": _("c", ""),
        }, ("FloatingIPNotFound", "Floating IP {} could not be found"), first=0),
        Kind("security_group", "security_groups", "security-groups", {
            "name": _("cur", "", "str"), "stateful": _("cu", True, "bool"), "shared": _("", False),
        }, ("SecurityGroupNotFound", "Security group {} does not exist")),
        Kind("security_group_rule", "security_group_rules", "security-group-rules", {
            "security_group_id": _("cr", None, "uuid"), "direction": _("cr", None, "str"), "ethertype": _("c", "IPv4"),
            "protocol": _("c"), "port_range_min": _("c"), "port_range_max": _("c"), "remote_ip_prefix": _("c"),
            "remote_group_id": _("c"), "remote_address_group_id": _("c"), "normalized_cidr": _(), "belongs_to_default_sg": _(),
        }, ("SecurityGroupRuleNotFound", "Security group rule {} does not exist"), first=0),
        Kind("address_group", "address_groups", "address-groups", {
            "name": _("cu", "", "str"), "addresses": _("c", [], "list"), "shared": _("", False),
        }, ("AddressGroupNotFound", "Address group {} could not be found.")),
        Kind("subnetpool", "subnetpools", "subnetpools", {
            "name": _("cur", "", "str"), "prefixes": _("cur", [], "list"), "default_prefixlen": _("cu"), "min_prefixlen": _("cu"),
            "max_prefixlen": _("cu"), "is_default": _("cup", False), "shared": _("cp", False), "default_quota": _("cu"),
            "address_scope_id": _("cu"), "ip_version": _("", 4),
        }, ("SubnetPoolNotFound", "Subnet pool {} could not be found.")),
        Kind("address_scope", "address_scopes", "address-scopes", {
            "name": _("cur", "", "str"), "ip_version": _("c", 4), "shared": _("cup", False),
        }, ("AddressScopeNotFound", "Address scope {} could not be found.")),
        Kind("rbac_policy", "rbac_policies", "rbac-policies", {
            "object_type": _("cr", None, "str"), "object_id": _("cr", None, "uuid"), "target_tenant": _("cur", None, "str"),
            "action": _("cr", None, "str"),
        }, ("RbacPolicyNotFound", "RBAC policy of type None with ID {} not found")),
        Kind("policy", "policies", "qos/policies", {
            "name": _("cu", "", "str"), "shared": _("cup", False), "rules": _("", []), "is_default": _("cu", False),
        }, ("QosPolicyNotFound", "QoS policy {} could not be found.")),
        Kind("trunk", "trunks", "trunks", {
            "name": _("cu", "", "str"), "port_id": _("cr", None, "uuid"), "admin_state_up": _("cu", True, "bool"),
            "sub_ports": _("c", [], "list"), "status": _("", "DOWN"),
        }, ("TrunkNotFound", "Trunk {} could not be found.")),
    )
}  # fmt: skip
BY_PATH = {k.path: k for k in KINDS.values()}

QUOTAS: Row = {
    "network": 500, "subnet": 500, "subnetpool": -1, "port": 5000, "router_route": 30, "router": 500, "floatingip": 500,
    "rbac_policy": 500, "security_group": 500, "security_group_rule": 5000, "trunk": -1,
}  # fmt: skip
UNKNOWN_ON_HUB = ("ip_allocation",)
AUTO_DELETED = ("network:dhcp", "network:distributed", "network:floatingip_agent_gateway")
"""Owners of ports that go with their network or subnet."""
