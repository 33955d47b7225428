"""Which function serves which row: by the row's handler name, else by its kind."""

from __future__ import annotations

from cascade.api import (
    actions,
    aggregate,
    consoles,
    hostgroups,
    hubwrites,
    images,
    listing,
    manage,
    network,
    quotas,
    servers,
    transfers,
    usage,
    volumes,
    zonal,
    zones,
)  # fmt: skip
from cascade.api.app import Handler
from cascade.api.forward import to_hub
from cascade.model.table import Row
from cascade.tables import compute, identity, image, volume
from cascade.tables import network as network_table

TABLES: dict[str, tuple[Row, ...]] = {
    "identity": identity.ROWS, "compute": compute.ROWS, "volume": volume.ROWS, "network": network_table.ROWS, "image": image.ROWS,
}  # fmt: skip

HANDLERS: dict[str, Handler] = {
    "hub": to_hub,
    "zonal": zonal.zonal,
    "zonal list": listing.zonal_list,
    "hub_write": hubwrites.hub_write,
    "server_create": servers.server_create,
    "server_delete": servers.server_delete,
    "server_action": actions.server_action,
    "server_tags": actions.server_tags,
    "server_groups": actions.server_groups,
    "remote_console": consoles.remote_console,
    "console_auth_token": consoles.console_auth_token,
    "interface_attach": actions.interface_attach,
    "interface_detach": actions.interface_detach,
    "volume_attach": actions.volume_attach,
    "compute_quota": quotas.compute_quota,
    "quota_class": quotas.quota_class,
    "compute_limits": quotas.compute_limits,
    "compute_zones": zones.compute_zones,
    "services": aggregate.services,
    "usage": usage.usage,
    "audit_log": usage.audit_log,
    "hosts": aggregate.hosts,
    "server_migrations": aggregate.server_migrations,
    "hypervisors": aggregate.hypervisors,
    "migrations": aggregate.migrations,
    "aggregates": hostgroups.aggregates,
    "volume_create": volumes.volume_create,
    "volume_child_create": volumes.volume_child_create,
    "backup_restore": volumes.backup_restore,
    "transfer_accept": transfers.transfer_accept,
    "volume_delete": volumes.volume_delete,
    "volume_action": volumes.volume_action,
    "volume_summary": aggregate.volume_summary,
    "volume_quota": quotas.volume_quota,
    "volume_limits": quotas.volume_limits,
    "volume_zones": zones.volume_zones,
    "manage": manage.manage,
    "capabilities": manage.capabilities,
    "pools": aggregate.pools,
    **network.HANDLERS,
    **images.HANDLERS,
}
