"""Every option, with unit and reason. Read once into a ``Conf``; passed on, never global."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from cascade.sites.limits import Limits

_LIMITS = Limits()
DEFAULT: list[cfg.Opt] = [
    cfg.StrOpt("listen", default="127.0.0.1:8780", help="Address and port the gateway listens on."),
    cfg.StrOpt("public_url", default="http://127.0.0.1:8780",
               help="The one URL users reach the gateway by; it stands in every link and in the catalogue."),
    cfg.IntOpt("workers", default=1, min=1,
               help="Processes that serve on the one socket. More than one need a database that is not SQLite. SIGHUP replaces "
                    "them one after another."),
    cfg.FloatOpt("drain_time", default=5.0, min=0.0,
                 help="Seconds a process told to stop goes on answering on the connections it has, saying that they end."),
    cfg.StrOpt("region", default="cascade",
               help="Region of the hub's catalogue that users see. Endpoints of every other region are hidden from them."),
    cfg.StrOpt("log_file", help="Log here (JSON lines) instead of standard error."),
    cfg.StrOpt("log_level", default="info", choices=["debug", "info", "warning", "error"], help="Least severity logged."),
    cfg.IntOpt("max_json_body", default=114688, help="Bytes; larger JSON bodies are refused with 413, as oslo's sizelimit does."),
    cfg.FloatOpt("token_cache_time", default=60.0,
                 help="Seconds a validated token is believed without asking Keystone again. A revocation through "
                      "this process is seen at once, one through another process within this time."),
    cfg.FloatOpt("list_deadline", default=2.5, help="Seconds a list over sites waits for the slowest site."),
    cfg.FloatOpt("call_deadline", default=_LIMITS.call, help="Seconds any single southbound call may take."),
    cfg.IntOpt("console_sessions", default=1000, help="Consoles one process relays at once; further ones are refused with 503."),
    cfg.FloatOpt("trace_days", default=7.0, min=0.0,
                 help="Days for which it can be looked up what a request that changed something did; 0: nothing is written down."),
    cfg.StrOpt("otlp_endpoint", help="Send traces of all requests there (OTLP over HTTP, such as http://collector:4318/v1/traces). "
                                     "Needs the extra 'otlp'."),
    cfg.StrOpt("policy_file", help="policy.yaml with overrides for the admin API."),
]  # fmt: skip
DATABASE: list[cfg.Opt] = [
    cfg.StrOpt("connection", default="sqlite+aiosqlite:///cascade.db", secret=True,
               help="SQLAlchemy asyncio URL: sqlite+aiosqlite, postgresql+asyncpg or mysql+aiomysql."),
]  # fmt: skip
REQUESTS: list[cfg.Opt] = [
    cfg.IntOpt("in_work", default=256, min=1,
               help="Requests one process works on at once. Further ones wait; of those that wait, one of the project with the "
                    "fewest in work comes next."),
    cfg.IntOpt("waiting", default=5000, min=0,
               help="Requests that wait in one process. When so many do, a newcomer of a project with fewer takes the place of the "
                    "last one of the project with the most; else he is refused with 503."),
    cfg.IntOpt("waiting_per_project", default=1000, min=0,
               help="Requests of one project that wait in one process; further ones are refused with 429. What bears no valid "
                    "token is counted by its client's address."),
    cfg.FloatOpt("patience", default=120.0, min=1.0,
                 help="Seconds a request waits; one that would have to wait for longer is refused with 503 at once."),
    cfg.IntOpt("streams", default=24, min=1,
               help="Uploads and downloads of images one process passes on at once; further ones wait as requests do. Fewer than "
                    "the 32 streams it has to the hub, the rest of which are for the copies of images to sites."),
]  # fmt: skip
HUB: list[cfg.Opt] = [cfg.StrOpt("cloud", default="hub", help="Entry of clouds.yaml with the service account at the hub.")]
SITES: list[cfg.Opt] = [
    cfg.StrOpt("clouds_file", default="/etc/cascade/clouds.yaml", help="clouds.yaml with the hub's and the sites' accounts."),
    cfg.FloatOpt("probe_interval", default=_LIMITS.probe_interval, help="Seconds between two health probes of a quiet site."),
    cfg.FloatOpt("probe_deadline", default=_LIMITS.probe_deadline, help="Seconds after which an unanswered probe has failed."),
    cfg.IntOpt("fail_threshold", default=_LIMITS.fail_threshold, help="Consecutive failures after which a site counts as down."),
    cfg.FloatOpt("audit_interval", default=60.0,
                 help="Seconds between two looks for what went at a site without Cascade: two calls each."),
    cfg.IntOpt("concurrency", default=_LIMITS.concurrency,
               help="Requests in flight per site and process; further ones wait within their deadline, projects in turn."),
    cfg.FloatOpt("patience", default=_LIMITS.patience, min=0.0,
                 help="Seconds: a request that would have to wait for longer until its site takes it, as the site answers now, "
                      "is refused with 503 at once."),
]  # fmt: skip
SECRETS: list[cfg.Opt] = [
    cfg.StrOpt("master_key_file", default="/etc/cascade/master.key",
               help="32 or more random bytes. Passwords of shadow users are derived from it and stored nowhere."),
]  # fmt: skip
GROUPS: dict[str | None, list[cfg.Opt]] = {
    None: DEFAULT, "requests": REQUESTS, "database": DATABASE, "hub": HUB, "sites": SITES, "secrets": SECRETS,
}  # fmt: skip

Conf = Any
"""An ``oslo_config.cfg.ConfigOpts`` of our own; untyped upstream."""


def load(args: Sequence[str], files: Sequence[str] | None = None) -> Conf:
    """Parse files into a fresh ConfigOpts (``--config-file`` defaults to /etc/cascade/cascade.conf where that exists)."""
    conf = cfg.ConfigOpts()
    for group, opts in GROUPS.items():
        conf.register_opts(opts, group=group)
    conf(args=list(args), project="cascade", default_config_files=list(files) if files is not None else None)
    return conf


def list_opts() -> list[tuple[str | None, list[cfg.Opt]]]:
    """For oslo-config-generator."""
    return list(GROUPS.items())
