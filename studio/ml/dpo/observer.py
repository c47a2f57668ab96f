"""What a run shows besides its loss: the stance probe, the film-strip and the measured support share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studio.domain.data import PreferencePair
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, SupportShare
from studio.ml.lora.merged import merged
from studio.ml.measure.answers import CHAT, greedy_answers
from studio.ml.measure.stance import StanceJudge, measure_support, pad_id, stance_of
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.reference import ReferenceCache, base_of, write_json

#: Prompts of the film-strip, and the longest answers shown and judged (tokens).
FILM_PROMPTS, ANSWER_TOKENS = 3, 64
#: Up to this many parameters (or on a GPU) answers are cheap: more of them are judged.
_QUICK_PARAMETERS = 20_000_000
_QUICK_ANSWERS, _SLOW_ANSWERS = 96, 32
#: Held-out pairs the probe reads: enough for an interval of +-.12, few enough for every fifth step.
PROBE_PAIRS = 64


@dataclass
class Observer:
    """Looks at the model in training and emits what it sees; see :mod:`studio.domain.data` for the events.

    Attributes:
        heldout: ``(support, oppose)`` of the held-out pairs; without any there is no probe.
        prompts: unseen prompts; the first few make the film-strip, all of them are asked for the support share.
        elapsed: seconds of training so far.
        quick: whether answers are cheap on this base and device.
    """

    model: Any
    tokenizer: Any
    heldout: Sequence[tuple[EncodedAnswer, EncodedAnswer]]
    prompts: tuple[str, ...]
    judge_pairs: Sequence[PreferencePair]
    system_prompt: str
    seed: int
    reference: ReferenceCache
    emit: Callable[[Any], None]
    elapsed: Callable[[], float]
    quick: bool = field(init=False)

    def __post_init__(self) -> None:
        self.heldout = self.heldout[:PROBE_PAIRS]
        self.quick = self.model.device.type == "cuda" or self.model.num_parameters() <= _QUICK_PARAMETERS

    def look_at_base(self) -> None:
        """Probe and film-strip of step 0, with the adapter off."""
        answers = [answer for pair in self.heldout for answer in pair]
        self._tell_probe(0, self.reference.log_probs(self.model, answers, pad_id(self.tokenizer)) if answers else [])
        with base_of(self.model):
            self._tell_samples(0)

    def look(self, step: int, *, probe: bool, sample: bool, training: bool = False) -> None:
        """Probe and/or film-strip of the model as it is."""
        self.model.eval()
        if probe and self.heldout:
            answers = [answer for pair in self.heldout for answer in pair]
            self._tell_probe(step, answer_log_probs(self.model, answers, pad_id(self.tokenizer)))
        if sample:
            self._tell_samples(step)
        self.model.train(training)

    def measure(self, step: int, cache_dir: Path, brief: bool = False) -> None:
        """Measured support share of the base (kept on disk for the next run) and of the adapter; ``brief`` asks each
        prompt once."""
        if len(self.judge_pairs) < 2 or not self.prompts:
            return
        judge = StanceJudge.fit(self.judge_pairs)
        rounds = 1 if brief else max(1, round(self._wanted / len(self._asked)))
        self.emit(MeasureEvent("base", 0, self._base_share(judge, cache_dir, rounds)))
        self.model.eval()
        with merged(self.model):
            self.emit(MeasureEvent("adapter", step, self._share(judge, rounds)))

    def _base_share(self, judge: StanceJudge, cache_dir: Path, rounds: int) -> SupportShare:
        drawn = [CHAT.temperature, CHAT.top_p]
        asked = [self._asked, rounds, self.system_prompt, self.seed, ANSWER_TOKENS, judge.digest, drawn]
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]
        path = cache_dir / "base-share" / f"{self.reference.base}-{name}.json"
        if self.reference.base and path.is_file():
            return SupportShare(**json.loads(path.read_text(encoding="utf-8")))
        with base_of(self.model):
            share = self._share(judge, rounds)
        if self.reference.base:
            write_json(path, asdict(share))
        return share

    @property
    def _wanted(self) -> int:
        return _QUICK_ANSWERS if self.quick else _SLOW_ANSWERS

    @property
    def _asked(self) -> tuple[str, ...]:
        return self.prompts[: self._wanted]

    def _share(self, judge: StanceJudge, rounds: int) -> SupportShare:
        return measure_support(
            self.model,
            self.tokenizer,
            self._asked,
            judge,
            self.system_prompt,
            rounds,
            self.seed,
            max_new_tokens=ANSWER_TOKENS,
        )

    def _tell_probe(self, step: int, sums: Sequence[float]) -> None:
        if self.heldout:
            share, n, margin = stance_of(self.heldout, sums)
            self.emit(ProbeEvent(step=step, share=share, n=n, margin=margin, elapsed=self.elapsed()))

    def _tell_samples(self, step: int) -> None:
        prompts = self.prompts[:FILM_PROMPTS]
        answers = greedy_answers(self.model, self.tokenizer, prompts, self.system_prompt, ANSWER_TOKENS)
        for prompt, answer in zip(prompts, answers, strict=True):
            self.emit(SampleEvent(step=step, prompt=prompt, answer=answer))
