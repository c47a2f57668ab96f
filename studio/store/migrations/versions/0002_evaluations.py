"""Before/after evaluations and their rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("prompts", sa.JSON, nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'cancelled', 'failed', 'interrupted')", name="evaluations_state"
        ),
    )
    op.create_table(
        "evaluation_rows",
        sa.Column("evaluation_id", sa.String(24), sa.ForeignKey("evaluations.id"), nullable=False),
        sa.Column("adapter", sa.String(100), nullable=False),
        sa.Column("prompt_id", sa.String(100), nullable=False),
        sa.Column("sample", sa.Integer, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("response_before", sa.Text, nullable=False),
        sa.Column("response_after", sa.Text, nullable=False),
        sa.Column("score_before", sa.JSON, nullable=False),
        sa.Column("score_after", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("evaluation_id", "adapter", "prompt_id", "sample", name="evaluation_rows_once"),
        sa.CheckConstraint("sample >= 0", name="evaluation_rows_sample"),
    )
