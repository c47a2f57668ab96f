"""The Detox form: nothing gets lost between widgets, typed form and a past run; every knob says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from studio.domain.data import SHIPPED, PreferenceDataset
from studio.domain.detox import DetoxPlan, DetoxSettings
from studio.domain.settings import LoraSettings
from studio.domain.toxicity import ScorerInfo, ScorerSpec, TestPrompt
from studio.errors import InputError, RecipeError
from studio.services.detox.service import DetoxForm
from studio.services.recipes.presets import DETOX_PRESETS
from studio.ui.detox import form_values as detox_values
from studio.ui.detox.form import TERMS, DetoxWidgets
from studio.ui.detox.preview import EXAMPLES, prompts_html, scorers_html
from tests.helpers.detox_records import scorer_terms

HOSTILE = "<img src=x onerror=alert(1)>"


def filled(**changes: Any) -> DetoxForm:
    settings = DetoxSettings(algorithm="grpo", rewards=scorer_terms("embedded", "run:reward-1"), beta=0.2, steps=7)
    form = DetoxForm.from_preset(
        "embedded", "quick", dataset_id="live-action-en", prompt_sets=("prompts-en", "prompts-zh")
    )
    return replace(form, settings=settings, lora=LoraSettings(rank=3), judge="words", title="Mine", **changes)


class FakeServices:
    """What the lines beside the form ask: a plan, and who scores."""

    def __init__(self, plan: DetoxPlan | Exception, judge: str = "embedded") -> None:
        self.detox = self.scoring = self.datasets = self
        self._plan, self._judge = plan, judge

    def preview(self, form: DetoxForm) -> DetoxPlan:
        if isinstance(self._plan, Exception):
            raise self._plan
        return self._plan

    def get(self, dataset_id: str) -> PreferenceDataset:
        return PreferenceDataset(dataset_id, "", "sides", "en", (), (), (), "", SHIPPED)

    def judge_for(self, form: DetoxForm) -> str:
        return self._judge

    def spec(self, name: str) -> ScorerSpec:
        if name.startswith("run:"):
            raise InputError(f"There is no run {HOSTILE}.")
        return ScorerSpec(ScorerInfo(name, "embedded", f"Title of {name}", "abcdef0123456789", f"Rudeness {HOSTILE}"))


def test_a_form_comes_back_from_its_widgets_as_it_went_in() -> None:
    form = filled()
    values = detox_values.form_values(form)
    assert len(values) == len(DetoxWidgets.knob_names()) + 5 + 2 * TERMS + 4
    assert detox_values.form_from(*values) == form
    form.check()


@pytest.mark.parametrize("name", DETOX_PRESETS)
def test_a_preset_sets_reward_and_every_knob(name: str) -> None:
    preset = DETOX_PRESETS[name]
    values = detox_values.form_values(filled())
    terms, knobs = 2 * TERMS, len(DetoxWidgets.knob_names())
    box, *rest = detox_values.preset_values(name)
    assert len(rest) == terms + knobs
    values[5 : 5 + terms] = rest[:terms]
    values[-1 - knobs :] = [box.value, *rest[terms:]]
    form = detox_values.form_from(*values)
    assert form.preset == name
    assert form.lora == preset.lora
    assert form.settings == preset.settings


def test_every_knob_is_explained() -> None:
    declared = {**LoraSettings.declared(), **DetoxSettings.declared()}
    assert list(declared) == DetoxWidgets.knob_names()
    assert all(known.label and known.help for known in declared.values())


def test_an_empty_number_is_named_and_a_form_without_reward_is_refused() -> None:
    values = detox_values.form_values(filled())
    values[DetoxWidgets.knob_names().index("beta") - len(DetoxWidgets.knob_names())] = None
    with pytest.raises(RecipeError, match="beta is empty"):
        detox_values.form_from(*values)
    nothing = replace(filled(), settings=DetoxSettings(rewards=()))
    with pytest.raises(RecipeError, match="reward terms"):
        detox_values.form_from(*detox_values.form_values(nothing)).check()


def test_what_is_asked_is_counted_and_covered() -> None:
    prompts = tuple(TestPrompt(str(i), f"{HOSTILE} {i}", "en", provoking=i == 0) for i in range(6))
    html = prompts_html(FakeServices(DetoxPlan(prompts, prompts[:2])), filled())  # type: ignore[arg-type]
    assert "<b>6</b> prompts to train on, 1 of them made to provoke; <b>2</b> held out" in html
    assert html.count("<details>") == EXAMPLES
    assert "<img" not in html
    html = prompts_html(FakeServices(RecipeError(f"There are no prompts {HOSTILE}")), filled())  # type: ignore[arg-type]
    assert "There are no prompts" in html
    assert "<img" not in html


def test_who_rewards_is_told_in_the_scorers_own_words_and_nobody_is_called_nobody() -> None:
    html = scorers_html(FakeServices(DetoxPlan((), ()), judge=""), filled())  # type: ignore[arg-type]
    assert '<b>1 ×</b> Title of embedded <span class="mono quiet">abcdef012345</span>' in html
    assert "<b>0.5 ×</b> run:reward-1: There is no run" in html
    assert "proves little" in html
    assert "<img" not in html
