"""Pairs, chats, raters, servings, votes with their history, settings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chats",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("system_prompt", sa.Text, nullable=False),
        sa.Column("history", sa.JSON, nullable=False),
    )
    op.create_table(
        "pairs",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("chat_id", sa.String(24), sa.ForeignKey("chats.id"), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("answer_1", sa.Text, nullable=False),
        sa.Column("answer_2", sa.Text, nullable=False),
        sa.Column("origin_1", sa.JSON, nullable=False),
        sa.Column("origin_2", sa.JSON, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("preferred", sa.String(1), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("calibration", sa.Boolean, nullable=False),
        sa.Column("retired", sa.Boolean, nullable=False),
        sa.Column("votes", sa.Integer, nullable=False),
        sa.Column("shuffle", sa.Integer, nullable=False),
        sa.CheckConstraint("votes >= 0", name="pairs_votes_not_negative"),
    )
    op.create_index("pairs_to_serve", "pairs", ["retired", "calibration", "votes", "shuffle"])
    op.create_table(
        "raters",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("verified", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("votes", sa.Integer, nullable=False),
        sa.CheckConstraint("votes >= 0", name="raters_votes_not_negative"),
    )
    op.create_table(
        "servings",
        sa.Column("rater_id", sa.String(40), sa.ForeignKey("raters.id"), nullable=False),
        sa.Column("pair_id", sa.String(24), sa.ForeignKey("pairs.id"), nullable=False),
        sa.Column("left_answer", sa.SmallInteger, nullable=False),
        sa.Column("first_served", sa.Double, nullable=False),
        sa.Column("last_served", sa.Double, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("rater_id", "pair_id", name="servings_once"),
    )
    op.create_index("servings_open", "servings", ["rater_id", "open", "last_served"])
    op.create_table(
        "votes",
        sa.Column("pair_id", sa.String(24), sa.ForeignKey("pairs.id"), nullable=False),
        sa.Column("rater_id", sa.String(40), sa.ForeignKey("raters.id"), nullable=False),
        sa.Column("choice", sa.String(8), nullable=False),
        sa.Column("left_answer", sa.SmallInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("pair_id", "rater_id", name="one_vote_per_pair_and_rater"),
        sa.CheckConstraint("choice IN ('1', '2', 'tie', 'both_bad', 'skip')", name="votes_choice"),
        sa.CheckConstraint("left_answer IN (1, 2)", name="votes_left"),
    )
    op.create_index("votes_of_rater", "votes", ["rater_id", "updated"])
    op.create_table(
        "vote_history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("pair_id", sa.String(24), sa.ForeignKey("pairs.id"), nullable=False),
        sa.Column("rater_id", sa.String(40), sa.ForeignKey("raters.id"), nullable=False),
        sa.Column("choice", sa.String(8), nullable=False),
        sa.Column("left_answer", sa.SmallInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("replaced", sa.Double, nullable=False),
        sa.Column("how", sa.String(8), nullable=False),
    )
    op.create_index("history_of_vote", "vote_history", ["pair_id", "rater_id"])
    op.create_table(
        "settings",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
