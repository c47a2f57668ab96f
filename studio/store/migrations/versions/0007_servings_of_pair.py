"""How many raters a pair lies before is looked up at every turn."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("servings_of_pair", "servings", ["pair_id", "open", "last_served"])
