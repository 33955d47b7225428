"""nginx before one site: what a proxy that knows nothing costs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.process import Process, free_ports
from lab.report import LabError, step

_CONF = """daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream site {{ server {site}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }}
  }}
}}
"""


def program() -> str:
    """Where it is; the Debian package is installed where it is not, which takes root. Raises LabError."""
    path = f"/usr/sbin:/usr/local/sbin:{Path.home()}/.local/bin"
    if found := shutil.which("nginx") or shutil.which("nginx", path=path):
        return found
    with step("install nginx"):
        argv = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "nginx-light"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if found := shutil.which("nginx", path=path):
        return found
    raise LabError(f"there is no nginx, and apt-get install nginx-light says: {done.stderr[-300:]}")


@contextlib.contextmanager
def proxy(site: str, folder: Path) -> Iterator[tuple[Process, str]]:
    """One process before ``site`` (host and port), and its URL, for the block."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_ports(1)
    config = folder / "nginx.conf"
    config.write_text(_CONF.format(folder=folder, site=site, port=port))
    process = Process([program(), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)], folder / "nginx.log")
    try:
        process.start()
        process.listens(port)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.stop()
