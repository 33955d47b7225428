"""Keystone, Placement, Glance and Cinder."""

from lab.config.ini import Context, Ini


def keystone(context: Context) -> dict[str, Ini]:
    """Keystone. The hub's has no public_endpoint: the gateway rewrites what it shows."""
    defaults: dict[str, object] = {"log_file": context.place.log / "keystone.log", "use_stderr": False}
    if not context.cloud.is_hub:
        defaults["public_endpoint"] = context.cloud.url("keystone")
    keys = context.var("keystone")
    ini: Ini = {
        "DEFAULT": defaults,
        "database": context.database("keystone"),
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": keys / "fernet-keys"},
        "fernet_receipts": {"key_repository": keys / "fernet-keys"},
        "credential": {"key_repository": keys / "credential-keys"},
        # Cheap hashes: Tempest and Cascade make many users, and this is not a place for secrets.
        "identity": {"password_hash_rounds": 4},
        # In-process, never shared: dogpile keys have no prefix, two Keystones would read each other's projects.
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "oslo_policy": {"enforce_scope": True},
    }
    return {"keystone.conf": ini}


def placement(context: Context) -> dict[str, Ini]:
    """Placement."""
    common = context.common("placement")
    ini: Ini = {
        "DEFAULT": {"log_file": context.place.log / "placement.log", "use_stderr": False},
        "placement_database": context.database("placement"),
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": common["keystone_authtoken"],
        "oslo_policy": common["oslo_policy"],
    }
    return {"placement.conf": ini}


def glance(context: Context) -> dict[str, Ini]:
    """Glance with one file store."""
    var = context.var("glance")
    ini: Ini = {
        "DEFAULT": {
            "transport_url": context.cloud.transport_url,
            "log_file": context.place.log / "glance.log",
            "use_stderr": False,
            "enabled_backends": "file:file",
            "enabled_import_methods": "[glance-direct,web-download,copy-image]",
            "worker_self_reference_url": context.cloud.url("glance"),
            "image_cache_dir": var / "cache",
            "bind_host": "127.0.0.1",
            "bind_port": context.cloud.port("glance"),
        },
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": context.venv / "etc" / "glance" / "glance-api-paste.ini",
        },
        "glance_store": {"default_backend": "file"},
        # Loopback, from any port: there is nowhere else to fetch an image from.
        "import_filtering_opts": {"allowed_hosts": "127.0.0.1", "allowed_ports": "", "disallowed_hosts": ""},
        "file": {"filesystem_store_datadir": var / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": var / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": var / "tasks"},
        "database": context.database("glance"),
        **context.common("glance"),
    }
    return {"glance-api.conf": ini}


def cinder(context: Context) -> dict[str, Ini]:
    """Cinder: the API alone at the hub, with scheduler and a volume service at a site."""
    etc = context.venv / "etc" / "cinder"
    defaults = context.defaults("cinder") | {
        "my_ip": "127.0.0.1",
        "api_paste_config": etc / "api-paste.ini",
        "resource_query_filters_file": etc / "resource_filters.json",
        "rootwrap_config": etc / "rootwrap.conf",
        "auth_strategy": "keystone",
        "default_volume_type": "__DEFAULT__",
        "glance_api_servers": context.cloud.url("glance"),
        "enable_force_upload": True,
        "osapi_volume_workers": 1,
        "quota_backups": 200,
        "quota_backup_gigabytes": 20000,
        "quota_groups": 200,
        **{f"quota_{name}": limit for name, limit in context.cloud.volume_quotas.items()},
    }
    ini: Ini = {"DEFAULT": defaults}
    if not context.cloud.is_hub:
        backends = ("lab", "lab2")
        defaults |= {
            "enabled_backends": ",".join(backends),
            "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
            "backup_posix_path": context.var("cinder") / "backup",
        }
        for name in backends:
            ini[name] = {
                "volume_driver": "cinder.volume.drivers.lab.LabDriver",
                "volume_backend_name": name,
                "lab_path": context.var("cinder") / ("volumes" if name == "lab" else f"volumes-{name}"),
            }
    ini |= {
        "database": context.database("cinder"),
        "key_manager": {"backend": "cinder.keymgr.conf_key_mgr.ConfKeyManager", "fixed_key": "0" * 64},
        "coordination": {"backend_url": f"file://{context.var('cinder') / 'coordination'}"},
        "nova": context.auth("nova", interface="public"),
        **context.common("cinder"),
        **context.privileged("cinder_sys_admin", "privsep_osbrick"),
    }
    return {"cinder.conf": ini}


def threads(context: Context, service: str) -> tuple[int, int]:
    """Processes and threads of an API under uWSGI."""
    if service == "nova" and context.release.eventlet:
        return 3, 1
    return 1, 6
