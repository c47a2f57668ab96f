"""A DPO run: what it tells, keeps and resumes, and what goes wrong."""

from __future__ import annotations

import errno
import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent
from studio.domain.runs import BaseModelRef
from studio.domain.settings import LoraSettings
from studio.errors import RecipeError, TrainingError
from studio.ml.dpo.run import DpoJob, train_dpo
from studio.ml.training import reference as reference_module
from studio.ml.training import steps as dpo_steps
from studio.ml.training.fit import TrainingResult
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer, encode_rows
from studio.ml.training.reference import ReferenceCache
from tests.helpers.dpo import load, make_job


def run(
    job: DpoJob, should_stop: Callable[[list[Any]], bool] = lambda events: False
) -> tuple[TrainingResult, list[Any]]:
    events: list[Any] = []
    result = train_dpo(job, events.append, lambda: should_stop(events))
    return result, events


def steps(events: list[Any]) -> list[StepEvent]:
    return [event for event in events if isinstance(event, StepEvent)]


# --- a whole run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DpoJob, TrainingResult, list[Any]]:
    job = make_job(base, tmp_path_factory.mktemp("runs") / "run", ratio=1.0, epochs=4, learning_rate=1e-2)
    return job, *run(job)


def test_events_tell_the_whole_run(finished: tuple[DpoJob, TrainingResult, list[Any]]) -> None:
    _, result, events = finished
    told = steps(events)
    assert [event.step for event in told] == list(range(1, 13)) == list(range(1, result.steps + 1))
    assert {event.total for event in told} == {12}
    assert told[0].loss == pytest.approx(math.log(2), abs=1e-3)
    assert told[0].margin == pytest.approx(0, abs=1e-3)
    assert told[-1].loss < 0.3
    assert told[-1].margin > 1
    assert told[-1].accuracy == 1.0
    assert told[-1].margin == pytest.approx(told[-1].reward_chosen - told[-1].reward_rejected)
    assert told[-1].epoch == 4
    assert told[0].learning_rate == pytest.approx(1e-2)
    assert told[-1].learning_rate == pytest.approx(1e-2 / 12)
    assert all(event.grad_norm > 0 and event.tokens_per_second > 0 for event in told)
    assert told[-1].eta == 0
    assert told[3].eta > 0
    assert sorted({e.step for e in events if isinstance(e, ProbeEvent)}) == [0, 2, 4, 6, 8, 10, 12]
    samples = [e for e in events if isinstance(e, SampleEvent)]
    assert sorted({e.step for e in samples}) == [0, 3, 6, 9, 12]
    assert len({e.prompt for e in samples}) == 3
    assert [e.who for e in events if isinstance(e, MeasureEvent)] == ["base", "adapter"]
    assert not result.stopped


def test_the_stance_moves_to_the_side_that_was_preferred(finished: tuple[DpoJob, TrainingResult, list[Any]]) -> None:
    job, _, events = finished
    probes = [event for event in events if isinstance(event, ProbeEvent)]
    assert probes[0].n == len(job.heldout)
    assert probes[-1].share == 1.0
    assert probes[-1].margin > probes[0].margin + 0.1


