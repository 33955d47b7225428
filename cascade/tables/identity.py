"""Keystone's paths: all of it is the hub's. The catalogue is filtered on the way back (cascade.api.identity)."""

from cascade.model.table import Row

ROWS: tuple[Row, ...] = ()
