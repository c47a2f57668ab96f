"""One protocol for everything that scores a text, and the way from a spec to a loaded scorer.

Used by the web process and, in a detox run, by the worker process alike: a :class:`ScorerSpec` says all there is to know.
"""

from __future__ import annotations

from studio.domain.toxicity import ScorerSpec
from studio.errors import InputError
from studio.ml.scorers.protocol import Scorer
from studio.ml.scorers.reward_run import RewardRunScorer


def load_scorer(spec: ScorerSpec, *, device: str = "auto", trust_remote_code: bool = False) -> Scorer:
    """The scorer a spec describes, in memory. Needs no network.

    Raises:
        ModelLoadError: its files are not there, damaged, or of another kind.
        InputError: a classifier whose toxic label cannot be told.
    """
    if spec.info.kind == "embedded":
        from studio.ml.scorers.embedded import FOLDER, EmbeddedScorer

        return EmbeddedScorer(spec.path or FOLDER)
    if spec.info.kind == "word-list":
        from studio.ml.scorers.word_list import WordScorer

        return WordScorer()
    if spec.info.kind == "classifier":
        from studio.ml.scorers.classifier import ClassifierScorer

        return ClassifierScorer(spec, device=device, trust_remote_code=trust_remote_code)
    if spec.info.kind == "reward":
        return RewardRunScorer(spec, device=device, trust_remote_code=trust_remote_code)
    raise InputError(f"There is no scorer of kind {spec.info.kind!r}.")
