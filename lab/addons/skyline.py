"""Skyline: its API server and its console, with nginx in front of both, as its own guide has it."""

import os

import yaml

from lab import bootstrap, install
from lab.addons import kind
from lab.addons.kind import AddOn
from lab.data import CATALOGUE, GATEWAY_URL, HUB, PASSWORD, USER_REGION, Release
from lab.install import SYSTEM_PATH
from lab.paths import State
from lab.procs import Proc
from lab.report import step
from lab.rest import Rest
from lab.shell import run

RELEASE = Release("skyline", ("skyline-apiserver==9.0.0", "skyline-console==7.0.1"), exclude_newer="2026-11-23")
"""The wheels of the console 8.0.0 and 9.0.0 hold a page of 2022, whose form asks for a list of domains that no API server of these
years gives to whoever has not signed in."""
NGINX = """worker_processes 1;
daemon off;
pid {run}/nginx.pid;
error_log {log}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_read_timeout 300;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {console};
        location / {{ try_files $uri $uri/ /index.html; }}
        location /api/openstack/skyline/ {{ proxy_pass {api}/; proxy_set_header Host $http_host; }}
        location /api/v1/ {{ proxy_pass {api}/api/v1/; proxy_set_header Host $http_host; }}
{services}
    }}
}}
"""
SERVICE = "        location /api/openstack/{region}/{name}/ {{ proxy_pass {gateway}{path}/; proxy_redirect off; }}"


def procs(state: State) -> list[Proc]:
    """The API server, and nginx."""
    place, venv = kind.place(state, "skyline"), kind.venv(state, "skyline")
    env = {"PATH": f"{venv / 'bin'}:{SYSTEM_PATH}", "OS_CONFIG_DIR": str(place.etc), "PYTHONWARNINGS": "ignore"}
    port = kind.port("skyline-api")
    api = (str(venv / "bin" / "uvicorn"), "skyline_apiserver.main:app", "--host", "127.0.0.1", "--port", str(port))
    nginx = ("nginx", "-e", str(place.log / "nginx-error.log"), "-c", str(place.etc / "nginx.conf"))
    return [Proc("skyline-api", place, api, env, port), Proc("skyline", place, nginx, env, kind.port("skyline"))]


def prepare(state: State) -> bool:
    """Configuration, database, account."""
    install.packages({"nginx": "nginx-light"})
    place, venv = kind.place(state, "skyline"), kind.venv(state, "skyline")
    secret = place.var / "secret"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text(os.urandom(32).hex())
    settings = {
        "default": {
            "database_url": f"sqlite:///{place.var / 'skyline.db'}",
            "log_dir": str(place.log),
            "secret_key": secret.read_text(),
            "ssl_enabled": False,
            "policy_file_path": str(place.etc / "policy"),
        },
        "openstack": {
            "keystone_url": f"{GATEWAY_URL}/identity/v3/",
            "default_region": USER_REGION,
            "system_user_name": "skyline",
            "system_user_password": PASSWORD,
        },
    }
    (place.etc / "skyline.yaml").write_text(yaml.safe_dump(settings))
    # as Skyline's own generator does: the console asks for versions itself
    paths = {name: rows[0][3].removesuffix("/v3").removesuffix("/v2.1") for name, rows in CATALOGUE.items()} | {
        "heat": "/orchestration"
    }
    text = NGINX.format(
        run=place.run,
        log=place.log,
        port=kind.port("skyline"),
        api=kind.url("skyline-api"),
        console=next((venv / "lib").glob("python3*")) / "site-packages" / "skyline_console" / "static",
        services="\n".join(
            SERVICE.format(region=USER_REGION, name=name, gateway=GATEWAY_URL, path=path) for name, path in paths.items()
        ),
    )
    (place.etc / "nginx.conf").write_text(text)
    bootstrap.service_user(Rest(HUB.identity_url, "admin", "admin"), HUB.identity_url, "skyline")
    if not (place.var / "migrated").exists():
        with step("skyline: database"):
            library = next((venv / "lib").glob("python3*")) / "site-packages" / "skyline_apiserver" / "db" / "alembic"
            alembic = [str(venv / "bin" / "alembic"), "-c", str(library / "alembic.ini"), "upgrade", "head"]
            run(alembic, env={"OS_CONFIG_DIR": str(place.etc), "PATH": f"{venv / 'bin'}:{SYSTEM_PATH}"})
        (place.var / "migrated").touch()
    return False


ADDON = AddOn(RELEASE, prepare, procs)
