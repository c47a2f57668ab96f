"""The reasons that go with a vote."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; votes cast before have no reasons."""
    op.add_column("votes", sa.Column("reasons", sa.String(80), nullable=False, server_default=""))
