"""What of an image travels, and how bits are judged."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.reconcile import imagedoc

ID, SNAP, THERE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "3" * 32
HUB = {
    "id": ID, "name": "fedora", "status": "active", "visibility": "public", "owner": "p", "protected": True, "tags": ["a"],
    "disk_format": "qcow2", "container_format": "bare", "min_disk": 3, "min_ram": 0, "os_hidden": False, "size": 7,
    "hw_disk_bus": "virtio", "os_type": "linux", "img_signature": "x", "img_signature_hash_method": "y", "os_glance_importing": "z",
    "base_image_ref": SNAP, "block_device_mapping": f'[{{"snapshot_id": "{SNAP}"}}]', "cascade_x": "y", "self": "/v2/images/x",
}  # fmt: skip


def test_south_copies_what_drivers_need_and_nothing_else() -> None:
    body = imagedoc.south(HUB, {SNAP: THERE})
    assert body == {
        "name": "fedora", "disk_format": "qcow2", "container_format": "bare", "min_disk": 3, "min_ram": 0,
        "hw_disk_bus": "virtio", "os_type": "linux", "block_device_mapping": f'[{{"snapshot_id": "{THERE}"}}]',
        "visibility": "shared", "protected": False, "tags": ["a", f"cascade_image:{ID}"],
    }  # fmt: skip


def test_north_keeps_where_a_snapshot_came_from_and_hides_stamps() -> None:
    there = {**HUB, "visibility": "public", "tags": ["a", imagedoc.stamp(ID)], "instance_uuid": THERE}
    body = imagedoc.north(there, {THERE: SNAP})
    assert body["instance_uuid"] == SNAP and body["base_image_ref"] == SNAP
    assert (
        body["tags"] == ["a"] and body["visibility"] == "private" and "cascade_x" not in body and "os_glance_importing" not in body
    )


def test_stamp_is_read_from_tags() -> None:
    assert imagedoc.stamped({"tags": ["b", imagedoc.stamp(ID)]}) == ID
    assert imagedoc.stamped({"tags": ["b"], "cascade_image": ID}) is None


@given(st.dictionaries(st.sampled_from(["hw_a", "os~b", "c/d", "e"]), st.text(max_size=3)),
       st.dictionaries(st.sampled_from(["hw_a", "os~b", "c/d", "e"]), st.text(max_size=3)))  # fmt: skip
def test_patch_brings_one_to_the_other(want: dict[str, str], have: dict[str, str]) -> None:
    out = dict(have)
    for op in imagedoc.patch(want, have):
        key = op["path"][1:].replace("~1", "/").replace("~0", "~")
        if op["op"] == "remove":
            del out[key]
        else:
            assert (op["op"] == "replace") == (key in out)
            out[key] = op["value"]
    assert out == want


def test_patch_leaves_what_only_the_site_knows() -> None:
    have = {**imagedoc.south(HUB, {}), "instance_uuid": "x", "os_glance_y": "z", "status": "active", "visibility": "community"}
    assert imagedoc.patch(imagedoc.south(HUB, {}), have) == []


@pytest.mark.parametrize(("one", "other", "verdict"), [
    ({"size": 1}, {"size": 2}, False),
    ({"size": 1, "os_hash_algo": "sha512", "os_hash_value": "a"}, {"os_hash_algo": "sha512", "os_hash_value": "a"}, True),
    ({"os_hash_algo": "sha512", "os_hash_value": "a"}, {"os_hash_algo": "sha512", "os_hash_value": "b"}, False),
    ({"os_hash_algo": "sha256", "os_hash_value": "a", "checksum": "c"}, {"os_hash_algo": "sha512", "checksum": "c"}, True),
    ({"os_hash_algo": "sha256", "os_hash_value": "a"}, {"os_hash_algo": "sha512", "os_hash_value": "a"}, None),
])  # fmt: skip
def test_same_bits(one: dict[str, object], other: dict[str, object], verdict: bool | None) -> None:
    assert imagedoc.same_bits(one, other) is verdict


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("algorithm", ["sha512", "sha256", None, "no such"])
async def test_digest_judges_source_and_target(algorithm: str | None) -> None:
    data = b"abc" * 100
    digest = imagedoc.Digest({"os_hash_algo": algorithm})
    assert b"".join([c async for c in digest.through(_chunks(data[:7], data[7:]))]) == data
    right = {"size": 300, "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(data).hexdigest()}
    assert digest.complaint(right) is None
    assert digest.complaint({**right, "os_hash_value": "other"}) == "sha512 differs"
    assert "size" in (digest.complaint({**right, "size": 299}) or "")
    if algorithm is None:
        assert digest.complaint({"checksum": "wrong"}) == "md5 differs"
