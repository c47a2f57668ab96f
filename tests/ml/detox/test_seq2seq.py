"""RLOO of encoder-decoder models: numbers by hand and by another way, a reward that rises, files that plain PEFT loads."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.events import DetoxEvent, DetoxReport, TranscriptEvent
from studio.domain.settings import LoraSettings
from studio.domain.toxicity import TestPrompt
from studio.errors import RecipeError, TrainingError
from studio.ml.detox.run import DetoxJob, train_detox
from studio.ml.detox.seq2seq_trainer import answer_mask, leave_one_out, rloo_loss
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.training.logprobs import answer_log_probs
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.seq2seq_logprobs import decoder_log_probs, padded
from studio.services import build_services
from studio.services.detox.service import DetoxForm
from studio.services.runs.job import read_job
from studio.services.worker.run import train_run
from tests.helpers.detox import RuleScorer, make_job
from tests.helpers.t5 import ASK, WORDS, make_adapter, make_t5, make_tokenizer

PROMPTS = tuple(TestPrompt(f"p{i}", f"{ASK} {one} {two}") for i, (one, two) in enumerate(itertools.pairwise(WORDS)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_t5(tmp_path_factory.mktemp("t5") / "t5", steps=120)


def good(text: str) -> float:
    """The share of the word *good* in percent, over ten."""
    words = text.split()
    return 10 * words.count("good") / len(words)


def job(base: Path, folder: Path, rule: Callable[[str], float | None] = good, **options: Any) -> DetoxJob:
    settings = {"prompts_per_step": 4, "generations": 4, "max_new_tokens": 4, "learning_rate": 1e-2, "beta": 0.05}
    lora = options.pop("lora", LoraSettings(rank=32, alpha=32, target_modules="q,v"))
    return make_job(base, folder, RuleScorer(rule), lora=lora, prompts=PROMPTS, **{**settings, **options})


def run(asked: DetoxJob, stop_after: int = 0) -> list[Any]:
    events: list[Any] = []

    def steps() -> int:
        return sum(isinstance(event, DetoxEvent) for event in events)

    train_detox(asked, events.append, lambda: bool(stop_after) and steps() >= stop_after)
    return events


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_leave_one_out_by_hand() -> None:
    import torch

    got = leave_one_out(torch.tensor([1.0, 2.0, 3.0, 10.0, 0.0, 2.0]), 3)
    # 1 - (2 + 3) / 2, 2 - (1 + 3) / 2, 3 - (1 + 2) / 2; 10 - (0 + 2) / 2, 0 - (10 + 2) / 2, 2 - (10 + 0) / 2
    assert got.tolist() == [-1.5, 0.0, 1.5, 9.0, -6.0, -3.0]


def test_loss_and_divergence_by_hand() -> None:
    import torch

    scores = torch.tensor([-2.0, -4.0, -1.0, -1.5], requires_grad=True)
    reference = torch.tensor([-3.0, -3.0, -1.0, -1.0])
    loss, ratio = rloo_loss(scores, reference, torch.tensor([2.0, 0.0, 5.0, 1.0]), 2, 0.5)
    assert ratio.tolist() == [1.0, -1.0, 0.0, -0.5]
    # rewards less beta times the log-ratio: 1.5, 0.5, 5, 1.25; less the sibling's: 1, -1, 3.75, -3.75
    assert loss.item() == 0.0
    loss.backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [-1.0, 1.0, -3.75, 3.75]


def test_an_answer_counts_up_to_its_first_end() -> None:
    import torch

    ids = torch.tensor([[5, 1, 0, 0], [5, 6, 7, 8], [1, 1, 5, 0], [5, 2, 1, 0]])
    assert answer_mask(ids, [1]).long().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]]
    assert answer_mask(ids, {1, 2}).long().tolist()[3] == [1, 1, 0, 0]


def test_log_probabilities_are_those_of_transformers_own_loss(base: Path) -> None:
    import torch

    model: Any = load_model(base, device="cpu", dtype="float32")
    tokenizer = load_tokenizer(base)
    prompts = [list(tokenizer(text)["input_ids"]) for text in (f"{ASK} red", f"{ASK} tea rain sun")]
    answers = [[4, 5, 1], [6, 1], [7, 8, 9, 1], [1]]  # two to each prompt
    wanted = []
    for place, answer in enumerate(answers):
        out = model(input_ids=torch.tensor([prompts[place // 2]]), labels=torch.tensor([answer]))
        wanted.append(-out.loss.item() * len(answer))
    with torch.no_grad():
        got = decoder_log_probs(model, *padded(prompts, 0), *padded(answers, 0))
        warm = decoder_log_probs(model, *padded(prompts, 0), *padded(answers, 0), 2.0)
        out = model(input_ids=torch.tensor([prompts[1]]), labels=torch.tensor([[1]]))
    assert got.tolist() == pytest.approx(wanted, abs=1e-4)
    assert warm[3].item() == pytest.approx((out.logits[0, 0] / 2).log_softmax(0)[1].item(), abs=1e-5)
    told = [EncodedAnswer(tuple(prompts[i // 2]), tuple(answer)) for i, answer in enumerate(answers)]
    assert answer_log_probs(model, told, 0, batch_tokens=10) == pytest.approx(wanted, abs=1e-4)


# -- runs -------------------------------------------------------------------------------------------------------------


def test_it_raises_a_reward_it_can_raise_and_plain_peft_loads_the_result(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    asked = job(base, tmp_path / "run", steps=20, sample_every=10, heldout=PROMPTS[:3])
    events = run(asked)
    steps = of(DetoxEvent, events)
    assert [event.step for event in steps] == list(range(1, 21))
    first, last = (sum(event.reward for event in part) / 3 for part in (steps[:3], steps[-3:]))
    assert last > first + 2
    assert steps[0].kl == pytest.approx(0, abs=1e-4)
    assert steps[-1].kl > 0.1
    assert all(abs(event.loss) < 1e-4 and event.grad_norm > 0 for event in steps)
    assert 1 <= steps[0].length <= 4
    assert 0 <= steps[0].clipped <= 1
    (report,) = of(DetoxReport, events)
    assert report.prompts == 3
    assert report.kl > 0
    assert report.rewards_after[0] > report.rewards_before[0] + 2
    assert not (tmp_path / "run" / "checkpoint").exists()
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert (config["task_type"], config["r"], config["target_modules"]) == ("SEQ_2_SEQ_LM", 32, ["q", "v"])
    tuned: Any = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    told = [event for event in of(TranscriptEvent, events) if event.step == 20]
    assert len(told) == 3
    for event in told:
        out = tuned.generate(**tokenizer(event.prompt, return_tensors="pt"), max_new_tokens=4, do_sample=False)
        assert event.answer == tokenizer.decode(out[0], skip_special_tokens=True).strip()


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(base: Path, tmp_path: Path) -> None:
    whole = of(DetoxEvent, run(job(base, tmp_path / "whole", steps=5)))
    part = of(DetoxEvent, run(job(base, tmp_path / "part", steps=5), stop_after=2))
    assert len(part) == 2
    assert (tmp_path / "part" / "adapter_model.safetensors").is_file()
    rest = of(DetoxEvent, run(job(base, tmp_path / "part", steps=5, resume=True)))
    assert [event.step for event in rest] == [3, 4, 5]
    for one, other in zip(whole, [*part, *rest], strict=True):
        assert (one.reward, one.kl, one.length) == pytest.approx((other.reward, other.kl, other.length), abs=1e-5)


def test_small_batches_change_nothing_but_the_memory(base: Path, tmp_path: Path) -> None:
    whole = of(DetoxEvent, run(job(base, tmp_path / "whole", steps=2)))
    parts = of(DetoxEvent, run(job(base, tmp_path / "parts", steps=2, batch_size=4)))
    for one, other in zip(whole, parts, strict=True):
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)
        assert other.reward == one.reward


def test_it_goes_on_from_an_adapter(base: Path, tmp_path: Path) -> None:
    start = make_adapter(tmp_path / "start", base, seed=3, std=0.1)
    events = run(job(base, tmp_path / "run", steps=2, start=start))
    assert of(DetoxEvent, events)[0].kl == pytest.approx(0, abs=1e-4)
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert (config["r"], config["task_type"]) == (36, "SEQ_2_SEQ_LM")


def test_dropout_outside_layers_is_off_while_it_learns(tmp_path: Path) -> None:
    from transformers import BartConfig, BartForConditionalGeneration

    base = tmp_path / "bart"
    make_tokenizer().save_pretrained(base)
    sizes = {"d_model": 16, "max_position_embeddings": 64, "vocab_size": 24, "init_std": 0.5}
    layers = {f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    widths = {f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")}
    noise = {"dropout": 0.5, "attention_dropout": 0.5, "activation_dropout": 0.5, "encoder_layerdrop": 0.5}
    ids = {
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 1,
        "forced_eos_token_id": None,
    }
    BartForConditionalGeneration(BartConfig(**sizes, **layers, **widths, **noise, **ids)).save_pretrained(base)
    lora = LoraSettings(rank=4, alpha=8, target_modules="q_proj,v_proj")
    (event,) = of(DetoxEvent, run(job(base, tmp_path / "run", lambda text: float(len(text)), lora=lora, steps=1)))
    assert event.kl == pytest.approx(0, abs=1e-4)
    assert event.grad_norm > 0


def test_a_time_limit_ends_it(base: Path, tmp_path: Path) -> None:
    events = of(DetoxEvent, run(job(base, tmp_path / "run", steps=1, max_seconds=0.5)))
    assert 0.5 <= events[-1].elapsed < 30
    assert len(events) >= 1


def test_what_cannot_be_done_is_said(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="algorithm is 'grpo'; an encoder-decoder model is trained by rloo here"):
        run(job(base, tmp_path / "grpo", algorithm="grpo"))
    long = replace(job(base, tmp_path / "long"), prompts=(TestPrompt("l", " ".join(WORDS * 2)),))
    with pytest.raises(RecipeError, match="the shortest has 25 tokens and the encoder is given 16 at most"):
        run(replace(long, recipe=job(base, tmp_path / "long", max_length=16).recipe))
    with pytest.raises(TrainingError, match="gave a reward of nan"):
        run(job(base, tmp_path / "nan", rule=lambda text: float("nan")))
    assert not (tmp_path / "nan" / "adapter_model.safetensors").exists()


def test_from_dialogues_to_a_detoxed_adapter_and_its_answers(
    settings: Settings, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)  # carried out here instead
    services = build_services(settings)
    rows = [
        {"id": str(n), "dialogue": f"User : {' '.join([*WORDS, WORDS[n]] * 5)}", "summary": "tea"} for n in range(10)
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = services.datasets.import_file(tmp_path / "talks.jsonl").dataset
    form = DetoxForm.from_preset(str(base), services.detox.preset_for(str(base)), dataset_id=data.id)
    assert (form.lora.rank, form.lora.target_modules) == (32, "q,v")
    with pytest.raises(RecipeError, match="an encoder-decoder model is trained by rloo here"):
        services.detox.start(replace(form, settings=replace(form.settings, algorithm="grpo")))
    small = replace(form.settings, steps=2, prompts_per_step=2, generations=2, batch_size=0, max_new_tokens=4)
    plan = services.detox.preview(form)
    assert {prompt.text for prompt in plan.prompts} == set(data.prompts)
    assert {prompt.text for prompt in plan.heldout} == set(data.test_prompts)
    run_id = services.detox.start(replace(form, settings=small)).run_id
    events: list[Any] = []
    train_run(read_job(services.runs.folder(run_id)), events.append, lambda: False)
    assert len(of(DetoxEvent, events)) == 2
    (report,) = of(DetoxReport, events)
    assert report.prompts == 2
    *_, table = services.compare.table(data.test_prompts, [BASE, run_id], Sampling(max_new_tokens=4))
    assert table.finished
    assert len(table.rows) == 2
    services.compare.close()
