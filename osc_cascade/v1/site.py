"""``openstack cascade site create | list | show | set | delete | drain``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from osc_lib import exceptions
from osc_lib.cli import format_columns, parseractions
from osc_lib.command import command

from osc_cascade.client import Refused, client_of
from osc_cascade.v1.report import lines

Row = tuple[Any, ...]


def _columns(site: dict[str, Any]) -> tuple[Row, Row]:
    health = site["health"]
    shown = {
        "name": site["name"], "number": site["number"], "cloud": site["cloud"], "identity": site["identity"],
        "enabled": site["enabled"], "draining": site["draining"], "zones": format_columns.DictColumn(site["zones"]),
        "options": format_columns.DictColumn(site["options"]), "health": health["state"], "since": health["since"],
        "last_error": health["last_error"],
        "latency": None if health["latency"] is None else round(health["latency"], 4),
    }  # fmt: skip
    return tuple(shown), tuple(shown.values())


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--zone", dest="zones", metavar="<site-zone>=<name>", action=parseractions.KeyValueAction, default={},
        help="Show a zone of the site under another name (repeat; an empty name takes it out)",
    )  # fmt: skip
    parser.add_argument(
        "--option", dest="options", metavar="<key>=<value>", action=parseractions.KeyValueAction, default={},
        help="wan_physnet, external_network, interconnect, default_zone, console_hosts, domain (repeat; empty takes it out)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-lower-window", action="store_true", help="Consent to a smaller range of microversions for the whole cloud"
    )
    switch = parser.add_mutually_exclusive_group()
    switch.add_argument("--enable", dest="enabled", action="store_true", default=None, help="Use the site")
    switch.add_argument("--disable", dest="enabled", action="store_false", help="Ask the site nothing and show it nowhere")


class CreateSite(command.ShowOne):
    """Add a site; its joining report is printed first"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Name of the site, and of its default zone")
        parser.add_argument("--cloud", metavar="<entry>", help="Entry of the gateway's clouds.yaml (default: the name)")
        parser.add_argument("--identity", choices=("mapped", "shared"), default="mapped", help="Whose Keystone it uses")
        parser.add_argument("--dry-run", action="store_true", help="Print the report and stop")
        _settings(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Row]:
        client = client_of(self)
        site = {
            "name": parsed_args.name, "cloud": parsed_args.cloud, "identity": parsed_args.identity,
            "zones": parsed_args.zones, "options": parsed_args.options, "enabled": parsed_args.enabled is not False,
        }  # fmt: skip
        report = client.create(site, lower=parsed_args.allow_lower_window, dry_run=True)["report"]
        self._print(report)
        if not report["ok"]:
            raise exceptions.CommandError("Nothing was changed.")
        if parsed_args.dry_run:
            return ("name", "can_join"), (parsed_args.name, True)
        return _columns(client.create(site, lower=parsed_args.allow_lower_window, dry_run=False)["site"])

    def _print(self, report: dict[str, Any]) -> None:
        for line in lines(report):
            print(line, file=self.app.stderr)  # the command's own output stays machine-readable


class ListSite(command.Lister):
    """List sites"""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Iterable[Row]]:
        sites = client_of(self).sites()
        names = ("name", "number", "cloud", "identity", "enabled", "draining")
        rows = ((*(s[n] for n in names), s["health"]["state"], s["health"]["since"]) for s in sites)
        return (*(n.capitalize() for n in names), "Health", "Since"), rows


class ShowSite(command.ShowOne):
    """Show a site, probed now"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Site to show")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Row, Row]:
        client = client_of(self)
        site = client.site(parsed_args.name)
        return _columns({**site, "health": client.health(parsed_args.name)})


class SetSite(command.Command):
    """Enable, disable or drain a site; change its zones and options"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Site to change")
        _settings(parser)
        drain = parser.add_mutually_exclusive_group()
        drain.add_argument("--drain", dest="draining", action="store_true", default=None, help="Take nothing new")
        drain.add_argument("--undrain", dest="draining", action="store_false", help="Take new things again")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        change = {k: getattr(parsed_args, k) for k in ("enabled", "draining") if getattr(parsed_args, k) is not None}
        change |= {k: getattr(parsed_args, k) for k in ("zones", "options") if getattr(parsed_args, k)}
        if not change:
            raise exceptions.CommandError("Say what to change.")
        try:
            client_of(self).update(parsed_args.name, change, lower=parsed_args.allow_lower_window)
        except Refused as e:
            for line in lines(e.document["report"]) if "report" in e.document else ():
                print(line, file=self.app.stderr)
            raise


class DeleteSite(command.Command):
    """Remove sites that hold nothing any more"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("names", metavar="<name>", nargs="+", help="Sites to remove")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        for name in parsed_args.names:
            client_of(self).delete(name)


class DrainSite(command.Command):
    """Let a site take nothing new; what is there works on (undo: site set --undrain)"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Site to drain")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        client_of(self).update(parsed_args.name, {"draining": True}, lower=False)
