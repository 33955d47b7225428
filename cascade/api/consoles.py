"""Console addresses: the site's is exchanged for one of the gateway's, at which ``api.relay`` passes the console on.

https://docs.openstack.org/api-ref/compute/#create-console. What the site refuses, it refuses in its own words; a type
of console that is no page or websocket with a token in its address cannot be relayed and is refused as Nova refuses
one that is switched off.
"""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import structlog

from cascade.api.core import Core
from cascade.api.forward import from_site, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.api.zonal import locate
from cascade.model.errors import Fault
from cascade.model.reply import Reply
from cascade.sites.grants import Grant
from cascade.store.index import IndexEntry

log = structlog.get_logger(__name__)

PREFIX = "/console"
ACTIONS = {
    "os-getVNCConsole": "novnc", "os-getSPICEConsole": "spice-html5", "os-getRDPConsole": "rdp-html5",
    "os-getSerialConsole": "serial",
    "os-getMKSConsole": "webmks",
}  # fmt: skip
"""The actions below microversion 2.6, and the type each means where its body names none."""
PAGES = {
    "novnc": "{page}?path={socket}%3Ftoken%3D{grant}",
    "spice-html5": "{page}?token={grant}&path={socket}",
    "serial": "?token={grant}",
}
"""Type -> its address below the site's own path here. What a page is told of its websocket's path is the page's custom."""
_SOCKETS = {"spice-html5": "websockify"}
"""Path of the websocket where the address names none."""
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


async def remote_console(core: Core, req: Request) -> Response:
    """POST /servers/{id}/remote-consoles."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    what = doc.get("remote_console") if isinstance(doc, dict) else None
    return await console(core, req, entry, str(what.get("type")) if isinstance(what, dict) else "")


async def console(core: Core, req: Request, entry: IndexEntry, kind: str) -> Response:
    """The site's answer with an address of ours in it, or the site's refusal."""
    reply = await site_reply(core, req, entry.site)
    if reply.status >= 300:
        return await from_site(core, req, entry.site, reply)
    doc = reply.json()
    found = next(iter(doc.values()), None) if isinstance(doc, dict) else None
    url = found.get("url") if isinstance(found, dict) else None
    grant = read(entry.site, kind, url) if isinstance(url, str) else None
    if grant is None or found is None or not _expected(core, grant):
        raise Fault(400, f"Unavailable console type {kind}.")
    found["url"] = north(core, grant, str(url))
    return Response.passed(reply, msgspec.json.encode(doc))


async def console_auth_token(core: Core, req: Request) -> Response:
    """GET /os-console-auth-tokens/{token}: what a grant stands for, as the site tells its administrators."""
    grant = core.south.grants.open(req.match["token"])
    if grant is None or grant.site not in core.sites.names():
        return await to_hub(core, req)
    token = parse_qs(urlsplit(grant.socket).query)["token"][0]
    reply: Reply = await site_reply(core, req, grant.site, path=f"/os-console-auth-tokens/{quote(token, safe='')}")
    return await from_site(core, req, grant.site, reply)


def read(site: str, kind: str, url: str) -> Grant | None:
    """What a site's console address holds; None where it is of no kind that can be relayed."""
    if kind not in PAGES:
        return None
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    inner = urlsplit(query.get("path", [_SOCKETS.get(kind, "")])[0])
    token = (query.get("token") or parse_qs(inner.query).get("token") or [""])[0]
    scheme = _SCHEMES.get(parts.scheme)
    if not token or scheme is None or not parts.hostname:
        return None
    where = parts.path if kind == "serial" else "/" + inner.path.lstrip("/")
    socket = f"{scheme}://{parts.netloc}{where or '/'}?token={quote(token, safe='')}"
    pages = "" if kind == "serial" else f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}/"
    return Grant(site, kind, pages, socket)


def north(core: Core, grant: Grant, url: str) -> str:
    """The gateway's address of a console."""
    public = core.conf.public_url.rstrip("/")
    if grant.kind == "serial":
        public = "ws" + public.removeprefix("http")
    here = f"{PREFIX}/{quote(grant.site, safe='')}/"
    tail = PAGES[grant.kind].format(
        page=quote(urlsplit(url).path.rpartition("/")[2]), socket=quote(here[1:], safe=""), grant=core.south.grants.seal(grant)
    )
    return f"{public}{here}{tail}"


def _expected(core: Core, grant: Grant) -> bool:
    """Whether the address is one this site may send us to: a host of its own APIs, or of its option ``console_hosts``."""
    host = urlsplit(grant.socket).hostname
    known = {urlsplit(u).hostname for u in core.south.base_urls(grant.site).values()}
    named = core.sites.get(grant.site).options.get("console_hosts", "")
    if host in known or host in {h.strip() for h in named.split(",")}:
        return True
    log.warning("console on a host that is not known; name it in the site's option console_hosts", site=grant.site, host=host)
    return False
