"""Why a test of upstream's that passes directly may fail through Cascade: properties of a cloud of several sites, nothing else."""

NOTES: dict[str, str] = {
    "LiveAutoBlockMigrationV225Test.test_volume_backed_live_migration": (
        "Asks for the first other host of the list, which may stand in another site: a running server moves between hosts that "
        "share a Nova, its storage and its network, and sites share nothing. Within a site it passes (`LiveMigrationTest`)."
    ),
    "TestCompute.test_list_availability_zone_names": "Expects the one zone `nova`; here every site is a zone.",
    "VolumesAssistedSnapshotsTest": (
        "Makes a volume in one project and a server in another, names no zone, and attaches the one to the other: each "
        "project has its own home site, so the two meet by chance only. Where they meet it passes."
    ),
    "placement.v1.test_": (
        "Writes to Placement. North it is read-only, one view of all sites': what a provider has is written by its own site's Nova."
    ),
    "TestSegment.test_create_delete": (
        "Skipped: the hub's Neutron does not offer segments. They say which racks of a site a network reaches; the hub has none."
    ),
}

GNOCCHI: dict[str, str] = {
    "healthcheck: ": "Asks a Gnocchi without a token; the gateway has `/healthz` for itself and asks its sites by itself.",
}
"""The same of Gnocchi's own tests, by how their names begin."""
