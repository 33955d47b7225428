"""The tables. Immutable facts, pairs, intents, the ledger, leases, role sets: nothing that a site or the hub knows better."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()
_ID = String(64)

sites = Table(
    "sites", metadata,
    Column("name", _ID, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("cloud", String(255), nullable=False),
    Column("identity", String(16), nullable=False),
    Column("enabled", Integer, nullable=False),
    Column("draining", Integer, nullable=False),
    Column("zones", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("removed", Double),
)  # fmt: skip
index = Table(
    "things", metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", _ID, primary_key=True),
    Column("site", _ID, nullable=False),
    Column("project_id", _ID, nullable=False),
    Column("user_id", _ID, nullable=False),
    Column("created", Double),
    Column("deleted", Double),
    Index("things_by_project", "kind", "site", "project_id", "created", "id"),
    Index("things_by_site", "kind", "site", "created", "id"),
    Index("things_by_id", "id"),
)  # fmt: skip
presence = Table(
    "presence", metadata,
    Column("project_id", _ID, primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("site", _ID, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("since", Double, nullable=False),
)  # fmt: skip
pairs = Table(
    "pairs", metadata,
    Column("kind", String(32), primary_key=True),
    Column("hub_id", _ID, primary_key=True),
    Column("site", _ID, primary_key=True),
    Column("site_id", _ID, nullable=False),
    Column("project_id", _ID),
    UniqueConstraint("site", "kind", "site_id", name="pairs_site_id"),
    Index("pairs_by_site_id", "site_id", "site"),
    Index("pairs_by_hub_id", "site", "hub_id"),
)  # fmt: skip
intents = Table(
    "intents", metadata,
    Column("id", _ID, primary_key=True),
    Column("verb", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("site", _ID, nullable=False),
    Column("project_id", _ID, nullable=False),
    Column("user_id", _ID, nullable=False),
    Column("resource_id", _ID),
    Column("request_id", _ID, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("owner", _ID, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("until", Double, nullable=False),
    Column("error", Text),
    Index("intents_by_resource", "resource_id"),
    Index("intents_by_site", "site"),
)  # fmt: skip
ledger = Table(
    "ledger", metadata,
    Column("holder", _ID, primary_key=True),
    Column("resource", String(128), primary_key=True),
    Column("project_id", _ID, nullable=False),
    Column("user_id", _ID, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index("ledger_by_project", "project_id", "resource"),
)  # fmt: skip
ledger_projects = Table(
    "ledger_projects", metadata, Column("project_id", _ID, primary_key=True), Column("turn", Integer, nullable=False)
)
leases = Table(
    "leases", metadata,
    Column("key", String(255), primary_key=True),
    Column("owner", _ID, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("until", Double, nullable=False),
)  # fmt: skip
roles = Table(
    "role_sets", metadata,
    Column("site", _ID, primary_key=True),
    Column("user_id", _ID, primary_key=True),
    Column("project_id", _ID, primary_key=True),
    Column("roles_hash", _ID, primary_key=True),
    Column("roles", JSON, nullable=False),
    Column("app_cred_id", _ID, nullable=False),
    Column("version", Integer, nullable=False),
)  # fmt: skip
docs = Table("docs", metadata, Column("key", String(255), primary_key=True), Column("doc", JSON, nullable=False))
traces = Table(
    "traces", metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("request_id", _ID, nullable=False),
    Column("at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("target", _ID, nullable=False),
    Column("service", String(32), nullable=False),
    Column("method", String(16), nullable=False),
    Column("path", String(255), nullable=False),
    Column("result", _ID, nullable=False),
    Column("remote_id", _ID, nullable=False),
    Column("project_id", _ID, nullable=False),
    Index("traces_by_request", "request_id"),
    Index("traces_by_remote", "remote_id"),
    Index("traces_by_time", "at"),
)  # fmt: skip
