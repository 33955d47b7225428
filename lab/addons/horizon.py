"""Horizon, with Heat's panels: one URL in its settings, the gateway's Keystone, and the rest out of the catalogue."""

import hashlib
import os
import shutil
from pathlib import Path

from lab.addons import kind
from lab.addons.kind import AddOn
from lab.data import GATEWAY_URL, Release
from lab.install import SYSTEM_PATH
from lab.paths import State
from lab.procs import Proc
from lab.report import step
from lab.services import uwsgi
from lab.shell import run

RELEASE = Release("horizon", ("horizon==27.0.0", "heat-dashboard==16.0.0", "python-memcached", "uwsgi"), exclude_newer="2026-11-23")
SETTINGS = """DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
SECRET_KEY = "{secret}"
OPENSTACK_KEYSTONE_URL = "{gateway}/identity/v3"
WEBROOT = "/"
STATIC_ROOT = "{var}/static"
COMPRESS_OFFLINE = True
# A cookie is too small for a session: it holds the catalogue.
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "{var}/cache"}}}}
TIME_ZONE = "UTC"
LOGGING = {{
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {{"plain": {{"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}}}},
    "handlers": {{"file": {{"class": "logging.FileHandler", "filename": "{log}/horizon.log", "formatter": "plain"}}}},
    "root": {{"handlers": ["file"], "level": "WARNING"}},
}}
"""


def procs(state: State) -> list[Proc]:
    """The dashboard."""
    place = kind.place(state, "horizon")
    argv = uwsgi(kind.venv(state, "horizon"), "openstack_dashboard.wsgi:application", kind.port("horizon"), "horizon", 2, 2)
    static = ("--static-map", f"/static={place.var / 'static'}")
    return [Proc("horizon", place, (*argv, *static), _environment(state), kind.port("horizon"), grace=5)]


def prepare(state: State) -> bool:
    """Settings, and what browsers load: collected and compressed once."""
    place, dashboard = kind.place(state, "horizon"), _library(state) / "openstack_dashboard"
    secret = place.var / "secret"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text(os.urandom(32).hex())
    text = SETTINGS.format(secret=secret.read_text(), gateway=GATEWAY_URL, var=place.var, log=place.log)
    (dashboard / "local" / "local_settings.py").write_text(text)
    for panel in (_library(state) / "heat_dashboard" / "enabled").glob("_*.py"):
        if panel.name != "__init__.py":
            shutil.copy(panel, dashboard / "local" / "enabled")
    stamp = place.var / "collected"
    mark = hashlib.sha256(repr((RELEASE, str(place.var))).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != mark:
        with step("horizon: collect and compress what browsers load"):
            manage = str(kind.venv(state, "horizon") / "bin" / "django-admin")
            for words in (("collectstatic", "--noinput", "--clear"), ("compress", "--force")):
                run([manage, *words], env=_environment(state))
        stamp.write_text(mark)
    return False


def _library(state: State) -> Path:
    return next((kind.venv(state, "horizon") / "lib").glob("python3*")) / "site-packages"


def _environment(state: State) -> dict[str, str]:
    return {
        "PATH": f"{kind.venv(state, 'horizon') / 'bin'}:{SYSTEM_PATH}",
        "DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings",
        "PYTHONWARNINGS": "ignore",
        "MALLOC_ARENA_MAX": "2",
    }


ADDON = AddOn(RELEASE, prepare, procs)
