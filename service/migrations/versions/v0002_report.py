"""What the examples say about each other."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Classifiers of before have no report."""
    op.add_column("classifiers", sa.Column("report", sa.JSON))
