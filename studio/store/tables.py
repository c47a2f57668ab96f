"""The schema as it is now. ``migrations/versions`` tells how a store gets here; a test keeps the two alike."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData()

#: What was said before the question. Many pairs share one (the same system prompt): kept once, named by its hash.
chats = Table(
    "chats",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("system_prompt", Text, nullable=False),
    Column("history", JSON, nullable=False),
)

#: Votes side by side. What belongs to one names it by its code; the first, whose code is empty, has no row.
rooms = Table(
    "rooms",
    metadata,
    Column("code", String(12), primary_key=True),
    Column("name", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("rules", JSON, nullable=False),
)

#: ``votes`` counts votes that are no skip, so that "fewest votes first" is a walk along an index; ``shuffle`` spreads raters
#: over pairs with equally many; ``place`` orders pairs that came together.
pairs = Table(
    "pairs",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("chat_id", String(24), ForeignKey("chats.id"), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("answer_1", Text, nullable=False),
    Column("answer_2", Text, nullable=False),
    Column("origin_1", JSON, nullable=False),
    Column("origin_2", JSON, nullable=False),
    Column("source", String(16), nullable=False),
    Column("preferred", String(1), nullable=False),
    Column("created", Double, nullable=False),
    Column("place", Integer, nullable=False),
    Column("calibration", Boolean, nullable=False),
    Column("retired", Boolean, nullable=False),
    Column("votes", Integer, nullable=False),
    Column("shuffle", Integer, nullable=False),
    Column("room", String(12), nullable=False, server_default=""),
    CheckConstraint("votes >= 0", name="pairs_votes_not_negative"),
    Index("pairs_to_serve", "room", "retired", "calibration", "votes", "shuffle"),
)

#: ``votes`` counts votes that are no skip.
raters = Table(
    "raters",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Column("votes", Integer, nullable=False),
    Column("room", String(12), nullable=False, server_default=""),
    CheckConstraint("votes >= 0", name="raters_votes_not_negative"),
    Index("raters_of_room", "room", "votes"),
)

#: Which pair stood before whom, and which answer on the left. ``open`` until the rater votes on it.
servings = Table(
    "servings",
    metadata,
    Column("rater_id", String(40), ForeignKey("raters.id"), nullable=False),
    Column("pair_id", String(24), ForeignKey("pairs.id"), nullable=False),
    Column("left_answer", SmallInteger, nullable=False),
    Column("first_served", Double, nullable=False),
    Column("last_served", Double, nullable=False),
    Column("open", Boolean, nullable=False),
    PrimaryKeyConstraint("rater_id", "pair_id", name="servings_once"),
    Index("servings_open", "rater_id", "open", "last_served"),
    Index("servings_of_pair", "pair_id", "open", "last_served"),
)

#: The present choice of each rater on each pair; ``reasons`` with a comma between two.
votes = Table(
    "votes",
    metadata,
    Column("pair_id", String(24), ForeignKey("pairs.id"), nullable=False),
    Column("rater_id", String(40), ForeignKey("raters.id"), nullable=False),
    Column("choice", String(8), nullable=False),
    Column("left_answer", SmallInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("reasons", String(80), nullable=False, server_default=""),
    PrimaryKeyConstraint("pair_id", "rater_id", name="one_vote_per_pair_and_rater"),
    CheckConstraint("choice IN ('1', '2', 'tie', 'both_bad', 'skip')", name="votes_choice"),
    CheckConstraint("left_answer IN (1, 2)", name="votes_left"),
    Index("votes_of_rater", "rater_id", "updated"),
)

#: Choices that were changed or taken back, with when and how.
vote_history = Table(
    "vote_history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pair_id", String(24), nullable=False),
    Column("rater_id", String(40), nullable=False),
    Column("choice", String(8), nullable=False),
    Column("left_answer", SmallInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("replaced", Double, nullable=False),
    Column("how", String(8), nullable=False),
    ForeignKeyConstraint(["pair_id"], ["pairs.id"]),
    ForeignKeyConstraint(["rater_id"], ["raters.id"]),
    Index("history_of_vote", "pair_id", "rater_id"),
)

#: The present thumb of each rater on each single answer: ``label`` is up. ``answer_id`` names conversation and answer; ``model`` is who
#: gave it, for people.
thumbs = Table(
    "thumbs",
    metadata,
    Column("rater_id", String(40), ForeignKey("raters.id"), nullable=False),
    Column("answer_id", String(24), nullable=False),
    Column("chat_id", String(24), ForeignKey("chats.id"), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("completion", Text, nullable=False),
    Column("label", Boolean, nullable=False),
    Column("model", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    PrimaryKeyConstraint("rater_id", "answer_id", name="one_thumb_per_answer_and_rater"),
)

#: The rules of rating, and the secret that signs what is given to browsers.
settings = Table(
    "settings",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", JSON, nullable=False),
)

#: Before/after evaluations. ``owner`` names the process that works on one; ``spec`` is what it asks but for the title and
#: the prompts, which have columns of their own: titles change, and a list reads no prompts.
evaluations = Table(
    "evaluations",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("title", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("total", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("prompts", JSON, nullable=False),
    CheckConstraint(
        "state IN ('queued', 'running', 'done', 'cancelled', 'failed', 'interrupted')", name="evaluations_state"
    ),
)

#: The rows of an evaluation, written as they are made.
evaluation_rows = Table(
    "evaluation_rows",
    metadata,
    Column("evaluation_id", String(24), ForeignKey("evaluations.id"), nullable=False),
    Column("adapter", String(100), nullable=False),
    Column("prompt_id", String(100), nullable=False),
    Column("sample", Integer, nullable=False),
    Column("query", Text, nullable=False),
    Column("response_before", Text, nullable=False),
    Column("response_after", Text, nullable=False),
    Column("score_before", JSON, nullable=False),
    Column("score_after", JSON, nullable=False),
    PrimaryKeyConstraint("evaluation_id", "adapter", "prompt_id", "sample", name="evaluation_rows_once"),
    CheckConstraint("sample >= 0", name="evaluation_rows_sample"),
)

#: Results of votes that the operator keeps; ``body`` is JSON, as text: it may hold infinities.
kept_votes = Table(
    "kept_votes",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("created", Double, nullable=False),
    Column("title", Text, nullable=False),
    Column("votes", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("room", String(12), nullable=False, server_default=""),
)
