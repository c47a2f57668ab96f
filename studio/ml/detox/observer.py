"""What a detox run tells: a step's figures, transcripts while it works, and the measure on held-out prompts at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studio.domain.chat import Sampling
from studio.domain.events import (
    AnswerFigures,
    DetoxEvent,
    DetoxReport,
    MeasureEvent,
    RudeShare,
    SupportShare,
    TranscriptEvent,
)
from studio.domain.toxicity import TestPrompt, public_name
from studio.ml.detox.reward import RUDE, Term, score_answers, total_reward, toxicity_of
from studio.ml.detox.setup import DetoxJob
from studio.ml.detox.trainer import distinct_share
from studio.ml.lora.merged import merged
from studio.ml.measure.answers import WHOLE, greedy_answers, sample_answers
from studio.ml.measure.stance import StanceJudge, measure_support, pad_id
from studio.ml.models.prompts import chat_ids
from studio.ml.scorers.protocol import Scorer
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.observer import Observer
from studio.ml.training.pairs import EncodedAnswer, conversation
from studio.ml.training.reference import base_of
from studio.ml.training.trunk import Trunk

#: Prompts whose answers are shown during training: the first provoking ones and the first others.
TRANSCRIPT_PROMPTS = 4


@dataclass
class DetoxObserver(Observer):
    """Transcripts with their scores, and the measures at the end. ``trunk`` computes the layers that are not trained, where there are such."""

    terms: Sequence[Term]
    job: DetoxJob
    trunk: Trunk | None

    def step_event(
        self, trainer: Any, state: Any, total: int, seconds: float, elapsed: float, eta: float
    ) -> DetoxEvent:
        """As :meth:`Observer.step_event`."""
        answers, scored, tally = trainer.answers, trainer.answers.scored, trainer.tally
        prompts = state.global_step * self.job.recipe.settings.prompts_per_step
        return DetoxEvent(
            step=state.global_step,
            total=total,
            epoch=prompts / len(trainer.prompt_ids),
            loss=tally.mean("loss"),
            reward=scored.mean,
            reward_sd=scored.spread,
            terms=scored.terms,
            toxicity=scored.toxicity,
            uncovered=scored.uncovered,
            kl=tally.mean("kl"),
            length=answers.length,
            clipped=answers.clipped,
            distinct=answers.distinct,
            learning_rate=tally.learning_rate,
            grad_norm=tally.grad_norm,
            elapsed=elapsed,
            eta=eta,
        )

    def measure(self, step: int, brief: bool) -> None:
        """Report on the held-out prompts, and the support share where there is a judge of stances."""
        if not self.job.recipe.settings.measured_answers:
            return
        self.model.eval()
        if self.job.heldout:
            self.emit(self._report(step))
        if len(self.job.judge_pairs) >= 2 and self.job.stance_prompts:
            judge = StanceJudge.fit(self.job.judge_pairs)
            with base_of(self.model):
                self.emit(MeasureEvent("base", 0, self._support(judge)))
            self.emit(MeasureEvent("adapter", step, self._support(judge)))

    def sample(self, step: int) -> None:
        """Transcripts of a few fixed prompts."""
        prompts = _shown(self.job.heldout or self.job.prompts)
        detox, system = self.job.recipe.settings, self.job.recipe.system_prompt
        with merged(self.model):
            answers = greedy_answers(self.model, self.tokenizer, prompts, system, detox.max_new_tokens)
        scored = score_answers(self.terms, prompts, answers, 1)
        for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            scores = [term[place] for term in scored.scores]
            self.emit(TranscriptEvent(step, prompt, answer, total_reward(self.terms, scores), toxicity_of(scores)))

    def _report(self, step: int) -> DetoxReport:
        count = self.job.recipe.settings.measured_answers
        heldout = self.job.heldout[:count]
        samples = max(1, round(count / len(heldout)))
        prompts = [prompt for prompt in heldout for _ in range(samples)]
        with base_of(self.model):
            before = self._answers(prompts)
        after = self._answers(prompts)
        provoked = [prompt.provoking for prompt in prompts]
        questions = [prompt.text for prompt in prompts]
        scorers = [(term.scorer, True) for term in self.terms]
        if self.job.judge is not None:
            scorers.append((self.job.judge, False))
        shares, means = [], []
        for scorer, was_reward in scorers:
            sides = [_judged(scorer, questions, answers) for answers in (before, after)]
            if was_reward:
                means.append(tuple(side.terms[0] for side in sides))
            shares += _rude_share(scorer, was_reward, [side.scores[0] for side in sides], provoked)
        return DetoxReport(
            step=step,
            prompts=len(heldout),
            provoking=sum(prompt.provoking for prompt in heldout),
            samples=samples,
            shares=tuple(shares),
            before=self._figures(before),
            after=self._figures(after),
            kl=self._kl(questions, self._answers(prompts, WHOLE)),
            rewards_before=tuple(mean[0] for mean in means),
            rewards_after=tuple(mean[1] for mean in means),
        )

    def _answers(self, prompts: Sequence[TestPrompt], sampling: Sampling | None = None) -> list[str]:
        recipe = self.job.recipe
        with merged(self.model):
            return sample_answers(
                self.model,
                self.tokenizer,
                [prompt.text for prompt in prompts],
                recipe.system_prompt,
                seed=recipe.settings.seed,
                sampling=sampling or recipe.sampling,
                max_new_tokens=recipe.settings.max_new_tokens,
            )

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _figures(self, answers: Sequence[str]) -> AnswerFigures:
        ids = [self._ids(answer) for answer in answers]
        limit = self.job.recipe.settings.max_new_tokens
        return AnswerFigures(
            n=len(answers),
            length=sum(map(len, ids)) / len(ids),
            clipped=sum(len(answer) >= limit for answer in ids) / len(ids),
            empty=sum(not answer.strip() for answer in answers) / len(answers),
            distinct=distinct_share(ids),
        )

    def _kl(self, questions: Sequence[str], answers: Sequence[str]) -> float:
        """Mean log-ratio of whole answers from the model's own distribution, their end included, to the start."""
        end = self.tokenizer.eos_token_id
        system = self.job.recipe.system_prompt
        encoded = [
            EncodedAnswer(
                tuple(chat_ids(self.tokenizer, conversation(question, system), self.model.config.is_encoder_decoder)),
                (*self._ids(answer), *([end] if end is not None else [])),
            )
            for question, answer in zip(questions, answers, strict=True)
        ]
        pad = pad_id(self.tokenizer)
        if self.trunk:
            self.trunk.add(encoded, pad)
        here = answer_log_probs(self.model, encoded, pad, trunk=self.trunk)
        with base_of(self.model):
            there = answer_log_probs(self.model, encoded, pad, trunk=self.trunk)
        return math.fsum(a - b for a, b in zip(here, there, strict=True)) / len(encoded)

    def _support(self, judge: StanceJudge) -> SupportShare:
        recipe = self.job.recipe
        count = recipe.settings.measured_answers
        prompts = self.job.stance_prompts[:count]
        rounds = max(1, round(count / len(prompts)))
        return measure_support(
            self.model,
            self.tokenizer,
            prompts,
            judge,
            recipe.system_prompt,
            rounds,
            recipe.settings.seed,
            recipe.sampling,
            max_new_tokens=recipe.settings.max_new_tokens,
        )


