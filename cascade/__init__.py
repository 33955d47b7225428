"""Cascade: one OpenStack cloud out of many. See docs/architecture.md for the reading path."""
