"""Gnocchi's paths (https://gnocchi.osci.io/rest.html).

There is none at the hub: what no other row names, any metered site answers.
"""

from cascade.model.table import Kind, Row

_GET, _POST, _DELETE = frozenset({"GET"}), frozenset({"POST"}), frozenset({"DELETE"})
_WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})
RESOURCE_TIES = ("revision_start:asc", "started_at:asc")

ROWS: tuple[Row, ...] = (
    Row(pattern="/v1/resource/{type}", kind=Kind.ZONAL_LIST, resource="resource", methods=_GET, ties=RESOURCE_TIES,
        handler="metric_list"),
    Row(pattern="/v1/search/resource/{type}", kind=Kind.ZONAL_LIST, resource="resource", methods=_POST, ties=RESOURCE_TIES,
        handler="metric_list"),
    Row(pattern="/v1/resource/{type}", kind=Kind.ZONAL_CREATE, resource="resource", methods=_POST, handler="metric_create"),
    Row(pattern="/v1/resource/{type}", kind=Kind.AGGREGATE, methods=_DELETE, handler="metric_bulk_delete"),
    Row(pattern="/v1/resource/{type}/{id}{rest:*}", kind=Kind.ZONAL, resource="resource", handler="metric_zonal"),
    Row(pattern="/v1/metric", kind=Kind.ZONAL_LIST, resource="metric", methods=_GET, ties=("id:asc",), handler="metric_list"),
    Row(pattern="/v1/metric", kind=Kind.ZONAL_CREATE, resource="metric", methods=_POST, handler="metric_create"),
    Row(pattern="/v1/metric/{id}{rest:*}", kind=Kind.ZONAL, resource="metric", handler="metric_zonal"),
    Row(pattern="/v1/batch/metrics/measures", kind=Kind.AGGREGATE, resource="metric", methods=_POST, handler="metric_batch"),
    Row(pattern="/v1/batch/resources/metrics/measures", kind=Kind.AGGREGATE, resource="resource", methods=_POST,
        handler="metric_batch"),
    Row(pattern="/v1/aggregates", kind=Kind.AGGREGATE, methods=_POST, handler="metric_aggregates"),
    Row(pattern="/v1/status", kind=Kind.AGGREGATE, methods=_GET, handler="metric_status"),
    Row(pattern="/v1/capabilities", kind=Kind.AGGREGATE, methods=_GET, handler="metric_capabilities"),
    *(
        Row(pattern=f"/v1/{path}{{rest:*}}", kind=Kind.REPLICATED, resource=path, methods=_WRITES, handler="metric_replicated")
        for path in ("archive_policy_rule", "archive_policy", "resource_type")
    ),
    Row(pattern="/v1/prometheus/{rest:*}", kind=Kind.ZONAL_CREATE, handler="metric_home"),
    Row(pattern="/v1/influxdb{rest:*}", kind=Kind.ZONAL_CREATE, handler="metric_home"),
    Row(pattern="/v1/search/metric", kind=Kind.ZONAL, resource="metric", methods=_POST, handler="metric_one_site"),
    Row(pattern="/v1/aggregation/metric", kind=Kind.ZONAL, resource="metric", methods=_GET, handler="metric_one_site"),
    Row(pattern="/v1/aggregation/{rest:*}", kind=Kind.AGGREGATE, handler="metric_sole"),
    Row(pattern="{path:*}", kind=Kind.AGGREGATE, handler="metric_any"),
)  # fmt: skip
