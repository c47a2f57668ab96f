"""A KTO run: from answers with a thumb to a LoRA adapter. Everything but trainer and rows is a DPO run's (:mod:`studio.ml.dpo.run`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.domain.data import RatedAnswer
from studio.domain.runs import KtoRecipe
from studio.ml.dpo.run import AnswerTraining
from studio.ml.dpo.setup import AnswerJob, Emit
from studio.ml.kto.trainer import AnswerCollator, mismatched, trainer_class
from studio.ml.measure.stance import pad_id
from studio.ml.training.fit import Base, TrainingResult, fit
from studio.ml.training.pairs import encode_rated
from studio.ml.training.setup import Rows, pair_arguments


@dataclass(frozen=True, kw_only=True)
class KtoJob(AnswerJob):
    """The job of a KTO run; its ``judge_pairs`` are those that its answers make, see :mod:`studio.services.data.annotated.rated`."""

    recipe: KtoRecipe
    rows: tuple[RatedAnswer, ...]


def preload() -> None:
    """Import what a run needs, so that a process forked later starts at once. Starts no thread of its own."""
    trainer_class()


def train_kto(job: KtoJob, emit: Emit, should_stop: Callable[[], bool]) -> TrainingResult:
    """Train an adapter and write it into ``job.folder``; reference, events, samples, measures, checkpoints and failures as
    :func:`studio.ml.dpo.run.train_dpo`. In a step's event ``chosen`` are its liked answers and ``rejected`` its disliked ones; their
    figures are NaN where a step has none.

    Raises:
        RecipeError, ModelLoadError, TrainingError: as :func:`studio.ml.dpo.run.train_dpo`.
    """
    return fit(KtoTraining(job), emit, should_stop)


class KtoTraining(AnswerTraining[KtoJob]):
    """TRL's ``KTOTrainer``."""

    def encoded(self, tokenizer: Any, max_length: int) -> Rows:
        """As :meth:`AnswerTraining.encoded`."""
        recipe, cut = self.job.recipe, self.job.recipe.settings.cuts_answers
        # one by one, so that a thumb stays with its answer where another is left out
        kept = [
            (answer, row.liked)
            for row in self.job.rows
            for answer in encode_rated(tokenizer, [row], recipe.system_prompt, max_length, cut)
        ]
        self._liked = [liked for _, liked in kept]
        rows = [answer for answer, _ in kept]
        self._mismatched = mismatched(rows, recipe.settings.batch_size, max_length)
        return rows

    def read_beside(self) -> Rows:
        """The mismatched answers of the KL term."""
        return self._mismatched

    def trl_trainer(self, rows: Rows, base: Base, **options: Any) -> Any:
        """As :meth:`AnswerTraining.trl_trainer`."""
        from trl import KTOConfig

        job, kto = self.job, self.job.recipe.settings
        return trainer_class()(
            answers=rows,
            mismatched=self._mismatched,
            args=KTOConfig(
                **pair_arguments(job.recipe, len(rows), job.folder, base.device, base.model.num_parameters()),
                beta=kto.beta,
                desirable_weight=kto.desirable_weight,
                undesirable_weight=kto.undesirable_weight,
                router_aux_loss_coef=0.0,
            ),
            data_collator=AnswerCollator(rows, self._liked, pad_id(base.tokenizer)),
            **options,
        )
