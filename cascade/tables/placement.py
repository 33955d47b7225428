"""Placement's paths (https://docs.openstack.org/api-ref/placement/), to be read by administrators: computed over the sites.

The hub has none. What of these is asked with another method than GET would be a write, and is the sites' own business.
"""

from cascade.model.table import Kind, Row

_GET = frozenset({"GET", "HEAD"})

ROWS: tuple[Row, ...] = (
    Row(pattern="/resource_providers", kind=Kind.AGGREGATE, methods=_GET, collection="resource_providers",
        handler="placement_list"),
    Row(pattern="/resource_classes", kind=Kind.AGGREGATE, methods=_GET, collection="resource_classes", handler="placement_list"),
    Row(pattern="/traits", kind=Kind.AGGREGATE, methods=_GET, collection="traits", handler="placement_list"),
    Row(pattern="/resource_providers/{id}", kind=Kind.AGGREGATE, methods=_GET, handler="placement_one"),
    Row(pattern="/resource_providers/{id}/{what}", kind=Kind.AGGREGATE, methods=_GET, handler="placement_one"),
    Row(pattern="/resource_providers/{id}/inventories/{class}", kind=Kind.AGGREGATE, methods=_GET, handler="placement_one"),
    Row(pattern="/resource_classes/{name}", kind=Kind.AGGREGATE, methods=_GET, handler="placement_one"),
    Row(pattern="/traits/{name}", kind=Kind.AGGREGATE, methods=_GET, handler="placement_one"),
    Row(pattern="/allocation_candidates", kind=Kind.AGGREGATE, methods=_GET, handler="placement_candidates"),
    Row(pattern="/allocations/{id}", kind=Kind.AGGREGATE, methods=_GET, handler="placement_allocations"),
    Row(pattern="/usages", kind=Kind.AGGREGATE, methods=_GET, handler="placement_usages"),
    Row(pattern="{path:*}", kind=Kind.AGGREGATE, handler="placement_refused"),
)  # fmt: skip
