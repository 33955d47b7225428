"""Services that stand beside the hub's own and know of no site: every path is theirs, and they judge the token themselves.

Their own calls come back through Cascade's catalogue, so what they make lives in sites all the same.
"""

from collections.abc import Mapping

BODIES: Mapping[str, int] = {
    "orchestration": 2**20,  # Heat's own limit: a template comes with the files it names
    "alarming": 2**20,  # Aodh has none
}
"""Service -> most bytes of a body."""
