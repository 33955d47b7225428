"""What Prometheus reads of a cloud with one site up and one down."""

from __future__ import annotations

from pathlib import Path

from cascade import telemetry
from cascade.api.core import Background
from cascade.api.observe import observe
from cascade.model.site import Site
from tests.unit.admin_fake import World


async def test_gauges(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    try:
        for name in ("paris", "tokyo"):
            await world.store.sites.add(Site(name=name, number=0, cloud=name))
        await world.sites.reload()
        world.sites.health.answered("paris", "compute")
        world.sites.health.answered("paris", "identity")
        for _ in range(5):
            world.sites.health._failure("tokyo", "compute", "refused", probe=True)
        await world.store.intents.open("server.create", site="paris", project_id="p", user_id="u", request_id="r", body={})
        world.core.tasks = Background()
        await observe(world.core)
        text = telemetry.render()[0].decode()
    finally:
        await world.store.close()
    assert 'cascade_site_up{target="paris"} 1.0' in text and 'cascade_site_up{target="tokyo"} 0.0' in text
    assert 'cascade_services_down{target="tokyo"} 1.0' in text and 'cascade_services_down{target="paris"} 0.0' in text
    assert 'cascade_intents_open{site="paris",verb="server.create"} 1.0' in text
    assert 'cascade_site_waiting{target="paris"} 3.0' in text
    assert "_created" not in text
