"""How a site's Gnocchi is asked: as any service (``forward``), and what is particular to measures besides.

Searches are narrowed to this cloud's projects for who would see others' (``metering_owners``), and the project of the site's
Ceilometer stands for the cloud's own service project, both ways (``measurer``).

Gnocchi's JSON is that of Python's standard library, and so is ours here: a value may be ``NaN`` or ``Infinity``, and there are
blanks where people's scripts have always seen them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cascade.api import forward, measurer, metering_owners
from cascade.api.core import Core
from cascade.api.request import Params, Request, Response
from cascade.model.caller import Caller
from cascade.model.errors import BadReply
from cascade.model.reply import Reply


class Measured(Reply):
    """A Gnocchi's answer."""

    __slots__ = ()

    def json(self) -> Any:
        """The decoded body, ``NaN`` and ``Infinity`` included; raises BadReply if it is not JSON."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError as e:
            raise BadReply(self.target, f"not JSON: {e}") from e


def encoded(doc: Any) -> bytes:
    """As Gnocchi writes it."""
    return json.dumps(doc).encode()


def answer(doc: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A document of the gateway's own making."""
    return Response(status=200, headers={"Content-Type": "application/json", **(headers or {})}, body=encoded(doc))


async def site_reply(
    core: Core, req: Request, site: str, *, doc: Any = None, params: Params | None = None, path: str | None = None,
    timeout: float | None = None,
) -> Measured:  # fmt: skip
    """``forward.site_reply``. Raises Fault 400 for a search that cannot be narrowed, too."""
    if doc is None and req.body:
        doc = req.json()
    doc, params = await metering_owners.narrowed(core, req, site, doc, req.params if params is None else params)
    doc = await measurer.south(core, site, doc)
    reply = await forward.site_reply(core, req, site, doc=doc, params=params, path=path, timeout=timeout)
    return Measured(reply.target, reply.status, reply.headers, reply.body)


async def from_site(core: Core, req: Request, site: str, reply: Reply) -> Response:
    """``forward.from_site``."""
    return await forward.from_site(core, req, site, reply, known=await measurer.north(core, site), encode=encoded)


async def north_doc(core: Core, site: str, doc: Any, caller: Caller, service: str) -> Any:
    """``forward.north_doc``."""
    return await forward.north_doc(core, site, doc, caller, service, known=await measurer.north(core, site))
