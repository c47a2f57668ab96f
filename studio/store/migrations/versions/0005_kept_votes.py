"""Results of votes that are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "kept_votes",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("votes", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
