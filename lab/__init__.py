"""The lab: a hub and several sites of real OpenStack on one machine, for people and for tests."""
