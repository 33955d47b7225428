"""Who may use the admin API: oslo.policy, overridden by ``policy.yaml`` as in every OpenStack service."""

from __future__ import annotations

import asyncio
from typing import Any

from oslo_policy import policy

from cascade.model.caller import Caller
from cascade.model.errors import Fault

_SITES = "/cascade/v1/sites"
_ONE = "/cascade/v1/sites/{name}"


def _rule(name: str, description: str, *operations: tuple[str, str]) -> policy.DocumentedRuleDefault:
    return policy.DocumentedRuleDefault(
        name=name, check_str="rule:admin_required", description=description,
        operations=[{"method": method, "path": path} for method, path in operations],
    )  # fmt: skip


RULES = [
    policy.RuleDefault("admin_required", "role:admin", "The default of every rule below."),
    _rule("cascade:site:get", "List and show sites with their health.", ("GET", _SITES), ("GET", _ONE), ("GET", f"{_ONE}/health")),
    _rule("cascade:site:create", "Add a site, or only ask for its joining report.", ("POST", _SITES)),
    _rule("cascade:site:update", "Enable, disable, drain a site; change its options and zones.", ("PATCH", _ONE)),
    _rule("cascade:site:delete", "Remove a site that holds nothing any more.", ("DELETE", _ONE)),
    _rule("cascade:intent:get", "List requests that are not finished.", ("GET", "/cascade/v1/intents")),
    _rule("cascade:status:get", "Show the cloud's state.", ("GET", "/cascade/v1/status"), ("GET", "/cascade/v1/capacity")),
    _rule("cascade:request:get", "Show what a request did at hub and sites.", ("GET", "/cascade/v1/requests/{id}")),
]


def list_rules() -> list[Any]:
    """For oslopolicy-sample-generator."""
    return RULES


class Policy:
    """The rules in force; ``policy.yaml`` is read again when it has changed."""

    def __init__(self, conf: Any) -> None:
        self._enforcer = policy.Enforcer(conf, policy_file=conf.policy_file or "policy.yaml")
        self._enforcer.register_defaults(RULES)
        self._enforcer.suppress_deprecation_warnings = True
        self._enforcer.load_rules()
        self._lock = asyncio.Lock()

    async def check(self, rule: str, caller: Caller) -> None:
        """Raises Fault 403 in Keystone's words. A domain's administrator is not the cloud's: such tokens never pass."""
        scoped = caller.project_id is not None or caller.is_system
        credentials = {
            "user_id": caller.user_id, "project_id": caller.project_id, "roles": sorted(caller.roles),
            "system_scope": "all" if caller.is_system else None,
        }  # fmt: skip
        async with self._lock:  # the enforcer is not made for two threads; it looks at its file each time
            passed = scoped and await asyncio.to_thread(self._enforcer.enforce, rule, {}, credentials)
        if not passed:
            raise Fault(403, f"You are not authorized to perform the requested action: {rule}.")
