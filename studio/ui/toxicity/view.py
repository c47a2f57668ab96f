"""What the page shows of scored texts and of who scores. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import zip_longest

from markupsafe import Markup

from studio.domain.toxicity import Explanation, ScorerInfo, TextScore
from studio.i18n import said
from studio.services.scoring.service import TextScores
from studio.services.wording import true_minus
from studio.ui.parts.html import Macros, parts

_HTML = Macros("toxicity/view.html")
#: Rows drawn on the page, and characters of a text in one; the files hold everything.
MAX_ROWS, MAX_SHOWN = 200, 600
#: Words of a text that are coloured, and the log-odds from which a colour is faint, clear, strong.
MAX_WORDS = 120
_STEPS = (0.15, 0.5, 1.2)
#: Words named below a text, those that weigh most.
STRONGEST = 4
#: Over this a text is taken for toxic, and covered.
OVER = 0.5
_LANGUAGES = {"en": "English", "zh": "Chinese"}


def empty() -> Markup:
    """What stands there before the first scores."""
    return _HTML.empty()


def who(info: ScorerInfo) -> Markup:
    """What a scorer measures, and its name and revision."""
    return _HTML.who(info, _facts(info))


def named(info: ScorerInfo) -> Markup:
    """Name, revision, toxic label and languages of a scorer, as chips."""
    return parts.chips(_facts(info))


def _facts(info: ScorerInfo) -> list[tuple[str, str]]:
    languages = ", ".join(said(_LANGUAGES.get(code, code)) for code in info.languages)
    revision = info.revision[:12] or "unknown"
    return [("scorer", info.name), ("revision", revision), ("toxic label", info.toxic_label), ("covers", languages)]


def scored(result: TextScores, why: Sequence[Explanation | None] = ()) -> Markup:
    """The scores of some texts: what they come to, who scored, and a row a text; ``why`` explains the first of them."""
    rows = [
        (number, text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…", score, *_words(explanation))
        for number, (text, score, explanation) in enumerate(zip_longest(result.texts, result.scores, why), 1)
    ]
    if len(rows) > MAX_ROWS:
        rows = sorted(rows, key=lambda row: float("inf") if row[2].reward is None else row[2].reward)[:MAX_ROWS]
    return summary(result) + who(result.info) + _HTML.table(result.info, rows, len(result.texts), OVER, len(why))


def _words(explanation: Explanation | None) -> tuple[list[tuple[str, float, str]], list[tuple[str, float]]]:
    """(word, weight, class of its colour) of an explanation, and (word, weight) of its strongest."""
    if explanation is None:
        return [], []
    colours = []
    for word in explanation.words[:MAX_WORDS]:
        strength = sum(abs(word.weight) >= step for step in _STEPS)
        colours.append(
            (word.word, word.weight, f"{'up' if word.weight > 0 else 'down'}-{strength}" if strength else "")
        )
    strongest = [(word.word, word.weight) for word in explanation.strongest(STRONGEST) if abs(word.weight) >= _STEPS[0]]
    return colours, strongest


def summary(result: TextScores) -> Markup:
    """One line: how many, mean and standard deviation, how many over a half, what was not covered or cut."""
    scores = result.scores
    toxicities = [score.toxicity for score in scores if score.toxicity is not None]
    rewards = [score.reward for score in scores if score.reward is not None]
    name, values, form = ("toxicity", toxicities, ".3f") if toxicities else ("reward", rewards, "+.3f")
    mean = values and {
        "name": name,
        "value": true_minus(format(statistics.fmean(values), form)),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
    }
    over, cut = sum(value > OVER for value in toxicities), sum(score.cut > 0 for score in scores)
    return _HTML.summary(len(scores), mean, over, len(toxicities), len(scores) - len(rewards), cut)


def pane_line(info: ScorerInfo, score: TextScore) -> Markup:
    """What stands below an answer in Compare."""
    return _HTML.pane_line(info, score)
