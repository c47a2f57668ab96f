"""A base is downloaded only once everything else about a run is known to be right: the download can be long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import gradio as gr
import pytest

from studio.config import Settings
from studio.domain.detox import RewardTerm
from studio.errors import DatasetError, ModelLoadError, RecipeError
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.detox.service import DetoxForm
from studio.services.reward.service import RewardForm
from studio.ui.page.access import Visitor
from studio.ui.shell import build_app
from tests.helpers.services import opened
from tests.helpers.votes import cast_votes

#: Of the form of a hub id; whoever tries to download it learns that there is no network.
NOT_HERE = "somebody/not-on-this-machine"
TRIED = "not on this machine and could not be downloaded"


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


def test_dpo(services: Services) -> None:
    form = AlignForm.from_preset(NOT_HERE, "hub-small", dataset_id="live-action-en", support_ratio=0.9, data_size=20)
    with pytest.raises(RecipeError, match="support_ratio"):
        services.align.start(replace(form, support_ratio=1.5))
    with pytest.raises(RecipeError, match="learning_rate"):
        services.align.start(replace(form, settings=replace(form.settings, learning_rate=-1.0)))
    with pytest.raises(ModelLoadError, match=TRIED):
        services.align.start(form)
    assert services.runs.ids() == []


def test_reward(services: Services) -> None:
    form = RewardForm.from_preset(NOT_HERE, "hub-small", votes=True)
    with pytest.raises(DatasetError, match="strict majority"):
        services.reward.start(form)
    form = replace(form, votes=False, dataset_id="live-action-en", data_size=20)
    with pytest.raises(RecipeError, match="center_rewards"):
        services.reward.start(replace(form, settings=replace(form.settings, center_rewards=-1.0)))
    with pytest.raises(ModelLoadError, match=TRIED):
        services.reward.start(form)
    assert services.runs.ids() == []


def test_detox(services: Services) -> None:
    form = replace(DetoxForm.from_preset(NOT_HERE, "hub-small", prompt_sets=("prompts-en",)), judge="")
    form = replace(form, settings=replace(form.settings, rewards=(RewardTerm("embedded"),)))
    with pytest.raises(RecipeError, match="beta"):
        services.detox.start(replace(form, settings=replace(form.settings, beta=-1.0)))
    with pytest.raises(RecipeError, match="judge is 'embedded', which is part of the reward"):
        services.detox.start(replace(form, judge="embedded"))
    with pytest.raises(RecipeError, match="trained by rloo"):
        services.detox.start(
            replace(form, base="google/flan-t5-base", settings=replace(form.settings, algorithm="grpo"))
        )
    with pytest.raises(ModelLoadError, match=TRIED):
        services.detox.start(form)
    assert services.runs.ids() == []


def test_the_button_for_dpo_on_the_votes(services: Services) -> None:
    app = build_app(services)
    press = next(handler.fn for handler in app.fns.values() if handler.name == "start_dpo")
    assert press is not None
    with pytest.raises(gr.Error, match=r"share kept as voted is 1\.5"):
        press(Visitor(operator=True), 1.5, NOT_HERE)
    with pytest.raises(gr.Error, match="strict majority"):
        press(Visitor(operator=True), 0.9, NOT_HERE)
    cast_votes(services, 10)
    with pytest.raises(gr.Error, match=TRIED):
        press(Visitor(operator=True), 0.9, NOT_HERE)
    assert services.runs.ids() == []
