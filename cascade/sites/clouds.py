"""Accounts at the hub and the sites: clouds.yaml, any keystoneauth plugin, and what their tokens' catalogues say.

keystoneauth blocks, so logins run in threads of our own pool: the loop's default pool is small on small machines,
and a few hung sites would fill it. Nothing else of keystoneauth's HTTP is used.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions as ksa_errors
from openstack import exceptions as sdk_errors
from openstack.config import OpenStackConfig

from cascade.model.errors import BadReply, SiteError, SiteTimeout, SiteUnreachable
from cascade.sites.limits import Limits
from cascade.sites.tokens import Token, TokenCache

TYPES: Mapping[str, tuple[str, ...]] = {
    "compute": ("compute",),
    "volume": ("block-storage", "block-store", "volumev3"),
    "network": ("network",),
    "image": ("image",),
    "identity": ("identity",),
    "placement": ("placement",),
    "metric": ("metric",),
    "orchestration": ("orchestration",),
    "alarming": ("alarming",),
}
"""Our service names -> catalogue types, the preferred first."""

# openstacksdk says it about every entry, whether InfluxDB is used or not.
warnings.filterwarnings("ignore", message="Support for InfluxDB")

RELEARN = 30.0
"""Seconds a catalogue is believed of a target that does not answer where it says: an upgrade may have moved the service."""
REFUSED_FOR = 10.0
"""Seconds a refused login is not tried again: a wrong password must not lock the account out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an entry of clouds.yaml leads."""

    endpoints: Mapping[str, str]
    """Service -> URL as the catalogue has it, without trailing slash."""
    tls: ssl.SSLContext | bool
    """For the transport: True = the system's authorities, False = unverified."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    until: float
    error: str


