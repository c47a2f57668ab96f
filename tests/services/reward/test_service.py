"""Reward runs through the real worker, what may be claimed of them, scores."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import main
from studio.config import ROOT, Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.data import Message
from studio.domain.events import RewardReport
from studio.domain.runs import RewardRecipe
from studio.domain.toxicity import NOT_COVERED, TextScore
from studio.errors import ConflictError, DatasetError, InputError, NotFoundError, RecipeError
from studio.services import Services, build_services
from studio.services.compare.panes import PaneChat
from studio.services.files.records import write_record
from studio.services.recipes.queue import release_trainer, trainer_environment
from studio.services.reward.best_of import DRAWN, SIZES, BestOfForm, read_best_of
from studio.services.reward.data import heldout_rows
from studio.services.reward.reading import claim, read_reward
from studio.services.reward.service import RewardForm
from studio.services.runs.events import drop_superseded
from studio.services.runs.status import StopRequest, read_status
from studio.services.scoring.service import ranking, sigmoid
from studio.services.statistics.intervals import wilson
from studio.services.worker.run import recipe_rows
from studio.ui.reward import view as reward_view
from studio.ui.reward.best_of_box import best_of_figure
from tests.helpers.services import opened, settings_in
from tests.helpers.votes import cast_votes

pytestmark = pytest.mark.timeout(900)


# -- what may be claimed ------------------------------------------------------------------------------------------------


def report(hits: int, n: int, majority: float = 0.5, longer: float = 0.4, **more: Any) -> RewardReport:
    ends = wilson(hits, n)
    low, high = (ends.low, ends.high) if ends else (math.nan, math.nan)
    margins = tuple([1.0] * hits + [-0.5] * (n - hits))
    return RewardReport(
        **{
            "step": 9,
            "n": n,
            "hits": hits,
            "ties": 0,
            "low": low,
            "high": high,
            "majority": majority,
            "longer": longer,
            "margins": margins,
            "calibration": ((0.7, 0.9, n),),
            "dropped": 0,
            **more,
        }
    )


def test_nothing_is_claimed_while_the_interval_holds_the_better_baseline() -> None:
    assert claim(report(45, 50)).startswith("Better than both baselines")
    # 30 of 50: Wilson [46 %, 72 %] holds a coin toss
    assert claim(report(30, 50)).startswith("Not shown to have learned")
    assert "72%" in claim(report(30, 50))
    # 45 of 50 [79 %, 96 %], but the longer answer wins in 85 %
    refused = claim(report(45, 50, longer=0.85))
    assert refused.startswith("Not shown to have learned")
    assert "longer answer" in refused
    assert claim(report(10, 50)).startswith("Nothing was learned that holds")
    assert "nothing can be said" in claim(report(0, 0))


def test_data_whose_held_out_pairs_all_follow_one_side_says_so() -> None:
    perfect = report(20, 20, majority=1.0)
    assert not perfect.learned
    assert "no accuracy can be above it" in claim(perfect)
    assert "It does tell the sides apart" in claim(perfect)
    assert "Nor is it shown" in claim(report(11, 20, majority=1.0))


def test_the_result_escapes_names_counts_drops_and_draws_every_margin(services: Services, trained: str) -> None:
    view = services.runs.get(trained)
    hostile = replace(view, title="<img src=x onerror=alert(1)>", reward=report(15, 20, dropped=2, ties=1))
    shown = reward_view.header(hostile) + reward_view.result(hostile)
    assert "<img" not in shown
    assert "15 of 20 held-out pairs right (75%)" in shown
    assert "2 pairs could not be used" in shown
    assert "1 got equal rewards" in shown
    figure = reward_view.margin_figure(report(15, 20))
    assert sum(figure.data[0].y) == 20
    left = sum(n for n, at in zip(figure.data[0].y, figure.data[0].x, strict=True) if at < 0)
    assert left == 5
    assert list(reward_view.calibration_figure(report(15, 20)).data[1].y) == [0.9]


# -- through the real worker --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def services(home: Settings) -> Iterator[Services]:
    with opened(home) as made:
        yield made
    release_trainer(home)


def carry_out(services: Services, run_id: str) -> None:
    """The run to its end by the trainer, which stays warm for the next."""
    services.queue.wait(run_id, lambda event: None)


def short(form: RewardForm, **changes: Any) -> RewardForm:
    return replace(form, settings=dataclasses.replace(form.settings, epochs=1.0, probe_every=2, **changes))


@pytest.fixture(scope="module")
def trained(services: Services) -> str:
    """A run on votes, stopped after its first step, resumed, done."""
    patch = pytest.MonkeyPatch()
    patch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)  # it is to find the stop request
    try:
        with pytest.raises(DatasetError, match="strict majority"):
            services.reward.start(RewardForm.from_preset("embedded", "embedded", votes=True))
        cast_votes(services, 30)
        before = services.reward.count()
        assert (before.decided, before.new, before.last) == (30, 30, "")
        run_id = services.reward.start(short(RewardForm.from_preset("embedded", "embedded", votes=True)))
    finally:
        patch.undo()
    folder = services.runs.folder(run_id)
    write_record(folder / "stop.json", StopRequest("keep", 0.0))
    carry_out(services, run_id)
    stopped = read_status(folder)
    assert (stopped.state, stopped.step) == ("stopped", 1)
    assert services.runs.get(run_id).has_adapter
    services.runs.resume(run_id)
    carry_out(services, run_id)
    return run_id


def test_a_run_on_votes_records_ids_and_hash_and_reports_what_scoring_finds(services: Services, trained: str) -> None:
    view, kept = services.runs.get(trained), services.runs.dataset(trained)
    recipe = view.recipe
    assert view.status.state == "done"
    assert (recipe.method, recipe.dataset_id) == ("reward", "votes")
    assert isinstance(recipe, RewardRecipe)
    decided = {decision.pair.id for decision in services.rating.decisions() if decision.winner}
    assert set(recipe.row_ids) | {pair.id for pair in kept.heldout} == decided
    assert recipe.dataset_hash == kept.content_hash
    assert kept.source.startswith("votes:")

    events = drop_superseded(services.runs.events(trained)[0])
    assert [e.step for e in events if e.type == "step"] == list(range(1, view.status.total + 1))
    found = view.reward
    assert found is not None
    rows = heldout_rows(kept, recipe.rows_support)
    assert found.n == len(rows) == len(found.margins)
    answers = [answer for row in rows for answer in (row.chosen, row.rejected)]
    scored = services.scoring.score(f"run:{trained}", answers, [row.prompt for row in rows for _ in range(2)]).scores
    margins = [a.reward - b.reward for a, b in zip(scored[::2], scored[1::2], strict=True)]
    assert margins == pytest.approx(found.margins, abs=0.02)  # trained in bf16, scored in fp32
    ends = wilson(found.hits, found.n)
    assert ends is not None
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.hits == sum(m > 0 for m in found.margins)
    longer = [(len(r.chosen) > len(r.rejected)) + (len(r.chosen) == len(r.rejected)) / 2 for r in rows]
    assert found.longer == pytest.approx(sum(longer) / len(rows))

    result = services.reward.result(trained)
    assert result["accuracy"]["k"] == found.hits
    assert result["baselines"] == {"majority": 0.5, "longer": found.longer}
    assert result["learned"] is found.learned
    assert read_reward([e for e in events if e.type == "step"], [e for e in events if e.type == "probe"])


def test_new_votes_are_counted_until_a_run_has_them(services: Services, trained: str) -> None:
    now = services.reward.count()
    assert (now.decided, now.new, now.last) == (30, 0, services.runs.get(trained).title)
    again = services.reward.again()
    assert again.votes
    assert again.settings == services.runs.get(trained).recipe.settings


def test_the_learning_curve_is_made_of_runs_on_parts_of_the_same_pairs(services: Services, trained: str) -> None:
    assert services.reward.result(trained)["curve"] is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)
        ids = services.reward.start_curve(short(RewardForm.from_preset("embedded", "embedded", votes=True)))
    parts = [RewardRecipe.of(services.runs.get(run_id).recipe) for run_id in ids]
    assert [recipe.data_size for recipe in parts] == [5, 10, 20]
    assert set(parts[0].row_ids) < set(parts[1].row_ids) < set(parts[2].row_ids)
    assert len({recipe.dataset_hash for recipe in parts}) == 1
    assert parts[0].title.endswith("(25% of the pairs)")
    for run_id in ids[1:]:
        services.runs.stop(run_id, "discard")
    carry_out(services, ids[0])
    release_trainer(services.settings)  # what the next tests queue is to wait
    curve = services.reward.result(ids[0])["curve"]
    assert [(point["rows"], point["run"]) for point in curve["points"]] == [(5, ids[0]), (20, trained)]
    assert "held-out pairs" in curve["more_votes"]
    assert list(reward_view.learning_figure(services.reward.curve(ids[0])).data[0].x) == [5, 20]
    services.runs.delete(ids[0])
    with pytest.raises(RecipeError, match=r"a learning curve needs at least 4"):
        services.reward.start_curve(
            RewardForm.from_preset("embedded", "embedded", dataset_id="live-action-en", data_size=3)
        )


def test_the_best_of_n_has_a_higher_reward_for_each_more_and_is_judged_by_another(
    services: Services, trained: str
) -> None:
    form = BestOfForm(trained, "embedded", prompts=2, sampling=replace(DRAWN, max_new_tokens=12))
    *told, last = services.best_of.measure(form)
    assert [(now.done, now.total) for now in told] == [(0, 2), (1, 2)]
    assert last.curve is not None
    rewards = [point.reward.value for point in last.curve.points]
    assert [point.n for point in last.curve.points] == list(SIZES)
    assert rewards == sorted(rewards)
    assert rewards[0] < rewards[-1]
    assert all(0 <= point.toxicity.value <= 1 for point in last.curve.points)
    assert "nothing can be said of the change" in read_best_of(last.curve)
    assert list(best_of_figure(last.curve).data[0].y) == rewards
    with pytest.raises(InputError, match="prompts is 0"):
        next(services.best_of.measure(replace(form, prompts=0)))


def test_dpo_on_the_votes_keeps_them_as_data_and_turns_the_dial(
    services: Services, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)
    run_id = services.reward.dpo_on_votes(0.5)
    recipe = services.runs.get(run_id).recipe
    assert recipe.method == "dpo"
    assert sum(recipe.rows_support) == int(recipe.data_size * 0.5)
    assert services.datasets.get(recipe.dataset_id).kind == "labels"
    assert services.reward.count().new == 0
    services.runs.stop(run_id, "discard")
    with pytest.raises(RecipeError, match=r"share kept as voted is 1\.5"):
        services.reward.dpo_on_votes(1.5)


def test_chat_leaves_reward_models_alone(services: Services, trained: str) -> None:
    assert trained not in {choice.id for choice in services.compare.panes()}
    with pytest.raises(ConflictError, match="is a reward model"):
        list(services.compare.stream([PaneChat(trained, (Message("user", "Hi"),))], Sampling()))
    with pytest.raises(ConflictError, match="nothing to merge"):
        services.library.merge(trained)
    assert services.compare.default_panes() == (BASE,)


def test_the_card_tells_how_to_load_it_and_what_was_measured(services: Services, trained: str) -> None:
    card, found = services.library.card(trained), services.runs.get(trained).reward
    assert found is not None
    assert "AutoModelForSequenceClassification" in card
    assert f"{found.hits} of {found.n}" in card
    assert "the longer answer wins" in card
    assert str(services.settings.adapters_dir) not in card


def test_it_loads_in_plain_peft_and_moved(services: Services, trained: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(
        ROOT / "data" / "embedded", num_labels=1, dtype=torch.float32
    )
    model = PeftModel.from_pretrained(base, str(services.runs.folder(trained))).eval()
    assert any("lora_B" in name and weight.abs().sum() > 0 for name, weight in model.named_parameters())


def test_a_zip_comes_back_as_a_reward_run(services: Services, trained: str, settings: Settings) -> None:
    other = build_services(settings)
    done = other.library.import_zip(services.library.zip(trained, include_data=True))
    view = other.runs.get(done.run_id)
    assert (view.method, view.reward) == ("reward", services.runs.get(trained).reward)
    pair = (["Yes."], ["Should anime be turned into live action?"])
    again, before = other.scoring.score(f"run:{done.run_id}", *pair), services.scoring.score(f"run:{trained}", *pair)
    assert again.scores == before.scores
    other.scoring.close()


def test_a_reward_model_without_its_record_is_refused(services: Services, trained: str, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((services.runs.folder(trained) / name).read_bytes())
    with pytest.raises(InputError, match=r"imported with the run\.json"):
        services.library.import_folder(folder)


# -- scores -------------------------------------------------------------------------------------------------------------


def test_two_answers_give_a_margin_and_a_probability_that_turn_round_with_them(
    services: Services, trained: str
) -> None:
    one = services.scoring.compare(f"run:{trained}", "Live action?", "Yes, please.", "No.")
    two = services.scoring.compare(f"run:{trained}", "Live action?", "No.", "Yes, please.")
    assert one.margin == pytest.approx(one.first.reward - one.second.reward)
    assert one.probability == pytest.approx(1 / (1 + math.exp(-one.margin)))
    assert two.probability == pytest.approx(1 - one.probability, abs=1e-4)
    assert (sigmoid(0), sigmoid(-1000), sigmoid(1000)) == (0.5, 0.0, 1.0)
    scores = [TextScore(None, reward, (), "") for reward in (0.5, 2.0, -1.0, 2.0)]
    assert ranking([*scores, NOT_COVERED]) == [1, 3, 0, 2, 4]


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("  ", "Yes.", "prompt of text 1 is empty"),
        ("Live action?", " ", "empty"),
        ("x" * 2_000_001, "Yes.", "can be scored at once"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    services: Services, trained: str, prompt: str, answer: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        services.scoring.score_checked(f"run:{trained}", [answer], [prompt])


def test_only_reward_runs_score(services: Services) -> None:
    with pytest.raises(NotFoundError):
        services.scoring.score("run:no-such-run", ["b"], ["a"])


def test_the_command_line_scores_and_complains_in_one_line(
    home: Settings,
    services: Services,
    trained: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in trainer_environment(home).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("STUDIO_DATABASE_URL", home.database_url)
    asked = ["reward-score", "--run", trained, "--prompt", "Live action?", "--response", "Yes, please.", "--json"]
    assert main(asked) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main([*asked, "--response2", "No."]) == 0
    both = json.loads(capsys.readouterr().out)
    verdict = services.scoring.compare(f"run:{trained}", "Live action?", "Yes, please.", "No.")
    assert both["margin"] == pytest.approx(verdict.margin, abs=1e-4)
    assert both["probability"] == pytest.approx(verdict.probability, abs=1e-4)
    assert alone["reward"] == pytest.approx(both["reward"], abs=1e-4)
    for command in (
        ["reward", "--data", "nowhere"],
        ["reward", "--data", "a", "--data", "b"],
        ["reward-score", "--run", "x!", "--prompt", "a", "--response", "b"],
    ):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_worker_rebuilds_the_rows(services: Services, trained: str) -> None:
    rows = recipe_rows(services.runs.get(trained).recipe, services.runs.dataset(trained))
    assert [row.pair_id for row in rows] == list(services.runs.get(trained).recipe.row_ids)
    assert not any(row.flipped for row in rows)
