"""Detox runs on a tiny random base: TRL's numbers, a reward that rises, stop and resume, a start adapter, what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.detox import DetoxSettings, RewardTerm
from studio.domain.events import DetoxEvent, DetoxReport, TranscriptEvent
from studio.domain.settings import LoraSettings
from studio.errors import RecipeError, TrainingError
from studio.ml.detox.reward import Term, score_answers
from studio.ml.detox.run import DetoxJob, train_detox
from studio.ml.detox.setup import prompt_order
from studio.ml.detox.trainer import distinct_share, trainer_class
from studio.ml.training.fit import TrainingResult
from studio.ml.training.start_adapter import StartAdapter
from studio.ml.training.trunk import Trunk
from tests.helpers.detox import RuleScorer, make_job, make_prompts, vowels
from tests.helpers.dpo import make_base

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def run(
    job: DetoxJob, should_stop: Callable[[list[Any]], bool] = lambda events: False
) -> tuple[TrainingResult, list[Any]]:
    events: list[Any] = []
    result = train_detox(job, events.append, lambda: should_stop(events))
    return result, events


def steps(events: list[Any]) -> list[DetoxEvent]:
    return [event for event in events if isinstance(event, DetoxEvent)]


def plain(base: Path, adapter: Path | None = None) -> Any:
    """The base, or base and adapter as plain PEFT loads them, in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, str(adapter)) if adapter else model).eval()


# --- the reward -------------------------------------------------------------------------------------------------------


def test_uncovered_answers_get_the_mean_of_their_group_and_empty_ones_the_worst() -> None:
    rule = RuleScorer(lambda text: {"a": 1.0, "b": 3.0, "c": -2.0}.get(text))
    scored = score_answers([Term(rule)], ["q"] * 6, ["a", "b", "?", "c", "", "?"], 3)
    # the first group's mean is (1 + 3) / 2; the second's is -2; the worst of the step is -2, its spread that of 1, 3, 2, -2, -2
    spread = math.sqrt(((1 - 0.4) ** 2 + (3 - 0.4) ** 2 + (2 - 0.4) ** 2 + 2 * (-2 - 0.4) ** 2) / 5)
    assert scored.rewards == pytest.approx((1, 3, 2, -2, -2 - spread, -2))
    assert scored.terms == pytest.approx(((1 + 3 - 2) / 3,))
    assert scored.uncovered == pytest.approx(2 / 6)
    assert scored.toxicity == pytest.approx(1 / 3)


def test_terms_are_weighted_and_toxicity_scorers_clipped() -> None:
    toxic, reward = RuleScorer(len, "length"), RuleScorer(lambda text: 10.0 * len(text), "learned", kind="reward")
    scored = score_answers([Term(toxic, 2.0, 3.0), Term(reward, 0.5, 3.0)], ["q"] * 2, ["aa", "aaaa"], 2)
    assert scored.rewards == pytest.approx((2 * 2 + 0.5 * 20, 2 * 3 + 0.5 * 40))
    assert scored.terms == pytest.approx((3, 30))


def test_distinct_share_counts_three_grams_of_all_answers_together() -> None:
    assert distinct_share([[1, 2, 3, 4], [1, 2, 3]]) == pytest.approx(2 / 3)
    assert distinct_share([[1, 1, 1, 1, 1]]) == pytest.approx(1 / 3)
    assert distinct_share([[1, 2]]) == 0.0


def test_each_step_has_its_share_of_ordinary_prompts_and_each_kind_comes_round() -> None:
    prompts = make_prompts(10, provoking=4)
    order = prompt_order(prompts, DetoxSettings(prompts_per_step=4, steps=6, ordinary=0.25))
    rows = [[prompts[i].provoking for i in order[start : start + 4]] for start in range(0, 24, 4)]
    assert all(row.count(True) == 3 for row in rows)
    provoking = [i for i in order if prompts[i].provoking]
    assert [sorted(provoking[i : i + 4]) for i in range(0, 16, 4)] == [[0, 1, 2, 3]] * 4
    alone = prompt_order(make_prompts(3), DetoxSettings(prompts_per_step=2, steps=3, ordinary=0.25))
    assert sorted(alone) == [0, 0, 1, 1, 2, 2]


# --- TRL's numbers ----------------------------------------------------------------------------------------------------


def answer_sums(model: Any, batch: dict[str, Any]) -> list[float]:
    """Summed log-probability of each answer, by the definition, one row at a time."""
    import torch

    sums = []
    for row in range(len(batch["completion_ids"])):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        with torch.no_grad():
            logits = model(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1].float()
        sums.append(float(logits.log_softmax(-1).gather(1, answer[:, None]).sum()))
    return sums


