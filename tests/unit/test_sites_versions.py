"""Microversions compare as numbers."""

from __future__ import annotations

import pytest

from cascade.sites import versions


def test_numbers_not_strings() -> None:
    assert versions.parse("2.100") > versions.parse("2.52")
    assert versions.at_least("2.100", "2.52")
    assert not versions.at_least("2.9", "2.52")
    assert not versions.at_least(None, "2.1")


@pytest.mark.parametrize("text", ["latest", "2", "2.01", "2.1 ", "-1.0", "", "2.x", "0.1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a microversion"):
        versions.parse(text)


def test_windows() -> None:
    assert versions.common([("2.1", "2.104"), ("2.1", "2.100"), ("2.3", "2.103")]) == ("2.3", "2.100")
    assert versions.common([("2.1", "2.9"), ("2.10", "2.20")]) is None
    assert versions.common([]) is None
    assert versions.within("2.100", ("2.1", "2.100"))
    assert not versions.within("2.101", ("2.1", "2.100"))


def test_headers() -> None:
    assert versions.headers("compute", "2.52") == {"openstack-api-version": "compute 2.52", "x-openstack-nova-api-version": "2.52"}
    assert versions.headers("volume", "3.60") == {"openstack-api-version": "volume 3.60"}
    assert versions.headers("image", "2.1") == {}