class Clouds:
    """The entries of one clouds.yaml. The file is read again when it has changed, so sites can join a running Cascade."""

    def __init__(
        self, file: str | Path, *, limits: Limits | None = None, clock: Callable[[], float] = time.time, threads: int = 64
    ) -> None:
        self._file = Path(file)
        self._limits, self._clock = limits or Limits(), clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="login")
        self._tokens: TokenCache[str] = TokenCache(clock=clock)
        self._places: dict[str, Place] = {}
        self._learnt: dict[str, float] = {}
        self._refused: dict[str, _Refusal] = {}
        self._config: tuple[int, OpenStackConfig] | None = None
        self._loading = threading.Lock()

    async def token(self, cloud: str, target: str) -> Token:
        """The service account's token. Raises SiteError, naming ``target``: no such entry, refused, no answer."""
        return await self._tokens.get(cloud, lambda: self._login(cloud, target))

    async def place(self, cloud: str, target: str) -> Place:
        """Endpoints and TLS of an entry: known since its first login."""
        if cloud not in self._places:
            await self.token(cloud, target)
        if cloud not in self._places:  # its token outlived a forget()
            self._tokens.forget(cloud)
            await self.token(cloud, target)
        return self._places[cloud]

    def known_place(self, cloud: str) -> Place | None:
        """The same without waiting; None before the first login."""
        return self._places.get(cloud)

    def doubt(self, cloud: str, target: str) -> None:
        """Nothing answers at an endpoint: unless the catalogue was read just now, it is read again, beside whatever goes on."""
        now = self._clock()
        if now >= self._learnt.get(cloud, now) + RELEARN:
            self._learnt[cloud] = now
            self._tokens.renew(cloud, lambda: self._login(cloud, target))

    def refused(self, cloud: str, token: Token) -> None:
        """The target answered 401 to this token: the next ``token`` makes another one."""
        self._tokens.forget(cloud, token)

    def forget(self, cloud: str) -> None:
        """Everything of this entry is to be learnt again (a site was changed)."""
        self._tokens.forget(cloud)
        self._places.pop(cloud, None)
        self._refused.pop(cloud, None)

    async def close(self) -> None:
        """End; threads that hang in a login are left to their own timeouts."""
        await self._tokens.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _login(self, cloud: str, target: str) -> Token:
        refusal = self._refused.get(cloud)
        if refusal is not None and refusal.until > self._clock():
            raise BadReply(target, refusal.error)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.login):
                token, place = await loop.run_in_executor(self._pool, functools.partial(self._blocking, cloud))
        except TimeoutError:
            raise SiteTimeout(target, "Keystone did not answer the service account's login") from None
        except (ksa_errors.Unauthorized, ksa_errors.Forbidden) as e:
            raise self._refuse(cloud, target, f"the service account of clouds.yaml entry {cloud!r} is refused: {e}") from e
        except (ksa_errors.MissingRequiredOptions, ksa_errors.NoMatchingPlugin, sdk_errors.SDKException, OSError) as e:
            raise self._refuse(cloud, target, f"clouds.yaml entry {cloud!r} is not usable: {e}") from e
        except ksa_errors.ConnectTimeout as e:
            raise SiteTimeout(target, f"login: {e}") from e
        except ksa_errors.ClientException as e:
            raise SiteUnreachable(target, f"login: {e}") from e
        self._refused.pop(cloud, None)
        self._places[cloud], self._learnt[cloud] = place, self._clock()
        return token

    def _refuse(self, cloud: str, target: str, error: str) -> SiteError:
        self._refused[cloud] = _Refusal(self._clock() + REFUSED_FOR, error)
        return BadReply(target, error)

    # Below: in a thread

    def _blocking(self, cloud: str) -> tuple[Token, Place]:
        region = self._load().get_one(cloud=cloud)
        session = region.get_session()
        session.timeout = self._limits.login / 2  # discovery and login: the thread ends when we stop waiting
        sign_in: Callable[[Any], Any] = getattr(session.auth, "get_auth_ref", lambda _: None)
        try:
            access = sign_in(session)
        except ksa_errors.ConnectFailure:  # refused or reset, which says nothing of the next moment; and many wait for this one
            access = sign_in(session)
        if access is None:
            raise sdk_errors.ConfigException("its auth_type signs in to no Keystone")
        now = self._clock()
        # A site's clock may be skewed against ours: its token's *life* is believed, not its time of day.
        life = (access.expires - access.issued).total_seconds()
        token = Token(
            value=access.auth_token, issued_at=now, expires_at=now + life, project_id=access.project_id, user_id=access.user_id
        )
        verify, cert = region.get_requests_verify_args()
        return token, Place(endpoints=endpoints(region, access.service_catalog.catalog), tls=_tls(verify, cert))

    def _load(self) -> OpenStackConfig:
        with self._loading:  # at a start every site's login comes by at once, and parsing takes longer the more sites there are
            stamp = self._file.stat().st_mtime_ns
            if self._config is None or self._config[0] != stamp:
                secure = self._file.with_name("secure.yaml")
                # OS_* variables of whoever started us are not a part of the configuration.
                config = OpenStackConfig(
                    config_files=[str(self._file)], secure_files=[str(secure)], vendor_files=[], load_envvars=False,
                    app_name="cascade",
                )  # fmt: skip
                self._config = (stamp, config)
            return self._config[1]


def endpoints(region: Any, catalog: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Service -> URL out of a v3 catalogue: an ``*_endpoint_override`` first, else type, region and interface as the
    entry has them. A service without an endpoint there is left out.
    """
    found = {}
    for service, kinds in TYPES.items():
        override = next((u for k in kinds if (u := region.get_endpoint(k))), None)
        url = override or _lookup(catalog, kinds, region.get_region_name(kinds[0]), region.get_interface(kinds[0]))
        if url:
            found[service] = url.rstrip("/")
    if "identity" not in found and (auth_url := region.config.get("auth", {}).get("auth_url")):
        found["identity"] = str(auth_url).rstrip("/")
    return found


def _lookup(
    catalog: Iterable[Mapping[str, Any]], kinds: Iterable[str], region: str | None, interface: list[str] | str | None
) -> str | None:
    interfaces = [interface] if isinstance(interface, str) else (interface or ["public"])
    entries = list(catalog)
    for kind in kinds:
        offered = [e for s in entries if s.get("type") == kind for e in s.get("endpoints", ())]
        for wanted in interfaces:
            for e in offered:
                here = not region or region in (e.get("region_id"), e.get("region"))
                if here and e.get("interface") == wanted.removesuffix("URL"):
                    return str(e["url"])
    return None


@functools.lru_cache(maxsize=256)
def _tls(verify: bool | str | None, cert: str | tuple[str, str] | None) -> ssl.SSLContext | bool:
    """One context per set of certificates: the transport opens new connections when it changes."""
    if verify is False and cert is None:
        return False
    if verify in (True, None) and cert is None:
        return True
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    return context
