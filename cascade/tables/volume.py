"""Cinder's paths below /v3/{project} (https://docs.openstack.org/api-ref/block-storage/v3/). What is not listed is the hub's."""

from cascade.model.table import Kind, Row

_GET, _POST = frozenset({"GET"}), frozenset({"POST"})
_TIES = ("created_at:desc", "id:desc")


def _zonal(
    path: str, resource: str, collection: str, *, create: str = "volume_child_create", detail: bool = True
) -> tuple[Row, ...]:
    """List, create and everything below one zonal collection."""
    lists = (path, f"{path}/detail") if detail else (path,)
    return (
        *(Row(pattern=p, kind=Kind.ZONAL_LIST, resource=resource, methods=_GET, collection=collection, ties=_TIES) for p in lists),
        Row(pattern=path, kind=Kind.ZONAL_CREATE, resource=resource, methods=_POST, handler=create),
        Row(pattern=f"{path}/{{id}}", kind=Kind.ZONAL, resource=resource, methods=frozenset({"DELETE"}), handler="volume_delete"),
        Row(pattern=f"{path}/{{id}}/action", kind=Kind.ZONAL, resource=resource, methods=_POST, handler="volume_action"),
        Row(pattern=f"{path}/{{id}}{{rest:*}}", kind=Kind.ZONAL, resource=resource),
    )


ROWS: tuple[Row, ...] = (
    Row(pattern="/volumes/summary", kind=Kind.AGGREGATE, methods=_GET, handler="volume_summary"),
    Row(pattern="/backups/{id}/restore", kind=Kind.ZONAL_CREATE, resource="volume", methods=_POST, handler="backup_restore"),
    Row(pattern="/backups/import_record", kind=Kind.ZONAL_CREATE, resource="backup", methods=_POST, handler="backup_import"),
    Row(pattern="/groups/action", kind=Kind.ZONAL_CREATE, resource="group", methods=_POST, handler="volume_child_create"),
    *(
        Row(pattern=f"/{path}/{{id}}/accept", kind=Kind.ZONAL, resource="transfer", methods=_POST, handler="transfer_accept")
        for path in ("os-volume-transfer", "volume-transfers")
    ),
    *_zonal("/volumes", "volume", "volumes", create="volume_create"),
    *_zonal("/snapshots", "snapshot", "snapshots"),
    *_zonal("/backups", "backup", "backups"),
    *_zonal("/attachments", "attachment", "attachments"),
    *_zonal("/os-volume-transfer", "transfer", "transfers"),
    *_zonal("/volume-transfers", "transfer", "transfers"),
    *_zonal("/groups", "group", "groups"),
    *_zonal("/group_snapshots", "group_snapshot", "group_snapshots"),
    *_zonal("/messages", "message", "messages", detail=False),
    Row(pattern="/types{rest:*}", kind=Kind.REPLICATED, resource="volume_type", methods=frozenset({"POST", "PUT", "DELETE"}),
        handler="hub_write", veto=True),
    Row(pattern="/qos-specs{rest:*}", kind=Kind.REPLICATED, resource="qos_spec", handler="hub_write"),
    Row(pattern="/group_types{rest:*}", kind=Kind.REPLICATED, resource="group_type", methods=frozenset({"POST", "PUT", "DELETE"}),
        handler="hub_write", veto=True),
    Row(pattern="/os-quota-class-sets/{name}", kind=Kind.AGGREGATE, methods=frozenset({"PUT"}), handler="quota_class"),
    Row(pattern="/os-quota-sets/{project}{rest:*}", kind=Kind.AGGREGATE, handler="volume_quota"),
    Row(pattern="/limits", kind=Kind.AGGREGATE, methods=_GET, handler="volume_limits"),
    Row(pattern="/os-availability-zone", kind=Kind.AGGREGATE, methods=_GET, handler="volume_zones"),
    Row(pattern="/scheduler-stats/get_pools", kind=Kind.AGGREGATE, methods=_GET, handler="pools"),
    *(
        Row(pattern=f"/{path}{{rest:*}}", kind=Kind.ZONAL_CREATE, handler="manage")
        for path in ("manageable_volumes", "manageable_snapshots", "os-volume-manage", "os-snapshot-manage")
    ),
    Row(pattern="/capabilities/{host}", kind=Kind.AGGREGATE, methods=_GET, handler="capabilities"),
    Row(pattern="/os-hosts{rest:*}", kind=Kind.AGGREGATE, handler="hosts"),
    Row(pattern="/os-services{rest:*}", kind=Kind.AGGREGATE, handler="services"),
)  # fmt: skip
