"""Gnocchi's own tests: what is changed in their files."""

from __future__ import annotations

import uuid

import yaml

from lab.parity import gabbits
from lab.raw import Cloud

GABBI = """defaults:
  request_headers:
    # User foobar
    authorization: "basic Zm9vYmFyOg=="

tests:
- name: a resource
  POST: /v1/resource/generic
  request_headers:
    authorization: ""
  data:
    id: 1.2.3.4
    project_id: f3d41b770cc14f0bb94a1d5be9c0e3ea
  response_json_paths:
    creator: foobar
    id: a9c729cc-d1b0-5e6b-b5ba-8b5a7f45f1fc
"""


def test_gnocchis_own_files_are_made_to_fit() -> None:
    """Real tokens, projects and creators; no Accept where none was sent; ids that are made of a name and who made it."""
    accounts = {name: Cloud(name, {}, "r", "token", f"{name}-project", f"{name}-user") for name in ("admin", "demo", "other")}
    # what made the id of the file is a creator "foobar"
    ids = {"foobar": "a9c729cc-d1b0-5e6b-b5ba-8b5a7f45f1fc", "u:p": str(uuid.uuid5(gabbits.NAMESPACE, "1.2.3.4\0u:p"))}
    for creator, ident in ids.items():
        doc = yaml.safe_load(gabbits.rewritten(GABBI, gabbits.Side("http://x", accounts, dict.fromkeys(accounts, creator))))
        assert doc["defaults"]["request_headers"] == {"accept": "", "x-auth-token": "$ENVIRON['GNOCCHI_TOKEN_DEMO']"}
        (test,) = doc["tests"]
        assert test["request_headers"] == {"x-auth-token": ""} and test["data"]["project_id"] == "demo-project"
        assert test["response_json_paths"] == {"creator": "demo-user:demo-project", "id": ident}
