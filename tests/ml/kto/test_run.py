"""A KTO run: the numbers of TRL's own trainer, and what a run leaves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import RatedAnswer
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent, WeightChange
from studio.domain.settings import KtoSettings, LoraSettings
from studio.errors import RecipeError
from studio.ml.kto.run import train_kto
from studio.ml.kto.trainer import AnswerCollator, mismatched, trainer_class
from studio.ml.training.pairs import EncodedAnswer, encode_rated
from studio.ml.training.reference import ReferenceCache
from tests.helpers.dpo import check_same_as_trl, load
from tests.helpers.kto import make_kto_job, make_rated

OPTIONS: dict[str, Any] = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}


def config(folder: Path) -> Any:
    from trl import KTOConfig

    return KTOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=6,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        max_length=None,
        **OPTIONS,
    )


def trl_trainer(base: Path, rows: tuple[RatedAnswer, ...], folder: Path) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import KTOTrainer

    model, tokenizer = load(base)
    told = [
        {
            "prompt": [{"role": "user", "content": row.prompt}],
            "completion": [{"role": "assistant", "content": row.completion}],
            "label": row.liked,
        }
        for row in rows
    ]
    return KTOTrainer(
        model=model,
        args=config(folder),
        train_dataset=Dataset.from_list(told),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def studio_trainer(base: Path, rows: tuple[RatedAnswer, ...], folder: Path) -> Any:
    from datasets import Dataset
    from peft import LoraConfig

    model, tokenizer = load(base)
    answers = encode_rated(tokenizer, rows, "", 512)
    return trainer_class()(
        answers=answers,
        mismatched=mismatched(answers, 6, 512),
        reference=ReferenceCache(None, ""),
        base_id="embedded",
        model=model,
        args=config(folder),
        data_collator=AnswerCollator(answers, [row.liked for row in rows], 0),
        train_dataset=Dataset.from_dict({"row": list(range(len(rows)))}),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def test_loss_and_gradient_are_those_of_trl(base: Path, tmp_path: Path) -> None:
    # one answer a prompt: moved by one, as TRL does it, no answer keeps its own
    rows = tuple(row for index, row in enumerate(make_rated(12)) if index % 2 == index // 2 % 2)
    trl = trl_trainer(base, rows, tmp_path / "trl")
    ours = studio_trainer(base, rows, tmp_path / "ours")
    assert [list(row[0].answer_ids) for row in ours._mismatched] == list(trl.train_dataset["KL_completion_ids"])
    check_same_as_trl(trl, ours)
    rewards = {name: values[-1] for name, values in trl._metrics["train"].items()}
    assert ours.tally.mean("reward_chosen") == pytest.approx(rewards["rewards/chosen"], abs=1e-4)
    assert ours.tally.mean("reward_rejected") == pytest.approx(rewards["rewards/rejected"], abs=1e-4)
    assert ours.tally.mean("logp_rejected") == pytest.approx(rewards["logps/rejected"], abs=1e-3)


def test_mismatched_answers_are_of_another_prompt() -> None:
    rows = [(EncodedAnswer((prompt,), (10 + index,)),) for index, prompt in enumerate((1, 1, 2, 2, 3))]
    pairs = [(other.prompt_ids[0], other.answer_ids[0]) for (other,) in mismatched(rows, 4, 8)]
    assert pairs == [
        (1, 12),
        (1, 13),
        (2, 10),
        (2, 11),
        (3, 13),
    ]  # moved by two; the last batch takes the row before it
    assert mismatched(rows, 4, 1)[0][0].answer_ids == ()  # no room left behind the prompt


@pytest.mark.parametrize("layers", ["all", "1/2"])
def test_a_run_prefers_what_was_liked_and_leaves_what_a_dpo_run_leaves(base: Path, tmp_path: Path, layers: str) -> None:
    events: list[Any] = []
    job = make_kto_job(
        base,
        tmp_path / "run",
        epochs=6,
        learning_rate=1e-2,
        measured_answers=8,
        replay_weight=0.1,
        sft_weight=0.1,
        lora=LoraSettings(layers=layers),
    )
    result = train_kto(job, events.append, lambda: False)
    steps = [event for event in events if isinstance(event, StepEvent)]
    assert result.steps == len(steps) == 18
    first, last = steps[0], steps[-1]
    assert first.loss == pytest.approx(0.5, abs=1e-3)  # 1 - sigmoid(0): no answer is ahead yet
    assert first.accuracy == pytest.approx(0.5)
    assert last.margin == pytest.approx(last.reward_chosen - last.reward_rejected)
    assert last.loss < 0.4
    assert last.margin > 0.5
    assert {type(event) for event in events} == {StepEvent, ProbeEvent, SampleEvent, MeasureEvent, WeightChange}
    probes = [event.share for event in events if isinstance(event, ProbeEvent)]
    assert probes[-1] > probes[0]
    assert (job.folder / "adapter_model.safetensors").is_file()


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(base: Path, tmp_path: Path) -> None:
    whole: list[Any] = []
    train_kto(make_kto_job(base, tmp_path / "whole", measured_answers=0), whole.append, lambda: False)
    parts: list[Any] = []
    train_kto(make_kto_job(base, tmp_path / "run", measured_answers=0), parts.append, lambda: len(parts) > 1)
    parts = []
    train_kto(make_kto_job(base, tmp_path / "run", measured_answers=0, resume=True), parts.append, lambda: False)
    wanted = {event.step: event.loss for event in whole if isinstance(event, StepEvent)}
    resumed = {event.step: event.loss for event in parts if isinstance(event, StepEvent)}
    assert 1 <= len(resumed) < len(wanted)
    assert all(wanted[step] == pytest.approx(loss, abs=1e-6) for step, loss in resumed.items())


def test_a_step_without_a_thumb_down_has_no_figures_for_one(base: Path, tmp_path: Path) -> None:
    rows = tuple(row for row in make_rated(12) if row.liked)
    events: list[Any] = []
    train_kto(
        make_kto_job(base, tmp_path / "run", rows=rows, epochs=1, measured_answers=0), events.append, lambda: False
    )
    step = next(event for event in events if isinstance(event, StepEvent))
    assert math.isfinite(step.reward_chosen)
    assert math.isnan(step.reward_rejected)
    assert math.isfinite(step.loss)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"batch_size is 1; .* at least 2"):
        KtoSettings(batch_size=1).check()
