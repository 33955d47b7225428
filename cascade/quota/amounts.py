"""What a thing counts as in the ledger, read from how its service shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PER_TYPE = ("volumes", "snapshots", "gigabytes")
"""Resources Cinder also counts per volume type, as ``volumes_<type>``."""


def block_amounts(kind: str, shown: Mapping[str, Any], volume_type: str | None = None) -> dict[str, int]:
    """Amounts of a Cinder thing; empty for kinds that are not counted. ``volume_type``: its name, where the thing does
    not show it itself (snapshots)."""
    size = int(shown.get("size") or 0)
    amounts = {
        "volume": {"volumes": 1, "gigabytes": size},
        "snapshot": {"snapshots": 1, "gigabytes": size},
        "backup": {"backups": 1, "backup_gigabytes": size},
        "group": {"groups": 1},
    }.get(kind, {})
    volume_type = volume_type or shown.get("volume_type") if kind in ("volume", "snapshot") else None
    if isinstance(volume_type, str) and volume_type:
        amounts |= {f"{k}_{volume_type}": v for k, v in amounts.items() if k in PER_TYPE}
    return amounts
