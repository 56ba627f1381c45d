"""Owners, revisions, and answers that are given again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """What is there already belongs to the default tenant and counts as never changed."""
    op.add_column("classifiers", sa.Column("tenant", sa.String(64), nullable=False, server_default="default"))
    op.add_column("classifiers", sa.Column("revision", sa.BigInteger, nullable=False, server_default="1"))
    op.drop_index("ix_classifiers_newest", "classifiers")
    op.create_index("ix_classifiers_newest", "classifiers", ["tenant", "created_us", "id"])
    op.drop_index("ix_examples_classifier_id", "examples")
    op.create_index("ix_examples_position", "examples", ["classifier_id", "position"], unique=True)
    op.create_table(
        "receipts",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_receipts_created_us", "receipts", ["created_us"])
