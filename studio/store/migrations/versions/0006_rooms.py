"""Rooms: votes side by side. All that is there belongs to the first one, whose code is empty."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and say of pairs, raters and kept results which room is theirs."""
    op.create_table(
        "rooms",
        sa.Column("code", sa.String(12), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
    )
    for table in ("pairs", "raters", "kept_votes"):
        op.add_column(table, sa.Column("room", sa.String(12), nullable=False, server_default=""))
    op.drop_index("pairs_to_serve", "pairs")
    op.create_index("pairs_to_serve", "pairs", ["room", "retired", "calibration", "votes", "shuffle"])
    op.create_index("raters_of_room", "raters", ["room", "votes"])
