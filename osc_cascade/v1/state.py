"""``openstack cascade status`` and ``openstack cascade intent list``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from osc_lib.command import command

from osc_cascade.client import client_of

Row = tuple[Any, ...]
_STATUS = (
    "Name", "Health", "Since", "Release", "Enabled", "Draining", "Open intents", "Services down", "Last error", "Advice",
)  # fmt: skip
_CAPACITY = {
    "name": "Name", "hypervisors": "Hypervisors", "servers": "Servers", "vcpus": "VCPUs", "vcpus_used": "VCPUs used",
    "memory_mb": "Memory MB", "memory_mb_used": "Memory MB used", "local_gb": "Local GB", "local_gb_used": "Local GB used",
    "error": "Error",
}  # fmt: skip


class ShowStatus(command.Lister):
    """Show hub and sites in one table"""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Iterable[Row]]:
        status = client_of(self).status()
        windows = ", ".join(f"{service} {low}-{high}" for service, (low, high) in status["windows"].items())
        print(f"Cascade {status['version']}; offered: {windows}; open intents: {status['open_intents']}", file=self.app.stderr)
        for queue, waiting in status["waiting"].items():
            if waiting:
                print(f"{waiting} waiting in queue {queue}", file=self.app.stderr)
        for f in status["failing"]:
            print(f"failing since {f['since']}: {f['queue']} {f['key']}: {f['error']} {f['advice'] or ''}", file=self.app.stderr)
        hub = {"name": "hub", "enabled": True, "draining": False, "open_intents": "", "health": status["hub"], **status["hub"]}
        return _STATUS, (
            (r["name"], r["health"]["state"], r["health"]["since"], r["release"] or "", r["enabled"], r["draining"],
             r["open_intents"], ", ".join(r["services_down"]), r["health"]["last_error"] or "", r["advice"] or "")
            for r in (hub, *status["sites"])
        )  # fmt: skip


class ShowCapacity(command.Lister):
    """Show what the hypervisors of each site have and what is used of it, whoever uses it"""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Iterable[Row]]:
        rows = client_of(self).capacity()
        return tuple(_CAPACITY.values()), (tuple("" if r[n] is None else r[n] for n in _CAPACITY) for r in rows)


class ShowRequest(command.Lister):
    """Show what a request did at hub and sites, and how long it took"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "request", metavar="<request-id>", help="X-Openstack-Request-Id of the answer, or the one the client gave"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Iterable[Row]]:
        found = client_of(self).request(parsed_args.request)
        head = f"{found['method']} {found['service']} {found['path']}: {found['status']} after {found['seconds']} s"
        print(f"{found['id']} at {found['began']}, project {found['project_id']}: {head}", file=self.app.stderr)
        names = ("offset", "seconds", "target", "service", "method", "path", "result", "request_id")
        return tuple(n.replace("_", " ").capitalize() for n in names), (tuple(r[n] for n in names) for r in found["calls"])


class ListIntent(command.Lister):
    """List requests that are not finished, oldest first"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--site", metavar="<name>", help="Only those of one site")
        parser.add_argument("--verb", metavar="<verb>", help="Only one kind, such as server.create")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Iterable[Row]]:
        rows = client_of(self).intents(site=parsed_args.site, verb=parsed_args.verb)
        names = ("id", "verb", "state", "site", "resource_id", "request_id", "created", "updated", "error")
        return tuple(n.replace("_", " ").capitalize() for n in names), (tuple(r[n] for n in names) for r in rows)
