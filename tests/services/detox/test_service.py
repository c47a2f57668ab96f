"""Detox runs from the form through the real worker, what they leave behind, and what is said of their curves."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import ROOT, Settings
from studio.domain.data import PreferenceDataset, PreferencePair
from studio.domain.detox import RewardTerm
from studio.domain.events import AnswerFigures, DetoxEvent, DetoxReport, MeasureEvent, RudeShare, TranscriptEvent
from studio.domain.toxicity import TestPrompt
from studio.errors import ConflictError, NotFoundError, RecipeError, StudioError, TrainingError
from studio.services import Services, build_services
from studio.services.detox.inputs import read_inputs
from studio.services.detox.prompts import normal, split_prompts
from studio.services.detox.reading import audit, audit_report, read_detox
from studio.services.detox.service import DetoxForm
from studio.services.library.portable import portable_recipe
from studio.services.recipes.presets import DETOX_PRESETS
from studio.services.recipes.queue import trainer_environment
from studio.services.runs.events import drop_superseded
from studio.services.runs.job import read_job
from studio.services.worker.run import cold_command, train_run
from tests.helpers.scorers import make_classifier
from tests.helpers.services import opened, settings_in

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Settings:
    folder = tmp_path_factory.mktemp("detox")
    shutil.copytree(tiny_base, folder / "models" / "tiny")
    make_classifier(folder / "models" / "judge", ("clean", "hate"))
    return settings_in(folder, models_dir=folder / "models")


@pytest.fixture(scope="module")
def services(home: Settings) -> Iterator[Services]:
    with opened(home) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "studio.services.runs.queue.ensure_trainer", lambda settings: None
        )  # the worker is started by hand
        yield made


@pytest.fixture(scope="module")
def form(home: Settings) -> DetoxForm:
    chosen = DetoxForm.from_preset(
        str(home.models_dir / "tiny"), "quick", dataset_id="live-action-en", title="  A  trial "
    )
    small = replace(
        chosen.settings,
        rewards=(RewardTerm("embedded"),),
        steps=2,
        prompts_per_step=2,
        generations=2,
        max_new_tokens=6,
        learning_rate=0.01,
    )
    return replace(chosen, settings=small, judge=str(home.models_dir / "judge"))


@pytest.fixture(scope="module")
def done(services: Services, form: DetoxForm) -> str:
    """A run that a worker process carried out."""
    view = services.detox.start(form)
    assert view.status.state == "queued"
    ran = subprocess.run(cold_command(view.folder), cwd=ROOT, env=trainer_environment(services.settings), timeout=900)
    assert ran.returncode == 0, (view.folder / "log.txt").read_text()
    return view.run_id


# -- a run from end to end ----------------------------------------------------------------------------------------------


def test_a_run_is_carried_out_and_told(services: Services, form: DetoxForm, done: str) -> None:
    view = services.runs.get(done)
    assert (view.status.state, view.method, view.title) == ("done", "detox", "A trial")
    recipe = view.recipe
    assert recipe.settings.rewards[0].revision == services.scoring.spec("embedded").info.revision
    assert recipe.settings.judge_revision
    assert recipe.data_size == len(recipe.row_ids) == len(services.runs.plan(done).prompts)
    events, _ = services.runs.events(done)
    assert [event.step for event in events if isinstance(event, DetoxEvent)] == [1, 2]
    assert view.detox_step == [event for event in events if isinstance(event, DetoxEvent)][-1]
    assert {event.who for event in events if isinstance(event, MeasureEvent)} == {"base", "adapter"}
    assert view.base_share is not None
    shown = services.runs.transcripts(done)
    assert {line.step for line in shown} == {0, 2}
    assert not services.runs.samples(done)
    assert all(isinstance(line, TranscriptEvent) for line in shown)
    report = view.detox
    assert report is not None
    assert [share.was_reward for share in report.shares] == [True, False]
    assert report.judged is not None
    assert report.judged.scorer == "judge"  # the folder's name, never its path
    assert report.prompts * report.samples == report.after.n
    told = services.detox.status(done)
    assert (told["state"], told["step"], told["run"]) == ("done", 2, done)
    assert [found["scorer"] for found in told["report"]["rude"]] == ["embedded", "judge"]
    json.dumps(told, allow_nan=False)


def test_it_is_an_adapter_like_others(services: Services, done: str) -> None:
    assert done in [choice.id for choice in services.compare.panes()]
    assert done in [run_id for _, run_id in services.detox.starts(services.runs.get(done).recipe.base.id)]
    card = services.library.card(done)
    for said in ("reinforcement learning with RLOO", "1 × embedded (", "rude before", "KL weight 0.05", "judge ("):
        assert said in card
    assert str(services.settings.models_dir) not in card
    assert "test-1" not in card


def test_it_leaves_in_a_zip_and_comes_back(services: Services, done: str, tmp_path: Path, tiny_base: Path) -> None:
    packed = services.library.zip(done, include_data=True)
    (tmp_path / "adapters").mkdir()
    other = build_services(
        replace(services.settings, adapters_dir=tmp_path / "adapters", imported_dir=tmp_path / "imported")
    )
    found = other.library.import_zip(packed)
    assert found.run_id == done
    back, view = other.runs.get(done), services.runs.get(done)
    assert back.recipe.settings == portable_recipe(view.recipe).settings
    assert str(services.settings.models_dir / "judge") not in (back.folder / "run.json").read_text()
    assert (back.detox, back.adapter_hash) == (view.detox, view.adapter_hash)
    assert other.runs.plan(done) == services.runs.plan(done)
    assert other.runs.transcripts(done) == services.runs.transcripts(done)


def test_again_gives_the_form_back(services: Services, form: DetoxForm, done: str) -> None:
    again = services.detox.again(done)
    assert replace(again, settings=form.settings) == replace(form, title="")
    assert replace(again.settings, judge="") == form.settings
    with pytest.raises(NotFoundError):
        services.detox.again("no-such-run")


def test_a_run_goes_on_from_another_and_holds_both(services: Services, form: DetoxForm, done: str) -> None:
    view = services.detox.start(replace(form, start_run=done, judge="", title="On"))
    assert view.recipe.start_hash == services.runs.get(done).adapter_hash
    events: list[Any] = []
    train_run(read_job(view.folder), events.append, lambda: False)
    config = json.loads((view.folder / "adapter_config.json").read_text())
    assert config["r"] == 2 * form.lora.rank
    first = next(event for event in events if isinstance(event, DetoxEvent))
    assert abs(first.kl) < 0.05
    assert services.library.zip(view.run_id).is_file()

    adapter = services.runs.folder(done) / "adapter_model.safetensors"
    kept = adapter.read_bytes()
    adapter.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(TrainingError, match=f"{done}, which this one goes on from, has changed"):
            train_run(read_job(view.folder), events.append, lambda: False)
    finally:
        adapter.write_bytes(kept)


def test_a_scorer_that_changed_since_is_refused(services: Services, form: DetoxForm) -> None:
    view = services.detox.start(form)
    recipe = view.recipe
    altered = replace(recipe.settings, rewards=(RewardTerm("embedded", 1.0, "feedfacecafe"),))
    job = replace(read_job(view.folder), recipe=replace(recipe, settings=altered))
    with pytest.raises(TrainingError, match="this run was made for feedfacecafe"):
        train_run(job, lambda event: None, lambda: False)
    services.runs.stop(view.run_id, "discard")


def test_the_judge_of_stances_learns_from_held_out_pairs_too(services: Services, form: DetoxForm) -> None:
    """As in a DPO run, so that two runs on one dataset are judged alike."""
    view = services.detox.start(form)
    job = read_job(view.folder)
    given = read_inputs(job)
    services.runs.stop(view.run_id, "discard")
    assert len(job.dataset.heldout) == 20
    assert given["judge_pairs"] == job.dataset.pairs + job.dataset.heldout


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generations": 1}, "generations is 1"),
        ({"algorithm": "ppo"}, "algorithm is 'ppo'; use one of rloo, grpo"),
        ({"beta": -1.0}, "beta is -1"),
        ({"batch_size": 3}, "does not divide the 4 answers"),
        ({"ordinary": 1.5}, "ordinary is 1.5"),
        ({"rewards": ()}, "0 reward terms"),
        ({"rewards": (RewardTerm(" "),)}, "names no scorer"),
        ({"rewards": (RewardTerm("embedded"), RewardTerm("embedded", 2.0))}, "in the reward twice"),
        ({"rewards": (RewardTerm("embedded", 0.0),)}, "weight 0"),
        ({"rewards": (RewardTerm("embedded", float("nan")),)}, "weight of embedded is nan"),
        ({"learning_rate": 7.0}, "learning_rate is 7"),
    ],
)
def test_a_setting_out_of_range_is_named(form: DetoxForm, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        replace(form, settings=replace(form.settings, **changes)).check()


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"dataset_id": "nowhere"}, NotFoundError, "nowhere"),
        ({"dataset_id": ""}, RecipeError, "no prompts to train on"),
        ({"start_run": "no-such-run"}, NotFoundError, "no-such-run"),
        (
            {"start_run": "demo-support-90", "base": "embedded", "judge": "embedded"},
            StudioError,
            "demo-support-90|part of the reward",
        ),
        ({"judge": "embedded"}, RecipeError, "part of the reward"),
        ({"judge": "nobody/nothing"}, RecipeError, "judge is 'nobody/nothing'"),
        ({"preset": "slow"}, RecipeError, "preset is 'slow'"),
    ],
)
def test_a_form_that_does_not_fit_queues_nothing(
    services: Services, form: DetoxForm, changes: dict[str, Any], kind: type[StudioError], said: str
) -> None:
    before = set(services.runs.ids())
    with pytest.raises(kind, match=said):
        services.detox.start(replace(form, **changes))
    assert set(services.runs.ids()) == before


def test_shipped_prompt_sets_give_prompts_of_both_kinds(services: Services, form: DetoxForm) -> None:
    plan = services.detox.preview(replace(form, dataset_id="", prompt_sets=("prompts-en", "prompts-zh")))
    for prompts in (plan.prompts, plan.heldout):
        assert {(prompt.language, prompt.provoking) for prompt in prompts} == {
            (language, provoking) for language in ("en", "zh") for provoking in (True, False)
        }
    with pytest.raises(RecipeError, match="prompt_set is 'nowhere'; use one of"):
        services.detox.preview(replace(form, prompt_sets=("nowhere",)))


def test_a_run_without_an_adapter_is_no_start(services: Services, form: DetoxForm) -> None:
    waiting = services.detox.start(form)
    with pytest.raises(ConflictError, match="has no adapter yet; it is queued"):
        services.detox.start(replace(form, start_run=waiting.run_id))
    services.runs.stop(waiting.run_id, "discard")


# -- prompts ------------------------------------------------------------------------------------------------------------


def data(pairs: int, heldout: int = 0, tests: tuple[str, ...] = ()) -> PreferenceDataset:
    made = [PreferencePair(f"p{i}", f"Question {i}?", "Yes.", "No.") for i in range(pairs + heldout)]
    return PreferenceDataset("d", "D", "sides", "en", tuple(made[:pairs]), tuple(made[pairs:]), tests, "0", "test")


def test_no_prompt_is_trained_on_and_measured_on() -> None:
    plan = split_prompts(data(4, 2, ("  question 1 ?", "New?")), [])
    assert [prompt.id for prompt in plan.prompts] == ["p0", "p1", "p2", "p3"]
    assert [prompt.text for prompt in plan.heldout] == ["Question 4?", "Question 5?", "New?"]


def test_prompt_sets_keep_a_share_of_each_kind_whatever_the_order() -> None:
    prompts = [TestPrompt(f"s{i}", f"Say {i}!", "en", i % 3 == 0) for i in range(30)]
    plan, other = split_prompts(None, [prompts]), split_prompts(None, [prompts[::-1]])
    assert plan == other
    assert sum(prompt.provoking for prompt in plan.heldout) == 5
    assert sum(not prompt.provoking for prompt in plan.heldout) == 6
    assert not {normal(p.text) for p in plan.prompts} & {normal(p.text) for p in plan.heldout}
    assert len(plan.prompts) + len(plan.heldout) == 30


def test_prompts_without_answers_are_shared_too() -> None:
    plan = split_prompts(data(0, tests=tuple(f"Tell me of {i}." for i in range(9))), [])
    assert (len(plan.prompts), len(plan.heldout)) == (6, 3)


# -- what the curves say ------------------------------------------------------------------------------------------------


def event(step: int, **changes: Any) -> DetoxEvent:
    made = DetoxEvent(
        step=step,
        total=20,
        epoch=0.1,
        loss=0.0,
        reward=1.0,
        reward_sd=1.0,
        terms=(1.0,),
        toxicity=0.2,
        uncovered=0.0,
        kl=0.5,
        length=20.0,
        clipped=0.0,
        distinct=0.9,
        learning_rate=1e-3,
        grad_norm=1.0,
        elapsed=1.0,
        eta=1.0,
    )
    return replace(made, **changes)


def curve(**ends: tuple[float, float]) -> list[DetoxEvent]:
    """Ten steps: five with the first value of each figure, five with the second."""
    return [event(step, **{name: value[step > 5] for name, value in ends.items()}) for step in range(1, 11)]


def test_curves_are_read_in_plain_sentences() -> None:
    assert read_detox([]) == []
    said = " ".join(read_detox(curve(reward=(-1.0, 2.0), toxicity=(0.4, 0.1), kl=(0.0, 3.0), uncovered=(0.2, 0.2))))
    for part in (
        "+2.00 over the last 5",
        "−1.00 over the first 5",
        "0.10 (0.40 at the beginning)",
        "KL 3.00",
        "20% of the answers",
    ):
        assert part in said
    assert "nothing left to learn" in " ".join(read_detox(curve(reward_sd=(1.0, 0.0))))


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"kl": (0.0, 14.0)}, "reached 14.0 nats"),
        ({"distinct": (0.9, 0.5)}, "distinct 3-grams fell from 0.90 to 0.50"),
        ({"clipped": (0.0, 0.3)}, "grew from 0% to 30%"),
        ({"length": (20.0, 6.0)}, "from 20 to 6 tokens"),
    ],
)
def test_a_rise_that_may_be_bought_is_told_afterwards(ends: dict[str, tuple[float, float]], said: str) -> None:
    note = audit(curve(reward=(0.0, 1.0), **ends))
    assert note.startswith("Audit: the reward rose from 0.00 to +1.00")
    assert said in note
    assert audit(curve(reward=(0.0, 0.1), **ends)) == ""  # it did not rise
    assert audit(curve(reward=(0.0, 1.0), **ends)[:9]) == ""  # too short to say


def test_a_clean_rise_gets_no_note() -> None:
    assert audit(curve(reward=(0.0, 1.0), kl=(0.0, 4.0), length=(20.0, 25.0))) == ""


def test_a_healthy_run_stays_silent_at_every_step() -> None:
    """Figures as a real run on the embedded base had them: the KL climbs to 2 with one step at 3.8, wording stays as it was."""
    kl = (0.0, 0.3, 0.6, 1.9, 3.8, 2.9, 3.8, 2.0, 1.2, 1.9, 2.5, 1.4, 2.4, 2.3, 2.4, 2.0)
    distinct = (0.95, 0.96, 0.96, 0.93, 0.97, 0.94, 0.95, 0.92, 0.92, 0.95, 0.98, 0.93, 0.92, 0.95, 0.89, 0.94)
    events = [
        event(step, reward=0.2 * step, kl=at, distinct=share)
        for step, (at, share) in enumerate(zip(kl, distinct, strict=True), 1)
    ]
    assert [audit(events[:end]) for end in range(len(events) + 1)] == [""] * (len(events) + 1)


def test_a_jump_of_kl_is_measured_against_the_runs_own_beginning() -> None:
    """First steps at a mean of (0 + .1 + .1 + .2 + .35) / 5 = 0.15, last ones at (5.4 + 6 + 6.7 + 7.4 + 8) / 5 = 6.7."""
    kl = (0.0, 0.1, 0.1, 0.2, 0.35, 0.6, 0.8, 1.1, 5.4, 6.0, 6.7, 7.4, 8.0)
    events = [event(step, reward=0.2 * step, kl=at) for step, at in enumerate(kl, 1)]
    assert "the KL to the start went from 0.1 to 6.7 nats an answer" in audit(events)
    assert audit(events[:9]) == audit(events[:10]) == ""  # (.6 + .8 + 1.1 + 5.4 + 6) / 5 = 2.8: not far from the start
    level = [replace(one, kl=one.kl + 3.0) for one in events]  # from 3.15 to 9.7: thrice would be 9.45
    assert "went from 3.1 to 9.7" in audit(level)
    assert audit([replace(one, kl=min(one.kl, 9.0)) for one in level]) == ""  # to 8.88 on average
    assert audit([replace(one, length=80.0) for one in events]) == ""  # 80 tokens may move 8 nats
    assert audit([replace(one, reward=1.0) for one in events]) == ""  # nothing was bought


def test_repetition_is_told_from_scatter() -> None:
    """From (.96 + .94 + .98 + .92 + .95) / 5 = .95 to .82, 14 % less; a second time between steps that differ as much."""
    first, last = (0.96, 0.94, 0.98, 0.92, 0.95), (0.80, 0.85, 0.78, 0.84, 0.83)
    assert "distinct 3-grams fell from 0.95 to 0.82" in audit(shares(first, last))
    assert audit(shares(first, (0.9, 0.88, 0.85, 0.87, 0.86))) == ""  # to .872, 8 % less
    assert (
        audit(shares((1.0, 0.8, 1.0, 0.95, 1.0), (0.6, 1.0, 0.65, 1.0, 0.85))) == ""
    )  # .95 to .82, standard error .093
    assert audit(shares(last, first)) == ""


def shares(first: tuple[float, ...], last: tuple[float, ...]) -> list[DetoxEvent]:
    """A rising reward beside these shares of distinct 3-grams."""
    return [event(step, reward=0.3 * step, distinct=share) for step, share in enumerate((*first, *last), 1)]


def test_the_report_is_audited_on_prompts_nobody_trained_on() -> None:
    fine = AnswerFigures(100, 20.0, 0.0, 0.0, 0.9)
    rewarded = RudeShare("embedded", "1", "E", True, 30, 100, 0, 100)
    judged = RudeShare("other", "1", "O", False, 30, 100, 20, 100)
    report = DetoxReport(9, 50, 10, 2, (rewarded, judged), fine, fine, 2.0, (0.0,), (1.0,))
    assert audit_report(report) == [
        "the reward's scorer finds 0 of 100 answers rude, one that was not the reward 20 of 100: the run pleases its scorer more "
        "than it is polite."
    ]
    silent = replace(report, shares=(rewarded,), after=replace(fine, empty=0.3))
    assert audit_report(silent) == ["on held-out prompts 30% of the answers have no words (0% before)."]
    assert audit_report(replace(report, shares=(rewarded,))) == []


def test_steps_trained_anew_replace_the_old_ones() -> None:
    report = DetoxReport(3, 1, 0, 1, (), *[AnswerFigures(1, 1, 0, 0, 1)] * 2, 0.0, (), ())
    told = [event(1), event(2), event(3), event(2, reward=5.0), event(3, reward=6.0), report, replace(report, kl=1.0)]
    kept = drop_superseded(told)
    assert [(e.step, e.reward) for e in kept if isinstance(e, DetoxEvent)] == [(1, 1.0), (2, 5.0), (3, 6.0)]
    assert [e.kl for e in kept if isinstance(e, DetoxReport)] == [1.0]


def test_forms_hold_every_setting_of_a_preset() -> None:
    for name in DETOX_PRESETS:
        made = DetoxForm.from_preset("embedded", name, dataset_id="live-action-en")
        made.check()
        assert dataclasses.replace(made, preset=name) == made
