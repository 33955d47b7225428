"""Nova: the API alone at the hub, everything at a site."""

from lab.config.ini import Context, Ini
from lab.data import CONSOLES, GATEWAY_URL, Cloud


def nova(context: Context) -> dict[str, Ini]:
    """nova.conf for API, conductor and scheduler; one more file per compute service."""
    found = {"nova.conf": _nova(context, "nova", f"{context.cloud.name}-ctl")}
    if not context.cloud.is_hub:
        for index in range(1, context.cloud.computes + 1):
            name = f"nova-compute{index}"
            found[f"compute{index}.conf"] = _nova(context, name, f"{context.cloud.name}-cmp{index}")
    return found


def _consoles(cloud: Cloud) -> Ini:
    """Console sections; the hub has no consoles."""
    if cloud.is_hub:
        return {"vnc": {"enabled": False}}
    novnc, spice, serial = (cloud.console_port(program) for program in CONSOLES)
    return {
        "vnc": {
            "enabled": True,
            "novncproxy_host": "127.0.0.1",
            "novncproxy_port": novnc,
            "novncproxy_base_url": f"http://127.0.0.1:{novnc}/vnc_lite.html",
        },
        "spice": {
            "enabled": True,
            "html5proxy_host": "127.0.0.1",
            "html5proxy_port": spice,
            "html5proxy_base_url": f"http://127.0.0.1:{spice}/spice_auto.html",
        },
        "serial_console": {
            "enabled": True,
            "serialproxy_host": "127.0.0.1",
            "serialproxy_port": serial,
            "base_url": f"ws://127.0.0.1:{serial}/",
        },
    }


def _nova(context: Context, name: str, host: str) -> Ini:
    cloud, hub = context.cloud, context.cloud.is_hub
    etc = context.venv / "etc" / "nova"
    ini: Ini = {
        "DEFAULT": {
            "transport_url": cloud.transport_url,
            "log_file": context.place.log / f"{name}.log",
            "use_stderr": False,
            "state_path": context.var(name),
            "host": host,
            "my_ip": "127.0.0.1",
            "enabled_apis": "osapi_compute",
            "rootwrap_config": etc / "rootwrap.conf",
            "compute_driver": "lab.LabDriver",
            "allow_resize_to_same_host": cloud.computes < 2,  # a cold migration is one to another host
            "service_down_time": 60,
            "report_interval": 10,
            "resize_confirm_window": 0,
            "vif_plugging_is_fatal": True,
            "vif_plugging_timeout": 60,
        },
        "wsgi": {"api_paste_config": etc / "api-paste.ini"},
        "api": {"auth_strategy": "keystone"},
        "api_database": context.database("nova_api"),
        "database": context.database("nova"),
        "quota": {
            "instances": 200 if hub else 2000,
            "cores": 400 if hub else 8000,
            "ram": 819200 if hub else 8192000,
            "key_pairs": 1000,
            "server_groups": 100 if hub else 1000,
            "server_group_members": 100,
        },
        # The other services by URL: the answer about a network or an image must come from this very cloud. The hub's is
        # Cascade: what Nova's old proxies (/os-volumes, /os-security-groups, /images: up to 2.35) do, is done everywhere.
        "glance": context.auth("nova", endpoint_override=f"{GATEWAY_URL}/image" if hub else cloud.url("glance")),
        "neutron": context.auth(
            "nova",
            endpoint_override=f"{GATEWAY_URL}/network" if hub else cloud.url("neutron"),
            service_metadata_proxy=True,
            metadata_proxy_shared_secret="lab",
        ),
        "cinder": context.auth(
            "nova",
            endpoint_template=f"{GATEWAY_URL}/volume/v3" if hub else f"{cloud.url('cinder')}/v3",
            os_region_name=context.region,
        ),
        "keystone": context.auth("nova", valid_interfaces="public"),
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        **_consoles(cloud),
        **context.common("nova"),
        **context.privileged("nova_sys_admin", "privsep_osbrick"),
    }
    if not hub:
        ini |= {
            "conductor": {"workers": 1},
            "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 10},
            "filter_scheduler": {"track_instance_changes": False},
            "placement": context.auth("placement"),
        }
    return ini
