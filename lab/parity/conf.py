"""tempest.conf, from what the direct side can do. The two sides of a comparison differ in addresses and ids, in nothing else."""

from pathlib import Path

from lab.config.ini import Ini, Section
from lab.data import PASSWORD
from lab.parity.resources import Resources
from lab.parity.sides import Ability, Side

COMPUTE_FEATURES: Section = {
    # What the lab's Nova driver does, really or for show. What is in doubt is on: a test that fails directly says so itself.
    "attach_encrypted_volume": True,
    "change_password": True,
    "cold_migration": True,
    "config_drive": True,
    "console_output": True,
    "hostname_fqdn_sanitization": True,
    "interface_attach": True,
    "live_migration": True,
    "pause": True,
    "personality": True,
    "rescue": True,
    "resize": True,
    "serial_console": True,
    "shelve": True,
    "shelve_migrate": True,
    "snapshot": True,
    "spice_console": True,
    "stable_rescue": True,
    "suspend": True,
    "swap_volume": True,
    "vnc_console": True,
    "volume_backed_live_migration": True,
    "volume_multiattach": True,
}

TIMEOUT = 180
"""Seconds to wait for anything to be built; the machine is small, and a test that waits in vain costs this."""


def version(microversion: tuple[int, int]) -> str:
    """A microversion as text."""
    return ".".join(map(str, microversion))


def tempest(side: Side, ability: Ability, resources: Resources, *, prefix: str, folder: Path, web: str) -> Ini:
    """tempest.conf of one run; ``prefix`` starts the name of everything the run makes, ``web`` has images to fetch."""
    return {
        "DEFAULT": {
            "log_file": "tempest.log",
            "log_dir": folder,
            "debug": False,
            "resource_name_prefix": prefix,
        },
        "oslo_concurrency": {"lock_path": folder / "lock"},
        "auth": {
            "use_dynamic_credentials": True,
            "create_isolated_networks": True,
            "admin_username": "admin",
            "admin_password": PASSWORD,
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
        },
        "identity": {"auth_version": "v3", "uri_v3": side.auth_url, "region": side.region, "v3_endpoint_type": "public"},
        "service_available": {"nova": True, "neutron": True, "glance": True, "cinder": True, "swift": False, "horizon": False},
        "compute": {
            "region": side.region,
            "image_ref": resources.image,
            "image_ref_alt": resources.image_alt,
            "flavor_ref": resources.flavor,
            "flavor_ref_alt": resources.flavor_alt,
            "build_timeout": TIMEOUT,
            "min_compute_nodes": ability.computes,
            "min_microversion": "2.1",
            "max_microversion": version(ability.compute),
        },
        "compute-feature-enabled": COMPUTE_FEATURES,
        "image": {
            "region": side.region,
            "build_timeout": TIMEOUT,
            "http_image": f"{web}/image",
            "http_qcow2_image": f"{web}/image.qcow2",
            "disk_formats": "raw,qcow2",
            "container_formats": "bare",
        },
        "image-feature-enabled": {"import_image": True, "os_glance_reserved": True},
        "network": {
            "region": side.region,
            "public_network_id": resources.network,
            "floating_network_name": "public",
            "project_network_cidr": "10.100.0.0/16",
            "project_network_mask_bits": 28,
            "build_timeout": TIMEOUT,
        },
        "network-feature-enabled": {
            "api_extensions": ",".join(ability.extensions),
            "floating_ips": True,
            "ipv6": True,
            "ipv6_subnet_attributes": True,
            "port_admin_state_change": True,
            "port_security": "port-security" in ability.extensions,
        },
        # No guest answers; a story that asks one all the same fails on both sides, and should do so soon.
        "validation": {"run_validation": False, "ping_timeout": 5, "connect_timeout": 5, "ssh_timeout": 5},
        "volume": {
            "region": side.region,
            "catalog_type": "block-storage",
            "backend_names": ",".join(ability.backends),
            "backup_driver": "posix",
            "build_timeout": TIMEOUT,
            "storage_protocol": ability.protocol,
            "vendor_name": ability.vendor,
            "volume_type_multiattach": resources.multiattach,
            "min_microversion": "3.0",
            "max_microversion": version(ability.volume),
        },
        "volume-feature-enabled": {
            "backup": ability.backup,
            "clone": True,
            "extend_attached_encrypted_volume": True,
            "extend_attached_volume": True,
            "multi_backend": len(ability.backends) > 1,
            "snapshot": True,
        },
    }
