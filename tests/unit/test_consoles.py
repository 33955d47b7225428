"""No console address of a site goes north; every other answer of the site does."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.api import actions, consoles
from cascade.api.request import Request, Response
from cascade.model.errors import Fault
from tests.unit.admin_fake import caller


def request(body: bytes) -> Request:
    return Request(service="compute", method="POST", path="/servers/s/x", params=[], headers={}, body=body, caller=caller("member"),
                   request_id="r", match={"id": "s"})  # fmt: skip


@pytest.mark.parametrize(
    ("handler", "body", "kind"),
    [
        (consoles.remote_console, b'{"remote_console": {"protocol": "vnc", "type": "novnc"}}', "novnc"),
        (actions.server_action, b'{"os-getVNCConsole": {"type": "xvpvnc"}}', "xvpvnc"),
        (actions.server_action, b'{"os-getSerialConsole": {}}', "serial"),
    ],
)
async def test_consoles(monkeypatch: pytest.MonkeyPatch, handler: Any, body: bytes, kind: str) -> None:
    status = 200

    async def found(*_: Any) -> Any:
        return object()

    async def answer(*_: Any) -> Response:
        return Response(status=status, body=b'{"console": {"url": "http://10.0.0.1:6080/?token=x"}}')

    for module in (actions, consoles):
        monkeypatch.setattr(module, "locate", found)
        monkeypatch.setattr(module, "at_site", answer)
    with pytest.raises(Fault, match=f"Unavailable console type {kind}") as e:
        await handler(None, request(body))
    assert e.value.status == 400
    status = 409
    assert (await handler(None, request(body))).status == 409
