"""``openstack cascade status`` and ``openstack cascade intent list``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from osc_lib.command import command

from osc_cascade.client import client_of

Row = tuple[Any, ...]


class ShowStatus(command.Lister):
    """Show hub and sites in one table"""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Iterable[Row]]:
        status = client_of(self).status()
        windows = ", ".join(f"{service} {low}-{high}" for service, (low, high) in status["windows"].items())
        print(f"Cascade {status['version']}; offered: {windows}; open intents: {status['open_intents']}", file=self.app.stderr)
        columns = ("Name", "Health", "Since", "Enabled", "Draining", "Open intents", "Last error")
        rows = [{"name": "hub", "enabled": True, "draining": False, "open_intents": "", "health": status["hub"]}, *status["sites"]]
        return columns, (
            (r["name"], r["health"]["state"], r["health"]["since"], r["enabled"], r["draining"], r["open_intents"],
             r["health"]["last_error"] or "")
            for r in rows
        )  # fmt: skip


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
