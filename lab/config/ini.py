"""The pieces every configuration file is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.data import PASSWORD, RELEASES, Cloud, Identity, Release
from lab.paths import Place, State

Section = Mapping[str, object]
Ini = dict[str, Section]


def render(ini: Ini) -> str:
    """The text of a configuration file."""
    lines: list[str] = []
    for name, section in ini.items():
        lines.append(f"[{name}]")
        for key, value in section.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"{key} = {text}")
        lines.append("")
    return "\n".join(lines)


@dataclass(frozen=True)
class Context:
    """Whose files are rendered, and the sections that all services share."""

    state: State
    cloud: Cloud

    @property
    def place(self) -> Place:
        """The cloud's folders."""
        return self.state.cloud(self.cloud)

    @property
    def venv(self) -> Path:
        """The cloud's virtual environment."""
        return self.state.venv(self.release)

    @property
    def release(self) -> Release:
        """The release the cloud runs."""
        return RELEASES[self.state.release(self.cloud)]

    @property
    def region(self) -> str:
        """The region in which the cloud's endpoints are registered."""
        return self.cloud.name

    def var(self, name: str) -> Path:
        """A folder for what a service keeps."""
        return self.place.var / name

    def defaults(self, service: str, log: str | None = None) -> dict[str, object]:
        """What [DEFAULT] holds everywhere."""
        return {
            "transport_url": self.cloud.transport_url,
            "log_file": self.place.log / f"{log or service}.log",
            "use_stderr": False,
            "host": f"{self.cloud.name}-ctl",
            "state_path": self.var(service),
        }

    def database(self, name: str) -> Section:
        """A section naming a database."""
        return {"connection": self.cloud.database_url(name), "max_pool_size": 5, "max_overflow": 20}

    def auth(self, user: str, **more: object) -> Section:
        """A keystoneauth section: log in as a service user."""
        return {
            "auth_type": "password",
            "auth_url": self.cloud.identity_url,
            "username": user,
            "password": PASSWORD,
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "region_name": self.region,
            **more,
        }

    def common(self, service: str) -> Ini:
        """Sections of every service: tokens, locks, policy, messages."""
        shared = self.cloud.identity is Identity.SHARED
        ini: Ini = {
            "keystone_authtoken": self.auth(
                service,
                www_authenticate_uri=self.cloud.identity_url,
                service_token_roles="service",
                service_token_roles_required=True,
                service_type=SERVICE_TYPES[service],
                interface="public" if shared or self.cloud.is_hub else "internal",
            ),
            "service_user": self.auth(service, send_service_user_token=True),
            # Readers only read: what newer releases do by themselves, an older Cinder must be told.
            "oslo_policy": {"enforce_scope": True, "enforce_new_defaults": True},
            "oslo_concurrency": {"lock_path": self.var(service) / "lock"},
            "oslo_messaging_notifications": {"driver": "noop"},
        }
        if not self.cloud.is_hub:
            eventlet = self.release.eventlet
            ini["oslo_messaging_rabbit"] = {"heartbeat_in_pthread": not eventlet, "rabbit_quorum_queue": False}
        return ini

    def privileged(self, *names: str) -> Ini:
        """privsep sections: the helper of this virtual environment, not one in /usr/bin."""
        return {name: {"helper_command": self.venv / "bin" / "privsep-helper"} for name in names}


SERVICE_TYPES = {
    "placement": "placement",
    "glance": "image",
    "nova": "compute",
    "neutron": "network",
    "cinder": "block-storage",
}
