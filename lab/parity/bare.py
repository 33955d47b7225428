"""What Gnocchi's own tests run against: for each metered site an empty Gnocchi beside its own, and a gateway before them.

Upstream's fixture makes a Gnocchi per file: no archive policy, no measure, pages of seven. Nobody could use a lab whose Gnocchis
were emptied thirty times, so these are others, in the same Keystones. The gateway finds them by ``metric_endpoint_override`` in its
clouds.yaml, as an operator's would find a Gnocchi that is missing in a site's catalogue.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from lab import gateway, infra, procs
from lab.addons.gnocchi import Gnocchi
from lab.addons.metering import METERED
from lab.data import GATEWAY_PORT, HUB, PORT_OFFSET, SITES, USER_REGION
from lab.parity.sides import CASCADE
from lab.paths import Place, State
from lab.procs import Proc
from lab.report import step
from lab.rest import Rest
from lab.shell import run
from lab.wait import answers, ready, until

PORT = 21
"""Offset from a site's base port."""
GATEWAY = GATEWAY_PORT + 30
SMALL = {
    # as upstream's fixture has it
    "api": {"max_limit": 7, "enable_proxy_headers_parsing": True},
    "metricd": {"metric_processing_delay": 1, "metric_cleanup_delay": 1},
}
_TABLES = "select table_name from information_schema.tables where table_schema = '{}'"


class Bare:
    """The Gnocchis and the gateway, running."""

    def __init__(self, state: State) -> None:
        """Name them; ``running`` starts them."""
        self._state = state
        self._root = state.root / "parity" / "gnocchi"
        self._gnocchis = {
            name: Gnocchi(state, site, Place(self._root / name), site.base_port + PORT_OFFSET + PORT, site.database("gnocchi_bare"),
                          policies=False, options=SMALL)
            for name, site in ((name, SITES[name]) for name in METERED)
        }  # fmt: skip

    def url(self, side: str) -> str:
        """Where a side answers."""
        return f"http://127.0.0.1:{GATEWAY}/metric" if side == CASCADE else self._gnocchis[side].url

    @property
    def gateway_url(self) -> str:
        """The gateway's root."""
        return f"http://127.0.0.1:{GATEWAY}"

    def sites(self) -> dict[str, str]:
        """Metered site -> where its empty Gnocchi answers."""
        return {name: gnocchi.url for name, gnocchi in self._gnocchis.items()}

    @contextmanager
    def running(self, side: str) -> Iterator[None]:
        """Everything that a side needs, started and at the end stopped."""
        chosen = [g for name, g in self._gnocchis.items() if side in (name, CASCADE)]
        started = [proc for gnocchi in chosen for proc in gnocchi.procs()] + ([self._gateway()] if side == CASCADE else [])
        procs.stop(started)  # what a killed run left
        try:
            for gnocchi in chosen:
                gnocchi.configure()
                gnocchi.migrate()
                if not self._dump(gnocchi).exists():
                    infra.dump(gnocchi.database, self._dump(gnocchi))
            with step(f"start what {side} needs"):
                for proc in (proc for gnocchi in chosen for proc in gnocchi.procs()):
                    proc.start()
                ready(started[: 2 * len(chosen)])
            if side == CASCADE:
                self._join()
            yield
        finally:
            procs.stop(started)

    def empty(self, side: str) -> None:
        """As they were made: no row of the indexer is left. Measures of metrics that are not known any more are nobody's."""
        for gnocchi in (g for name, g in self._gnocchis.items() if side in (name, CASCADE)):
            tables = infra.sql(_TABLES.format(gnocchi.database)).split()
            drops = "".join(f"drop table if exists `{table}`;" for table in tables)
            infra.sql(f"set foreign_key_checks = 0; {drops} {self._dump(gnocchi).read_text()}", gnocchi.database)

    def _dump(self, gnocchi: Gnocchi) -> Path:
        return gnocchi.place.var / "empty.sql"

    def _gateway(self) -> Proc:
        place = Place(self._root / "gateway")
        argv = (str(gateway.PROGRAM), "serve", "--config-file", str(gateway.config_file(State(place.root))))
        return Proc("cascade", place, argv, port=GATEWAY, grace=10)

    def _join(self) -> None:
        """A new gateway: only its master key is the lab's, by which the accounts of users at the sites are the same."""
        root = self._root / "gateway"
        own, proc = State(root), self._gateway()
        own.gateway.make()
        (own.gateway.root / "cascade.db").unlink(missing_ok=True)
        key = own.gateway.root / "master.key"
        key.touch(mode=0o600)
        key.write_bytes((self._state.gateway.root / "master.key").read_bytes())
        known = yaml.safe_load(self._state.clouds_file.read_text())
        for name, url in self.sites().items():
            known["clouds"][name]["metric_endpoint_override"] = url
        own.clouds_file.touch(mode=0o600)
        own.clouds_file.write_text(yaml.safe_dump(known))
        options = {"listen": f"127.0.0.1:{GATEWAY}", "public_url": self.gateway_url, "region": USER_REGION}
        gateway.configure(own, HUB.name, options)
        run([str(gateway.PROGRAM), "upgrade", "--config-file", str(gateway.config_file(own))])
        with step("start a gateway"):
            proc.start()
            until("the gateway is healthy", lambda: answers(GATEWAY, "/healthz", timeout=5), 60)
        admin = Rest(HUB.identity_url, "admin", "admin")
        for name in METERED:
            with step(f"{name}: join it"):
                wish = {"name": name, "cloud": name, "identity": str(SITES[name].identity)}
                admin.post(f"{self.gateway_url}/cascade/v1/sites", {"site": wish, "allow_lower_window": True})
