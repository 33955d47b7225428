"""What requests did; pairs of many sites are found by the sites' ids at once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=32), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("result", sa.String(length=64), nullable=False),
        sa.Column("remote_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("traces", schema=None) as batch_op:
        batch_op.create_index("traces_by_request", ["request_id"], unique=False)
        batch_op.create_index("traces_by_remote", ["remote_id"], unique=False)
        batch_op.create_index("traces_by_time", ["at"], unique=False)

    with op.batch_alter_table("pairs", schema=None) as batch_op:
        batch_op.drop_index("pairs_by_site_id")
        batch_op.create_index("pairs_by_site_id", ["site_id", "site"], unique=False)
