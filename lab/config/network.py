"""Neutron: without any agent at the hub, with OVN at a site."""

from lab.config.ini import Context, Ini, Section

HUB_PLUGINS = "router,qos,port_forwarding,trunk,network_segment_range"
SITE_PLUGINS = "ovn-router,segments,trunk,qos,port_forwarding,placement,network_segment_range"
# auto_allocate, tag, timestamp, revisions, flavors and network_ip_availability come by themselves.

WAN = "wan:1000:1999"
"""The physical network that joins all clouds: the hub chooses a VLAN in it, sites replicate that."""


def neutron(context: Context) -> dict[str, Ini]:
    """neutron.conf and ml2_conf.ini."""
    hub = context.cloud.is_hub
    ini: Ini = {
        "DEFAULT": context.defaults("neutron")
        | {
            "core_plugin": "ml2",
            "service_plugins": HUB_PLUGINS if hub else SITE_PLUGINS,
            "api_paste_config": context.venv / "etc" / "neutron" / "api-paste.ini",
            "api_workers": 1,
            "rpc_workers": 1,
            "rpc_state_report_workers": 0,
            "auth_strategy": "keystone",
            "base_mac": context.cloud.base_mac,
            "dns_domain": "lab.example.",
            "notify_nova_on_port_status_changes": not hub,
            "notify_nova_on_port_data_changes": not hub,
            "agent_down_time": 150,
            "global_physnet_mtu": 1500,
            "max_allowed_address_pair": 20,
            "l3_ha": False,
        },
        "database": context.database("neutron"),
        "quotas": {
            f"quota_{kind}": 5000
            for kind in (
                "network",
                "subnet",
                "port",
                "router",
                "floatingip",
                "security_group",
                "security_group_rule",
                "rbac_policy",
                "trunk",
            )
        },
        **context.common("neutron"),
    }
    if not hub:
        ini["nova"] = context.auth("nova")
        ini["placement"] = context.auth("placement")
    return {"neutron.conf": ini, "ml2_conf.ini": _ml2(context)}


def _ml2(context: Context) -> Ini:
    hub = context.cloud.is_hub
    ini: Ini = {
        "ml2": {
            "type_drivers": "vlan,flat,local,geneve" if hub else "geneve,vxlan,vlan,flat,local",
            "tenant_network_types": "vlan" if hub else "geneve",
            # Not empty at the hub: the trunk plugin refuses to load without a driver that knows trunks.
            "mechanism_drivers": "openvswitch" if hub else "ovn",
            "extension_drivers": "port_security,qos,dns_domain_ports",
            "overlay_ip_version": 4,
        },
        "ml2_type_geneve": {"vni_ranges": "1:20000", "max_header_size": 38},
        "ml2_type_vxlan": {"vni_ranges": "1:20000"},
        "ml2_type_flat": {"flat_networks": "*"},
        "ml2_type_vlan": {"network_vlan_ranges": WAN if hub else f"{WAN},public:100:199"},
        "securitygroup": {"enable_security_group": True},
    }
    if not hub:
        ini["ovn"] = _ovn(context)
    return ini


def _ovn(context: Context) -> Section:
    run = context.place.run
    return {
        "ovn_nb_connection": f"unix:{run / 'nb.sock'}",
        "ovn_sb_connection": f"unix:{run / 'sb.sock'}",
        "ovn_l3_scheduler": "leastloaded",
        "ovn_metadata_enabled": False,
        "enable_distributed_floating_ip": False,
        "neutron_sync_mode": "log",
    }