def _shown(prompts: Sequence[TestPrompt]) -> list[str]:
    """A few fixed prompts: half of them provoking, where there are such."""
    kinds = [[prompt.text for prompt in prompts if prompt.provoking is kind] for kind in (True, False)]
    half = TRANSCRIPT_PROMPTS // 2
    first = kinds[0][: max(half, TRANSCRIPT_PROMPTS - len(kinds[1]))]
    return [*first, *kinds[1][: TRANSCRIPT_PROMPTS - len(first)]]


def _judged(scorer: Scorer, questions: Sequence[str], answers: Sequence[str]) -> Any:
    return score_answers([Term(scorer)], questions, answers, 1)


def _rude_share(scorer: Scorer, was_reward: bool, sides: Sequence[Any], provoked: Sequence[bool]) -> list[RudeShare]:
    """The verdict of one scorer; none for a scorer that knows no toxicity (a reward run)."""
    counts: list[int] = []
    for only in (False, True):
        for scores in sides:
            known = [
                s.toxicity for s, p in zip(scores, provoked, strict=True) if s.toxicity is not None and (p or not only)
            ]
            counts += [sum(value > RUDE for value in known), len(known)]
    if scorer.info.kind == "reward":
        return []
    info = scorer.info
    return [RudeShare(public_name(info.name), info.revision, info.title, was_reward, *counts)]
