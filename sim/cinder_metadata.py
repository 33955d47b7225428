"""Cinder: metadata of volumes and snapshots."""

from __future__ import annotations

from sim.cinder import metadata
from sim.cinder_rows import SNAPSHOT, VOLUME, Kind, fetch, touch
from sim.faults import Refused
from sim.web import Answer, Call, route
from sim.world import Row


def _register(kind: Kind) -> None:
    """The same five calls for both."""
    at = f"/{kind.many}/{{ident}}/metadata"
    words = kind.name if kind is VOLUME else "Snapshot"

    @route("volume", "GET", at)
    def read(call: Call, ident: str) -> Row:
        return {"metadata": fetch(call, kind, ident)["metadata"]}

    @route("volume", "POST", at, "member", f"volume:create_{kind.one}_metadata")
    def add(call: Call, ident: str) -> Row:
        row = fetch(call, kind, ident)
        touch(call.cloud, row, metadata=row["metadata"] | metadata({"metadata": call.body("metadata")}))
        return {"metadata": row["metadata"]}

    @route("volume", "PUT", at, "member", f"volume:update_{kind.one}_metadata")
    def replace(call: Call, ident: str) -> Row:
        row = fetch(call, kind, ident)
        touch(call.cloud, row, metadata=metadata({"metadata": call.body("metadata")}))
        return {"metadata": row["metadata"]}

    def item(call: Call, ident: str, key: str) -> Row:
        row = fetch(call, kind, ident)
        if key not in row["metadata"]:
            raise Refused(404, f"{words} {ident} has no metadata with key {key}.")
        return row

    @route("volume", "GET", at + "/{key}")
    def one(call: Call, ident: str, key: str) -> Row:
        return {"meta": {key: item(call, ident, key)["metadata"][key]}}

    @route("volume", "PUT", at + "/{key}", "member", f"volume:update_{kind.one}_metadata")
    def put(call: Call, ident: str, key: str) -> Row:
        row = fetch(call, kind, ident)
        given = metadata({"metadata": call.body("meta")})
        if key not in given:
            raise Refused(400, "Request body and URI mismatch")
        touch(call.cloud, row, metadata=row["metadata"] | {key: given[key]})
        return {"meta": {key: given[key]}}

    @route("volume", "DELETE", at + "/{key}", "member", f"volume:delete_{kind.one}_metadata")
    def drop(call: Call, ident: str, key: str) -> Answer:
        row = item(call, ident, key)
        touch(call.cloud, row, metadata={k: v for k, v in row["metadata"].items() if k != key})
        return Answer(200)


for _kind in (VOLUME, SNAPSHOT):
    _register(_kind)