def test_advantages_and_kl_are_the_leave_one_out_ones(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    kind = trainer_class("rloo")
    original = kind._generate_and_score_completions

    def spy(self: Any, inputs: Any) -> Any:
        batch = original(self, inputs)
        metrics = {name: values[-1] for name, values in self._metrics["train"].items()}
        seen.append({**batch, **metrics, "rewards": list(self.answers.scored.rewards)})
        return batch

    monkeypatch.setattr(kind, "_generate_and_score_completions", spy)
    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    _, events = run(make_job(base, tmp_path, steps=2, beta=0.3, learning_rate=0.05, batch_size=4))
    reference, told = plain(base), steps(events)
    for batch, event in zip(seen, told, strict=True):
        kl = [
            mine - theirs
            for mine, theirs in zip(batch["old_logps"].tolist(), answer_sums(reference, batch), strict=True)
        ]
        gains = [reward - 0.3 * k for reward, k in zip(batch["rewards"], kl, strict=True)]
        groups = [gains[:4], gains[4:]]
        wanted = [gain - (sum(group) - gain) / 3 for group in groups for gain in group]
        assert batch["advantages"].tolist() == pytest.approx(wanted, abs=2e-4)
        assert event.kl == pytest.approx(sum(kl) / 8, abs=2e-4)
        assert event.kl == pytest.approx(batch["kl"] * batch["completions/mean_length"], abs=2e-4)
        assert event.reward == pytest.approx(batch["reward"], abs=1e-5)
    assert told[0].kl == pytest.approx(0, abs=1e-4)
    assert abs(told[1].kl) > 1e-3


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_log_probabilities_are_trls(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    from trl import GRPOTrainer, RLOOTrainer

    kind, compared = trainer_class(algorithm), []
    mine = kind._get_per_token_logps_and_entropies
    theirs = {"rloo": RLOOTrainer, "grpo": GRPOTrainer}[algorithm]._get_per_token_logps_and_entropies

    def both(self: Any, model: Any, ids: Any, mask: Any, keep: int, *args: Any, **kwargs: Any) -> Any:
        found = mine(self, model, ids, mask, keep, *args, **kwargs)
        real = mask[:, -keep:].bool()
        wanted = theirs(self, model, ids, mask, keep)[0]
        compared.append(float((found[0] - wanted)[real].abs().max().detach()))
        return found

    monkeypatch.setattr(kind, "_get_per_token_logps_and_entropies", both)
    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    _, events = run(make_job(base, tmp_path, algorithm=algorithm, steps=2, temperature=0.7, learning_rate=0.05))
    assert len(compared) == (6 if algorithm == "rloo" else 4)
    assert max(compared) < 1e-4
    assert all(math.isfinite(event.loss) and math.isfinite(event.kl) for event in steps(events))


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_a_reward_that_can_be_raised_is_raised(base: Path, tmp_path: Path, algorithm: str) -> None:
    rate = {"rloo": 0.02, "grpo": 0.05}[algorithm]
    job = make_job(base, tmp_path, algorithm=algorithm, steps=14, generations=8, learning_rate=rate, beta=0.0, seed=1)
    job = replace(job, heldout=make_prompts(4, "h", provoking=2))
    result, events = run(job)
    told = steps(events)
    first, last = (sum(event.reward for event in part) / 3 for part in (told[:3], told[-3:]))
    assert (result.steps, result.stopped) == (14, False)
    assert last > first + 0.7
    (report,) = [event for event in events if isinstance(event, DetoxReport)]
    assert report.rewards_after[0] > report.rewards_before[0] + 0.7
    assert report.before.n == report.after.n == report.shares[0].before_n == 128
    assert report.shares[0].after < report.shares[0].before
    assert report.shares[0].provoked_before_n == 64
    assert report.kl > 0
    assert report.judged is None
    moved = [value.abs().max() for name, value in plain(base, tmp_path).named_parameters() if "lora_B" in name]
    assert all(value > 0 for value in moved)
    shown = [event for event in events if isinstance(event, TranscriptEvent)]
    assert {event.step for event in shown} == {0, 2, 4, 6, 8, 10, 12, 14}
    assert len({event.prompt for event in shown}) == 4
    assert not (tmp_path / "checkpoint").exists()


def test_a_stopped_run_goes_on_as_if_it_had_not_been(base: Path, tmp_path: Path) -> None:
    settings = {"steps": 6, "learning_rate": 0.02}
    _, whole = run(make_job(base, tmp_path / "a", **settings))
    cut, first = run(make_job(base, tmp_path / "b", **settings), lambda events: len(steps(events)) >= 3)
    assert (cut.steps, cut.stopped) == (3, True)
    assert (tmp_path / "b" / "adapter_model.safetensors").is_file()
    done, second = run(replace(make_job(base, tmp_path / "b", **settings), resume=True))
    assert (done.steps, done.stopped) == (6, False)
    joined = [*steps(first), *steps(second)]
    assert [event.step for event in joined] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(joined, steps(whole), strict=True):
        assert one.reward == pytest.approx(other.reward, abs=1e-6)
        assert one.kl == pytest.approx(other.kl, abs=1e-5)


def test_max_seconds_ends_a_run(base: Path, tmp_path: Path) -> None:
    result, events = run(make_job(base, tmp_path, max_seconds=0.01, scheduler="linear"))
    assert result.steps == steps(events)[-1].total == 1


def test_equal_seeds_give_equal_runs_and_others_do_not(base: Path, tmp_path: Path) -> None:
    rewards = [
        [event.reward for event in steps(run(make_job(base, tmp_path / str(i), steps=2, seed=seed))[1])]
        for i, seed in enumerate((1, 1, 2))
    ]
    assert rewards[0] == rewards[1] != rewards[2]


# --- going on from an adapter -----------------------------------------------------------------------------------------


def test_a_start_adapter_is_the_reference_and_stays_in_what_is_saved(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("studio.ml.training.fit.training_dtype", lambda device: "float32")
    run(make_job(base, tmp_path / "start", steps=3, learning_rate=0.05))
    kept: list[Any] = []
    save = StartAdapter.save

    def keep(self: Any, model: Any, folder: Path, base_id: str) -> None:
        save(self, model, folder, base_id)
        with torch.no_grad():
            kept.append(model(torch.arange(5, 25)[None]).logits)
            with model.disable_adapter():
                kept.append(model(torch.arange(5, 25)[None]).logits)

    monkeypatch.setattr(StartAdapter, "save", keep)
    second = make_job(base, tmp_path / "on", steps=3, learning_rate=0.05, start=tmp_path / "start")
    second = replace(second, recipe=replace(second.recipe, lora=LoraSettings(3, 8, 0.0, "q_proj,v_proj")))
    _, events = run(second)
    assert steps(events)[0].kl == pytest.approx(0, abs=1e-4)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        base_logits = plain(base)(ids).logits
        start_logits, end_logits = (plain(base, tmp_path / name)(ids).logits for name in ("start", "on"))
    assert torch.allclose(end_logits, kept[0], atol=1e-4)
    assert torch.allclose(start_logits, kept[1], atol=1e-4)
    assert not torch.allclose(start_logits, base_logits, atol=1e-2)
    assert not torch.allclose(end_logits, start_logits, atol=1e-2)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def broken(text: str) -> float:
    raise ValueError("the wheels came off")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (broken, "the wheels came off"),
        (lambda text: math.nan, "gave a reward of nan"),
        (lambda text: -math.inf, "-inf"),
    ],
)
def test_a_scorer_that_fails_ends_the_run_and_leaves_no_adapter(
    base: Path, tmp_path: Path, rule: Callable[[str], float], said: str
) -> None:
    with pytest.raises(TrainingError, match=said):
        run(make_job(base, tmp_path, RuleScorer(rule)))
    assert not list(tmp_path.glob("adapter*"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algorithm": "ppo"}, "algorithm is 'ppo'"),
        ({"generations": 1}, "generations is 1"),
        ({"batch_size": 3}, "does not divide the 8 answers"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"rewards": (RewardTerm("rule", 0.0),)}, "weight 0"),
        ({"rewards": ()}, "0 reward terms"),
        ({"max_new_tokens": 8, "max_length": 16}, "leaves room for an answer"),
        ({"prompts": ()}, "no prompts"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_named(
    base: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        run(make_job(base, tmp_path, **settings))


def test_an_uncovered_answer_is_told_and_does_no_harm(base: Path, tmp_path: Path) -> None:
    rule = RuleScorer(lambda text: None if "e" in text else vowels(text))
    _, events = run(make_job(base, tmp_path, rule, steps=2))
    assert all(0 < event.uncovered <= 1 for event in steps(events))


def test_training_the_upper_layers_over_states_computed_once_a_step_equals_all_layers(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below, computed, seen = Trunk._below, list[int](), []

    def counted(trunk: Trunk, ids: Any, **options: Any) -> Any:
        computed.append(len(ids))
        return below(trunk, ids, **options)

    monkeypatch.setattr(Trunk, "_below", counted)
    for name in ("once a step", "all layers"):
        if name == "all layers":
            monkeypatch.setattr(Trunk, "exact", lambda *_: False)
        lora = LoraSettings(rank=4, layers="1/2", dropout=0.0)
        _, events = run(make_job(base, tmp_path / name, lora=lora, steps=3, measured_answers=0))
        seen.append([(event.loss, event.kl, event.reward) for event in steps(events)])
    assert len(computed) == 1 + 3, "once to compare, then once a step, shuffled or not; the second run has no trunk"
    assert len(seen[0]) == 3
    for kept, full in zip(*seen, strict=True):
        assert kept == pytest.approx(full, abs=2e-2)
