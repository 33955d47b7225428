"""Aliases of Neutron's extensions, as the lab's clouds have them."""

from sim.world import Cloud


def _names(text: str) -> list[str]:
    return text.split()


COMMON = _names("""
    address-group address-scope agent allowed-address-pairs auto-allocated-topology availability_zone binding
    binding-extended default-subnetpools dhcp_agent_scheduler dns-domain-ports dns-integration empty-string-filtering
    expose-port-forwarding-in-fip ext-gw-mode external-net extra_dhcp_opt extraroute extraroute-atomic filter-validation
    fip-port-details flavors floating-ip-port-forwarding floating-ip-port-forwarding-description
    floating-ip-port-forwarding-detail floating-ip-port-forwarding-port-ranges floating-ip-router-writable
    floatingip-pools ip-substring-filtering l3-flavors l3-ha l3_agent_scheduler multi-provider net-mtu net-mtu-writable
    network-ip-availability network-ip-availability-details network-segment-range network_availability_zone pagination
    port-device-profile port-mac-address-regenerate port-numa-affinity-policy port-numa-affinity-policy-socket
    port-resource-request port-resource-request-groups port-security project-id provider qos qos-bw-limit-direction
    qos-bw-minimum-ingress qos-default qos-fip qos-gateway-ip qos-port-network-policy qos-pps qos-pps-minimum
    qos-pps-minimum-rule-alias qos-rule-type-details qos-rule-type-filter qos-rules-alias quota-check-limit
    quota-check-limit-default quota_details quotas rbac-address-scope rbac-policies rbac-security-groups
    revision-if-match router router_availability_zone security-group security-groups-default-rules
    security-groups-default-statefulness security-groups-normalized-cidr security-groups-remote-address-group
    security-groups-rules-belongs-to-default-sg security-groups-shared-filtering service-type sorting
    standard-attr-description standard-attr-revisions standard-attr-tag standard-attr-timestamp stateful-security-group
    subnet-external-network subnet-service-types subnet_allocation subnet_onboard subnetpool-prefix-ops tag-creation
    trunk trunk-details
""")
"""Of every cloud."""
HUB = _names("""
    aap-reject-multicast agent-resources-synced agent_sort_key availability_zone_filter dvr
    l3-port-ip-change-not-allowed network_ha port-mac-override port-security-groups-filtering rbac-address-group
    rbac-subnetpool router-admin-state-down-before-update
""")
"""Of a hub: ML2 without agents and the router plugin."""
SITE = _names("""
    dns-integration-domain-keywords enable-default-route-bfd enable-default-route-ecmp external-gateway-multihoming
    ip_allocation l2_adjacency l3-agent-scheduler-ha-chassis-priority qinq router-enable-snat segment
    segments-peer-subnet-host-routes standard-attr-segment subnet-dns-publish-fixed-ip subnet-segmentid-writable
    vlan-transparent
""")
"""Of a site with OVN."""
NOT_IN_2025 = _names("""
    extraroute-atomic floating-ip-router-writable ip-substring-filtering l3-agent-scheduler-ha-chassis-priority
    l3_agent_scheduler network-ip-availability-details qinq router-enable-snat security-groups-default-statefulness
    subnet_onboard vlan-transparent
""")
"""What a site of 2025.1 lacks."""


def aliases(cloud: Cloud) -> list[str]:
    """What a cloud has."""
    found = {*COMMON, *(HUB if cloud.hub else SITE)}
    return sorted(found - (set() if cloud.newest else set(NOT_IN_2025)))
