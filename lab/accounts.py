"""clouds.yaml: every account of the lab, for openstacksdk, the command line and Cascade itself."""

from typing import Any

import yaml

from lab.data import GATEWAY_URL, HUB, PASSWORD, SITES, TENANTS, USER_REGION, Cloud
from lab.paths import State


def write(state: State) -> None:
    """Write clouds.yaml."""
    state.root.mkdir(parents=True, exist_ok=True)
    state.clouds_file.write_text(yaml.safe_dump({"clouds": clouds()}, sort_keys=False))
    state.clouds_file.chmod(0o600)


def clouds() -> dict[str, Any]:
    """All clouds by name: PLACE for Cascade's service account, PLACE-USER for others."""
    gateway = f"{GATEWAY_URL}/identity/v3"
    found = {"cascade-admin": _cloud(gateway, "admin", "admin", USER_REGION)}
    for project, user, _ in TENANTS:
        name = "cascade" if user == "demo" else f"cascade-{user.removeprefix('demo-')}"
        found[name] = _cloud(gateway, user, project, USER_REGION)
    for cloud in (HUB, *SITES.values()):
        found |= _direct(cloud)
    return found


def _direct(cloud: Cloud) -> dict[str, Any]:
    """The accounts at one cloud, past the gateway."""
    url = cloud.identity_url
    found = {
        cloud.name: _cloud(url, "cascade", "service", cloud.name),
        f"{cloud.name}-admin": _cloud(url, "admin", "admin", cloud.name),
    }
    return found | {f"{cloud.name}-{user}": _cloud(url, user, project, cloud.name) for project, user, _ in TENANTS}


def _cloud(auth_url: str, user: str, project: str, region: str) -> dict[str, Any]:
    return {
        "auth": {
            "auth_url": auth_url,
            "username": user,
            "password": PASSWORD,
            "project_name": project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        "region_name": region,
        "identity_api_version": "3",
    }
