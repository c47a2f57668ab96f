"""Who scores, and what they say. :func:`get_score` scores one answer from a script or a notebook."""

from __future__ import annotations

import functools

from studio.config import Settings, load_settings
from studio.errors import InputError
from studio.services.models.service import ModelService
from studio.services.runs.store import RunStore
from studio.services.scoring.service import ScoringService


def get_score(prompt: str, response: str, scorer: str = "", *, settings: Settings | None = None) -> float:
    """The reward of one answer to one prompt; higher is better.

    Of a reward run only the difference between answers to the same prompt means anything: ``sigmoid(a - b)`` is the probability,
    as the model sees it, that the first is preferred. Of a scorer of toxicity it is the logit of "not toxic".

    >>> from studio.services.scoring import get_score
    >>> polite = get_score("What do you think of my idea?", "I like it, thank you.", "embedded")
    >>> rude = get_score("What do you think of my idea?", "Shut up, you stupid idiot.", "embedded")
    >>> polite > rude
    True

    Args:
        scorer: its name (see :mod:`studio.domain.toxicity`), ``run:<run-id>`` for a reward run; empty: the newest reward run.
        settings: where runs and models lie; the environment's (``STUDIO_...``) where there are none.

    The scorer stays loaded for the next call.

    Raises:
        InputError: an empty prompt or answer, an answer that the scorer does not cover, or no reward run yet.
        StudioError: the scorer cannot be had, or gives no number.
    """
    service = _service(settings or load_settings())
    name = scorer or next((name for _, name in service.reward_runs()), "")
    if not name:
        raise InputError("There is no reward model to score with; train one first, or name another scorer.")
    (score,) = service.score_checked(name, [response], [prompt], "Answer").scores
    if score.reward is None:
        raise InputError(f"{name} does not cover this answer, so it has no score.")
    return score.reward


@functools.cache
def _service(settings: Settings) -> ScoringService:
    return ScoringService(settings, RunStore(settings), ModelService(settings))