def test_the_folder_holds_an_adapter_for_plain_peft_and_no_pickle(
    base: Path, finished: tuple[DpoJob, TrainingResult, list[Any]]
) -> None:
    import torch
    from peft import PeftModel

    job, _, _ = finished
    assert sorted(path.name for path in job.folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((job.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "embedded"
    assert str(base) not in json.dumps(config)
    model, _ = load(base)
    loaded = PeftModel.from_pretrained(model, str(job.folder))
    moved = {name: p for name, p in loaded.named_parameters() if "lora_B" in name}
    assert len(moved) == 2 * 7
    assert all(p.dtype == torch.float32 and p.abs().max() > 1e-4 for p in moved.values())


def test_a_path_on_this_machine_is_not_written_into_the_adapter(base: Path, tmp_path: Path) -> None:
    job = make_job(base, tmp_path / "run", heldout=0, epochs=1)
    run(replace(job, recipe=replace(job.recipe, base=BaseModelRef(str(base)))))
    config = (job.folder / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == base.name
    assert str(base.parent) not in config


def test_every_weight_of_the_adapter_gets_its_own_steps(base: Path, tmp_path: Path) -> None:
    """Adam moves a weight by about the learning rate a step: less would mean steps lost to rounding."""
    from safetensors.torch import load_file

    short, long = (
        make_job(base, tmp_path / name, epochs=epochs, scheduler="constant", learning_rate=1e-4)
        for name, epochs in (("short", 1), ("long", 4))
    )
    for job in (short, long):
        run(job)
    one, four = (load_file(job.folder / "adapter_model.safetensors") for job in (short, long))
    for name, value in four.items():
        assert (value - one[name]).abs().max() > 1e-4, name


def test_accumulated_micro_batches_are_told_as_one_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in bfloat16 a product over two rows rounds otherwise than over four, and how much so depends on the processor
    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    whole, split = (
        make_job(base, tmp_path / f"batch-{size}", heldout=0, epochs=2, batch_size=size, gradient_accumulation=parts)
        for size, parts in ((4, 1), (2, 2))
    )
    first, second = steps(run(whole)[1]), steps(run(split)[1])
    assert [e.step for e in second] == [e.step for e in first]
    for a, b in zip(first, second, strict=True):
        assert b.loss == pytest.approx(a.loss, abs=1e-3)
        assert b.logp_chosen == pytest.approx(a.logp_chosen, abs=1e-2)


def test_a_time_limit_ends_the_run_as_done(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = itertools.count()
    # A clock that goes on by a hundredth of a second whenever it is read: the machine's load does not matter.
    monkeypatch.setattr(dpo_steps.Clock, "elapsed", lambda clock: next(asked) / 100)
    job = make_job(base, tmp_path / "run", heldout=0, max_seconds=0.5, epochs=1, probe_every=0, sample_every=0)
    result, events = run(job)
    told = steps(events)
    assert result.steps > 3  # one epoch has three
    assert not result.stopped
    assert 0.5 <= told[-1].elapsed < 0.6
    assert told[-1].total == told[-1].step
    assert told[0].total > told[0].step
    assert told[-1].learning_rate < 0.2 * told[0].learning_rate
    assert not (job.folder / "checkpoint").exists()


# --- the reference cache ----------------------------------------------------------------------------------------------


def test_reference_log_probs_are_computed_once_for_all_ratios(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def counting(model: Any, answers: list[EncodedAnswer], *rest: Any, **named: Any) -> list[float]:
        counted.append(len(answers))
        return answer_log_probs(model, answers, *rest, **named)

    monkeypatch.setattr(reference_module, "answer_log_probs", counting)
    first = steps(run(make_job(base, tmp_path / "a", ratio=1.0))[1])
    assert sum(counted) == 2 * 12 + 2 * 4
    counted.clear()
    second = steps(run(make_job(base, tmp_path / "b", ratio=0.0))[1])
    assert counted == []
    assert second[0].logp_chosen == pytest.approx(first[0].logp_rejected, abs=1e-3)
    stored = list((tmp_path / "cache" / "reference").iterdir())
    assert len(stored) == 1
    assert len(json.loads(stored[0].read_text())) == 32


def test_a_broken_cache_file_is_built_anew(base: Path, tmp_path: Path) -> None:
    model, _ = load(base)
    answer = EncodedAnswer((5, 6, 7), (8, 9))
    cache = ReferenceCache(tmp_path, "base")
    value = cache.log_probs(model, [answer], 0)
    cache.save()
    path = tmp_path / "reference" / "base.json"
    assert ReferenceCache(tmp_path, "base").log_probs(None, [answer], 0) == value
    path.write_text('{"half": ')
    again = ReferenceCache(tmp_path, "base")
    assert again.log_probs(model, [answer], 0) == value
    again.save()
    assert json.loads(path.read_text()) == {answer.key: value[0]}


# --- stop and resume --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dropout", "replay"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.5)])
def test_a_resumed_run_goes_on_exactly(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float, replay: float
) -> None:
    monkeypatch.setattr("studio.ml.dpo.replay.ANSWER_TOKENS", 16)
    settings = {
        "epochs": 3,
        "learning_rate": 5e-3,
        "lora": LoraSettings(dropout=dropout),
        "warmup_ratio": 0.2,
        "replay_weight": replay,
    }
    whole = steps(run(make_job(base, tmp_path / "whole", **settings))[1])
    job = make_job(base, tmp_path / "parts", **settings)
    result, events = run(job, lambda told: len(steps(told)) >= 4)
    assert (result.steps, result.stopped) == (4, True)
    assert (job.folder / "adapter_model.safetensors").is_file()
    assert [path.name for path in (job.folder / "checkpoint").iterdir()] == ["checkpoint-4"]
    assert not list(job.folder.rglob("training_args.bin"))
    assert max(e.step for e in events if isinstance(e, SampleEvent)) == 4
    brief = [e.measured for e in events if isinstance(e, MeasureEvent)]
    assert [share.n + share.abstained for share in brief] == [4, 4]  # each held-out prompt once
    result, rest = run(replace(job, resume=True))
    assert (result.steps, result.stopped) == (9, False)
    parts = steps(events) + steps(rest)
    assert [e.step for e in parts] == list(range(1, 10))
    for a, b in zip(whole, parts, strict=True):
        assert (b.loss, b.margin, b.grad_norm, b.learning_rate) == (a.loss, a.margin, a.grad_norm, a.learning_rate)
    assert parts[4].elapsed > parts[3].elapsed
    assert not (job.folder / "checkpoint").exists()


def test_an_incomplete_checkpoint_is_passed_over(base: Path, tmp_path: Path) -> None:
    job = make_job(base, tmp_path / "run")
    run(job, lambda told: len(steps(told)) >= 2)
    (job.folder / "checkpoint" / "checkpoint-5").mkdir()
    _, rest = run(replace(job, resume=True))
    assert steps(rest)[0].step == 3


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_ends_the_run(base: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0] = math.nan
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainingError, match=r"loss became nan at step 1;.*smaller learning rate \(now 0\.002\)"):
        run(make_job(broken, tmp_path / "run"))


def test_no_memory_and_full_disk_are_told_plainly(base: Path, tmp_path: Path) -> None:
    def fail(error: BaseException) -> Callable[[Any], None]:
        def emit(event: Any) -> None:
            raise error

        return emit

    for error, words in (
        (MemoryError(), "Out of memory: try a batch of 2 instead of 4"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "Out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"), "disk is full"),
    ):
        with pytest.raises(TrainingError, match=words):
            train_dpo(make_job(base, tmp_path / "run"), fail(error), lambda: False)
    with pytest.raises(OSError, match="permission"):
        train_dpo(make_job(base, tmp_path / "run"), fail(PermissionError(errno.EACCES, "permission")), lambda: False)


def test_a_prompt_without_room_for_an_answer_is_left_out_and_named(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(base, tmp_path / "run", max_length=40)
    rows = (*job.rows[:2], replace(job.rows[2], prompt="why " * 60), *job.rows[3:])
    unseen = (replace(job.heldout[0], prompt="why " * 60), *job.heldout[1:])
    run(replace(job, rows=rows, heldout=unseen))
    for name in (r"Training row 3 \(p2\)", r"Held-out pair 1 \(h100\)"):
        assert re.search(rf"Left out: {name}: its prompt of \d+ tokens leaves no room", caplog.text)
    with pytest.raises(RecipeError, match=r"None of the \d+ training rows can be used: Training row 1"):
        run(replace(job, rows=tuple(replace(row, prompt="why " * 60) for row in rows)))


def test_answers_are_cut_at_max_length(base: Path, tmp_path: Path) -> None:
    _, tokenizer = load(base)
    job = make_job(base, tmp_path / "run")
    full = encode_rows(tokenizer, job.rows, "", 512)
    limit = max(len(answer) for pair in full for answer in pair) - 2
    for whole, cut in zip(full, encode_rows(tokenizer, job.rows, "", limit), strict=True):
        for a, b in zip(whole, cut, strict=True):
            assert b.prompt_ids == a.prompt_ids
            assert b.answer_ids == a.answer_ids[: limit - len(a.prompt_ids)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss_type": "magic"}, "loss_type is 'magic'"),
        ({"scheduler": "bouncy"}, "scheduler is 'bouncy'"),
        ({"epochs": 0.0}, "epochs is 0.0"),
        ({"beta": 0.0}, "beta is 0.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"loss_type": "exo_pair"}, "label_smoothing is 0.0"),
        ({"replay_weight": -0.1}, "replay_weight is -0.1"),
        ({"load_in_4bit": True}, "CUDA"),
        ({"lora": LoraSettings(target_modules="nowhere")}, "target_modules is 'nowhere'"),
    ],
)
def test_settings_that_cannot_train_are_named(base: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        run(make_job(base, tmp_path / "run", **change))
