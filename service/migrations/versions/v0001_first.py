"""Classifiers and their examples."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "classifiers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(200)),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("model_reason", sa.String(400), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("encoder_sha256", sa.String(64), nullable=False),
        sa.Column("runtime", sa.String(32), nullable=False),
        sa.Column("precision", sa.String(16), nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("shots", sa.JSON, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_classifiers_expires_us", "classifiers", ["expires_us"])
    op.create_index("ix_classifiers_newest", "classifiers", ["created_us", "id"])
    op.create_table(
        "examples",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("classifier_id", sa.String(64), sa.ForeignKey("classifiers.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("label", sa.Integer, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_examples_classifier_id", "examples", ["classifier_id"])
