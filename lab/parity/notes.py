"""Why a test of upstream's that passes directly may fail through Cascade: properties of a cloud of several sites, nothing else."""

NOTES: dict[str, str] = {
    # part of a test's name: the reason
}
