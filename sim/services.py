"""Every service, imported for its routes."""

from sim import (
    glance,
    keystone,
    keystone_directory,
    keystone_grants,
    neutron,
    neutron_routers,
    nova,
    nova_actions,
    nova_admin,
    nova_catalogue,
    nova_consoles,
    nova_create,
    nova_devices,
    nova_parts,
    nova_quota,
    placement,
)

__all__ = [
    "glance",
    "keystone",
    "keystone_directory",
    "keystone_grants",
    "neutron",
    "neutron_routers",
    "nova",
    "nova_actions",
    "nova_admin",
    "nova_catalogue",
    "nova_consoles",
    "nova_create",
    "nova_devices",
    "nova_parts",
    "nova_quota",
    "placement",
]
