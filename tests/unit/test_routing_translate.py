"""Ids are rewritten wherever they stand, and nothing else is."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.routing import translate

A, B = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "ffffffff-0000-4111-8222-333333333333"
HEX, HEX2 = "0123456789abcdef0123456789abcdef", "f" * 32
MAP = {A: B, HEX: HEX2}

ids = st.uuids().map(str) | st.uuids().map(lambda u: u.hex)
text = st.text(alphabet='ab01-_/ "\\:,.?&=%{}', max_size=20)


FORMS = (
    "{}", "/v3/{}/volumes", "http://h:8776/v3/{}?a=1", "({})", "Volume {} is busy.", '[{{"id": "{}"}}]', "a,{}", "x={}&y",
    '[{{\\"id\\": \\"{}\\"}}]', "%2F{}%22", "line\\n{}", "\\u0022{}\\u0022",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("ident", "other"), [(A, B), (HEX, HEX2)])
def test_found_at_boundaries(form: str, ident: str, other: str) -> None:
    whole = form.format(ident)
    assert translate.tokens_text(whole) == translate.tokens_text(whole.encode()) == {ident}
    assert translate.rewrite_text(whole, MAP) == form.format(other)
    assert translate.rewrite_text(whole.encode(), MAP) == form.format(other).encode()


@pytest.mark.parametrize("form", ["{}0", "0{}", "x{}", "volume-{}", "{}-disk", "_{}", "{}_", "n{}"])
@pytest.mark.parametrize("ident", [A, HEX])
def test_not_inside_longer_names(form: str, ident: str) -> None:
    whole = form.format(ident)
    assert translate.tokens_text(whole) == translate.tokens_text(whole.encode()) == set()
    assert translate.rewrite_text(whole, MAP) == whole
    assert translate.rewrite_text(whole.encode(), MAP) == whole.encode()


def test_case_is_part_of_an_id() -> None:
    assert translate.tokens_text(A.upper()) == {A.upper()}
    assert translate.rewrite_text(A.upper(), MAP) == A.upper()


def test_what_users_wrote_is_left() -> None:
    doc = {
        "server": {
            "id": A, "name": A, "description": f"see {A}", "metadata": {"k": A, A: "v"}, "user_data": A, "tags": [A],
            "fault": {"message": f"{A} failed"}, "properties": {"block_device_mapping": json.dumps([{"volume_id": A}])},
            "volume_image_metadata": {"image_id": A}, "personality": [{"path": A}], "key_name": HEX, "tenant_id": HEX,
        },
        "usage": {HEX: {"x": 1}}, "output": f"console of {A}",
    }  # fmt: skip
    out = translate.rewrite(doc, MAP)
    assert translate.tokens(doc) == {A, HEX}
    assert out["server"]["id"] == B and out["server"]["tenant_id"] == HEX2
    assert out["server"]["fault"] == {"message": f"{B} failed"}
    assert json.loads(out["server"]["properties"]["block_device_mapping"]) == [{"volume_id": B}]
    assert out["server"]["volume_image_metadata"] == {"image_id": B}
    assert out["usage"] == {HEX2: {"x": 1}}
    for mine in ("name", "description", "metadata", "user_data", "tags", "personality", "key_name"):
        assert out["server"][mine] == doc["server"][mine]
    assert out["output"] == doc["output"]
    assert translate.rewrite(doc, {}) is doc


def test_bytes_without_candidates_are_not_decoded() -> None:
    raw = b'{"not": json'
    assert translate.rewrite_json(raw, MAP) is raw
    assert json.loads(translate.rewrite_json(f'{{"id":"{A}","name":"{A}"}}'.encode(), MAP)) == {"id": B, "name": A}


def test_params_and_headers() -> None:
    params = [("project_id", HEX), ("name", HEX), ("tags", A), ("marker", A)]
    assert translate.tokens_params(params) == {HEX, A}
    assert translate.rewrite_params(params, MAP) == [("project_id", HEX2), ("name", HEX), ("tags", A), ("marker", B)]
    assert translate.rewrite_headers({"location": f"http://s/v2/images/{A}"}, MAP) == {"location": f"http://s/v2/images/{B}"}


def test_deep_documents_pass() -> None:
    doc: object = A
    for _ in range(translate.DEEPEST + 500):
        doc = [doc]
    assert translate.tokens(doc) == set()
    translate.rewrite(doc, MAP)


@given(st.lists(st.tuples(text, ids), max_size=6), text)
def test_fast_and_slow_paths_agree(parts: list[tuple[str, str]], tail: str) -> None:
    whole = "".join(t + i for t, i in parts) + tail
    slow = {m.decode() for m in translate._TOKEN_BYTES.findall(whole.encode())}
    assert translate.tokens_text(whole) == slow
    assert set(translate._TOKEN.findall(whole)) == slow


keys = text | ids | st.sampled_from(["name", "metadata", "id"])
json_docs = st.recursive(
    st.none() | st.booleans() | st.integers() | text | ids | st.builds("{}/{}".format, text, ids),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(text | ids | st.sampled_from(["name", "metadata", "id"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_docs)
def test_there_and_back(doc: object) -> None:
    there = {t: str(uuid.uuid5(uuid.NAMESPACE_OID, t)) for t in translate.tokens(doc)}
    back = {v: k for k, v in there.items()}
    north = translate.rewrite(doc, there)
    assert translate.tokens(north) == set(back)
    assert translate.rewrite(north, back) == doc


@given(json_docs)
def test_nothing_else_changes(doc: object) -> None:
    assert translate.rewrite(doc, {str(uuid.uuid4()): "x"}) == doc
