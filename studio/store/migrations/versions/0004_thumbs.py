"""Thumbs up and down on single answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "thumbs",
        sa.Column("rater_id", sa.String(40), sa.ForeignKey("raters.id"), nullable=False),
        sa.Column("answer_id", sa.String(24), nullable=False),
        sa.Column("chat_id", sa.String(24), sa.ForeignKey("chats.id"), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("completion", sa.Text, nullable=False),
        sa.Column("label", sa.Boolean, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("rater_id", "answer_id", name="one_thumb_per_answer_and_rater"),
    )
