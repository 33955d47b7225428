"""policy.yaml overrides a rule, and is read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cascade.api.policy import Policy, list_rules
from cascade.conf import load
from cascade.model.errors import Fault
from tests.unit.admin_fake import caller


async def test_policy_file(tmp_path: Path) -> None:
    file, conf_file = tmp_path / "policy.yaml", tmp_path / "cascade.conf"
    conf_file.write_text(f"[DEFAULT]\npolicy_file = {file}\n")
    file.write_text('"cascade:site:get": "role:operator"\n')
    policy = Policy(load([], [str(conf_file)]))
    await policy.check("cascade:site:get", caller("operator"))
    with pytest.raises(Fault):
        await policy.check("cascade:site:get", caller("admin"))
    await policy.check("cascade:site:create", caller("admin"))
    file.write_text('"cascade:site:get": "rule:admin_required"\n')
    os.utime(file, (2e9, 2e9))
    await policy.check("cascade:site:get", caller("admin"))


def test_every_rule_is_documented() -> None:
    assert all(r.description for r in list_rules()) and len({r.name for r in list_rules()}) == len(list_rules())
