"""Nova: addresses of consoles, and the tokens in them. Nobody listens there."""

from __future__ import annotations

from sim.faults import Refused
from sim.nova_schema import fields
from sim.nova_view import fetch
from sim.web import Call, invalid, route
from sim.world import Row, new_id

CONSOLES = {
    ("vnc", "novnc"): "vnc_lite.html?path=%3Ftoken%3D",
    ("spice", "spice-html5"): "spice_auto.html?token=",
    ("serial", "serial"): "?token=",
}


@route("compute", "POST", "/servers/{ident}/remote-consoles", "member", "os_compute_api:os-remote-consoles", low=6)
def remote_console(call: Call, ident: str) -> Row:
    given = fields("remote_console", call.body("remote_console"), ("protocol", "type"))
    protocols = ["vnc", "spice", "serial", *(("rdp",) if call.cloud.newest else ()), "mks"]
    if given["protocol"] not in protocols:
        raise Refused(400, invalid("protocol", given["protocol"], f"is not one of {protocols}"))
    url = console_url(call, fetch(call, ident), given["protocol"], given["type"])
    return {"remote_console": {**given, "url": url}}


def console_url(call: Call, s: Row, protocol: str, kind: str) -> str:
    """Where a browser would find the console. Raises Refused 400, 409."""
    path = CONSOLES.get((protocol, kind))
    if path is None:
        known = kind in [k for _, k in CONSOLES]
        raise Refused(400, f"Invalid console type {kind}" if known else f"Unavailable console type {kind}.")
    if s["host"] is None:
        raise Refused(409, f"Instance {s['id']} is not ready")
    token = new_id()
    call.cloud["console_tokens"][token] = {
        "instance_uuid": s["id"],
        "host": "127.0.0.1",
        "port": 5900,
        "internal_access_path": None,
    }
    scheme = "ws" if kind == "serial" else "http"
    return f"{scheme}://{call.cloud.root.partition('://')[2]}/console/{path}{token}"


@route("compute", "GET", "/os-console-auth-tokens/{token}", "admin", "os_compute_api:os-console-auth-tokens")
def console_token(call: Call, token: str) -> Row:
    if not call.since(31):
        raise Refused(400, "The server could not comply with the request since it is either malformed or otherwise incorrect.")
    row = call.cloud["console_tokens"].get(token)
    if row is None:
        raise Refused(404, "Token not found")
    return {"console": row}
