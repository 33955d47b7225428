"""Right requests, one per operation: what wrong ones are made of. Pure data."""

from lab.parity.wrong.seeds.compute import COMPUTE
from lab.parity.wrong.seeds.network import NETWORK
from lab.parity.wrong.seeds.seed import Seed
from lab.parity.wrong.seeds.shared import IDENTITY, IMAGE
from lab.parity.wrong.seeds.volume import VOLUME

SEEDS: dict[str, tuple[Seed, ...]] = {
    "compute": COMPUTE, "volume": VOLUME, "network": NETWORK, "image": IMAGE, "identity": IDENTITY,
}  # fmt: skip
