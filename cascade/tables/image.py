"""Glance's paths (https://docs.openstack.org/api-ref/image/v2/). All is the hub's; these rows stream, or tell the replicas."""

from cascade.model.table import Kind, Row

_GET, _PUT, _POST = frozenset({"GET"}), frozenset({"PUT"}), frozenset({"POST"})

ROWS: tuple[Row, ...] = (
    Row(pattern="/v2/images/{id}/file", kind=Kind.HUB, resource="image", methods=_GET, handler="image_download", raw=True),
    Row(pattern="/v2/images/{id}/file", kind=Kind.REPLICATED, resource="image", methods=_PUT, handler="image_upload", raw=True),
    Row(pattern="/v2/images/{id}/stage", kind=Kind.HUB, resource="image", methods=_PUT, handler="image_upload", raw=True),
    Row(pattern="/v2/images", kind=Kind.REPLICATED, resource="image", methods=_POST, handler="image_write"),
    Row(pattern="/v2/images/{id}", kind=Kind.REPLICATED, resource="image", methods=frozenset({"PATCH", "DELETE"}),
        handler="image_write"),
    Row(pattern="/v2/images/{id}/actions/{action}", kind=Kind.REPLICATED, resource="image", methods=_POST, handler="image_write"),
    Row(pattern="/v2/images/{id}/members{rest:*}", kind=Kind.REPLICATED, resource="image",
        methods=frozenset({"POST", "PUT", "DELETE"}), handler="image_write"),
    Row(pattern="/v2/images/{id}/tags/{tag}", kind=Kind.REPLICATED, resource="image", methods=frozenset({"PUT", "DELETE"}),
        handler="image_write"),
)  # fmt: skip
