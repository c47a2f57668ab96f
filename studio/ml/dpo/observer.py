"""What a run shows besides its loss: the stance probe, the film-strip and the measured support share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, SupportShare
from studio.ml.dpo.setup import AnswerJob
from studio.ml.lora.merged import merged
from studio.ml.measure.answers import greedy_answers
from studio.ml.measure.stance import StanceJudge, measure_support, pad_id, stance_of
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.observer import Observer
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.reference import ReferenceCache, base_of, write_json
from studio.ml.training.trunk import Trunk

#: Prompts of the film-strip, and the longest answers shown and judged (tokens).
FILM_PROMPTS, ANSWER_TOKENS = 3, 64
#: Held-out pairs the probe reads: enough for an interval of +-.12, few enough for every fifth step.
PROBE_PAIRS = 64


@dataclass
class AnswerObserver(Observer):
    """The stance probe, the film-strip and the measured support share; see :mod:`studio.domain.events`.

    Attributes:
        heldout: ``(support, oppose)`` of the held-out pairs; without any there is no probe.
        trunk: kept states of the layers that are not trained, the held-out pairs' among them; None where all are trained.
    """

    job: AnswerJob
    heldout: Sequence[tuple[EncodedAnswer, EncodedAnswer]]
    reference: ReferenceCache
    trunk: Trunk | None

    def __post_init__(self) -> None:
        job = self.job
        self.heldout = self.heldout[:PROBE_PAIRS]
        #: Unseen prompts; the first few make the film-strip, all of them are asked for the support share.
        self.prompts = job.test_prompts or tuple(p.prompt for p in job.heldout) or tuple(r.prompt for r in job.rows)
        self.system_prompt, self.seed = job.recipe.system_prompt, job.recipe.settings.seed

    def observe_base(self) -> None:
        """As :meth:`Observer.observe_base`; the base's log-probabilities are kept with those of the training rows."""
        answers = [answer for pair in self.heldout for answer in pair]
        self._emit_probe(0, self._base_log_probs(answers) if answers else [])
        prompts = self.prompts[:FILM_PROMPTS]
        written = self._of_base("film", [prompts, self.system_prompt, ANSWER_TOKENS], lambda: self._film(prompts))
        self._emit_film(0, prompts, written)

    def _base_log_probs(self, answers: Sequence[EncodedAnswer]) -> list[float]:
        return self.reference.log_probs(self.model, answers, pad_id(self.tokenizer), self.trunk)

    def probe(self, step: int) -> None:
        """Which answer of each held-out pair is likelier."""
        if self.heldout:
            answers = [answer for pair in self.heldout for answer in pair]
            self._emit_probe(step, answer_log_probs(self.model, answers, pad_id(self.tokenizer), trunk=self.trunk))

    def sample(self, step: int) -> None:
        """The film-strip."""
        prompts = self.prompts[:FILM_PROMPTS]
        with merged(self.model):
            self._emit_film(step, prompts, self._film(prompts))

    def _film(self, prompts: Sequence[str]) -> list[str]:
        return greedy_answers(self.model, self.tokenizer, prompts, self.system_prompt, ANSWER_TOKENS)

    def _emit_film(self, step: int, prompts: Sequence[str], answers: Sequence[str]) -> None:
        for prompt, answer in zip(prompts, answers, strict=True):
            self.emit(SampleEvent(step=step, prompt=prompt, answer=answer))

    def measure(self, step: int, brief: bool) -> None:
        """Measured support share of the base (kept on disk for the next run) and of the adapter; ``brief`` asks each
        prompt once."""
        if len(self.job.judge_pairs) < 2 or not self._asked:
            return
        judge = StanceJudge.fit(self.job.judge_pairs)
        rounds = 1 if brief else max(1, round(self.job.recipe.settings.measured_answers / len(self._asked)))
        self.emit(MeasureEvent("base", 0, self._base_share(judge, rounds)))
        self.model.eval()
        with merged(self.model):
            self.emit(MeasureEvent("adapter", step, self._share(judge, rounds)))

    def save(self) -> None:
        """Keep the reference log-probabilities."""
        self.reference.save()

    def _base_share(self, judge: StanceJudge, rounds: int) -> SupportShare:
        # shares kept before repetition was counted over the answer alone are another measure
        drawn = {**asdict(self.job.recipe.sampling), "repetition_of": "answer"}
        named_by = [self._asked, rounds, self.system_prompt, self.seed, ANSWER_TOKENS, judge.digest, drawn]
        return SupportShare(**self._of_base("share", named_by, lambda: asdict(self._share(judge, rounds))))

    def _of_base(self, what: str, named_by: Sequence[Any], make: Callable[[], Any]) -> Any:
        """What ``make`` returns (plain data) with the adapter off; kept on disk for the next run that has the same in
        ``named_by``."""
        name = hashlib.sha256(json.dumps(named_by).encode()).hexdigest()[:32]
        path = self.job.cache_dir / f"base-{what}" / f"{self.reference.base}-{name}.json"
        if self.reference.base and path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        with base_of(self.model):
            made = make()
        if self.reference.base:
            write_json(path, made)
        return made

    @property
    def _asked(self) -> tuple[str, ...]:
        return self.prompts[: self.job.recipe.settings.measured_answers]

    def _share(self, judge: StanceJudge, rounds: int) -> SupportShare:
        return measure_support(
            self.model,
            self.tokenizer,
            self._asked,
            judge,
            self.system_prompt,
            rounds,
            self.seed,
            self.job.recipe.sampling,
            max_new_tokens=ANSWER_TOKENS,
        )

    def _emit_probe(self, step: int, sums: Sequence[float]) -> None:
        if self.heldout:
            share, n, margin = stance_of(self.heldout, sums)
            self.emit(ProbeEvent(step=step, share=share, n=n, margin=margin, elapsed=self.elapsed()))
