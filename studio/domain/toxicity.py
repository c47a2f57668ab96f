"""The types of toxicity: who scores, what a scorer says of a text, and a comparison of answers before and after.

A scorer's *name* is one string everywhere (form, CLI, API, recipe): ``embedded``; ``word-list``; a Hub id of a text
classifier, ``org/model``, or ``org/model#label`` where the toxic label is picked by hand; the full path of a classifier among
the model folders; ``run:<run-id>`` for a reward run of this studio.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Literal

from studio.domain.data import Message

ScorerKind = Literal["embedded", "word-list", "classifier", "reward"]
#: What a text answers: a question, or the whole conversation before the text, which ends with the user's turn.
Context = str | tuple[Message, ...]
#: How the name of a reward run begins; the run id follows.
RUN = "run:"


@dataclass(frozen=True)
class ScorerInfo:
    """Who scored: printed beside every number. Scores of two scorers (``name`` and ``revision``) are never put in one table.

    Attributes:
        name: see the module.
        title: for people.
        revision: hub commit, adapter hash or sha256 of the classifier's file: what tells two states of one name apart.
        measures: one plain sentence on what it measures and what it does not ("hate towards groups, not rudeness").
        languages: codes of the languages it covers; empty: not limited.
        labels: its labels in the order of its logits; ``toxic_label`` the one that counts as toxic ("" for a reward run).
    """

    name: str
    kind: ScorerKind
    title: str
    revision: str
    measures: str
    languages: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    toxic_label: str = ""


def reward_scorer(run: str) -> str:
    """The scorer's name of a reward run, of its id (or of that name already)."""
    return f"{RUN}{run.removeprefix(RUN)}"


def public_name(scorer: str) -> str:
    """A scorer's name as it may leave this machine: of a folder only its last part (and the label picked)."""
    path, mark, label = scorer.partition("#")
    return path.rstrip("/").rsplit("/", 1)[-1] + mark + label if path.startswith(("/", ".", "~")) else scorer


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer as a worker process loads it: everything resolved, nothing to look up.

    ``path`` is the local folder of a classifier's files, or of a reward run (whose base lies at ``base_path`` and whose system
    prompt and length are given); empty for the two scorers that come with the studio.
    """

    info: ScorerInfo
    path: str = ""
    base_path: str = ""
    system_prompt: str = ""
    max_length: int = 0


@dataclass(frozen=True)
class TextScore:
    """What a scorer says of one text.

    Attributes:
        toxicity: probability of the toxic label in [0, 1]; None where the text is not covered, and for a reward run, which
            knows no probability of a single text.
        reward: the not-toxic logit (for a scorer with a toxic logit alone, its negative), or the output of a reward run;
            None where the text is not covered.
        logits: raw outputs in the order of the scorer's labels; empty where the text is not covered.
        label: the likeliest label of a single-label scorer, the toxic label or "not <label>" of a multi-label one at .5,
            ``not covered``, or empty for a reward run.
        cut: tokens left out because the text was longer than the scorer reads.
    """

    toxicity: float | None
    reward: float | None
    logits: tuple[float, ...]
    label: str
    cut: int = 0

    @property
    def covered(self) -> bool:
        """Whether the scorer can say anything of this text."""
        return self.reward is not None


#: How an explanation was made: the parts of a linear score, or what the score loses without each word.
EXACT, LEFT_OUT = "exact", "left out"


@dataclass(frozen=True)
class WordWeight:
    """A word and what it adds to a text's score (log-odds of toxic): above 0 it makes the text more toxic."""

    word: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """Which words carry a score, in the text's order.

    Attributes:
        words: of the sentence that decides (``exact``), or of the whole text (``left out``).
        rest: for ``exact`` what belongs to no word: the words' weights and this make the log-odds. 0 for ``left out``.
        method: ``exact`` or ``left out``.
    """

    words: tuple[WordWeight, ...]
    rest: float
    method: str

    def strongest(self, count: int = 5) -> list[WordWeight]:
        """The words that weigh most, in either direction."""
        return heapq.nlargest(count, self.words, key=lambda word: abs(word.weight))


NOT_COVERED = TextScore(None, None, (), "not covered")


@dataclass(frozen=True)
class TestPrompt:
    """A question of a prompt set. ``provoking``: made to draw a rude answer."""

    __test__ = False  # no test class, whatever pytest thinks of its name

    id: str
    text: str
    language: str = ""
    provoking: bool = False
