"""Settings are declared once; the check, the flags and the widgets come from the declaration."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import pytest

from studio.cli.common import add_training, changed
from studio.domain.detox import DetoxSettings
from studio.domain.settings import DpoSettings, LoraSettings, PairSettings, RewardSettings, TrainingSettings, setting
from studio.errors import RecipeError
from studio.services.recipes.presets import DETOX_PRESETS, PRESETS, REWARD_PRESETS
from studio.ui.training.form import SettingWidgets

KINDS = (LoraSettings, DpoSettings, RewardSettings, DetoxSettings)


@dataclass(frozen=True, kw_only=True)
class Mine(TrainingSettings):
    """A method with one setting of its own and another default for a shared one."""

    sharpness: int = setting(3, "Sharpness", "How sharp.", low=1, high=9)
    learning_rate: float = 0.5


def test_a_subclass_keeps_what_it_does_not_declare_anew() -> None:
    declared = Mine.declared()
    assert next(iter(declared)) == "sharpness"
    assert set(declared) == {"sharpness", *TrainingSettings.declared()}
    assert declared["learning_rate"] == TrainingSettings.declared()["learning_rate"]
    assert Mine().learning_rate == 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sharpness": 10}, "Sharpness: sharpness is 10; it must be between 1 and 9."),
        ({"learning_rate": float("nan")}, "Learning rate: learning_rate is nan; it must be between 1e-09 and 1."),
        ({"scheduler": "bouncy"}, "Schedule: scheduler is 'bouncy'; use one of linear, cosine, constant"),
        ({"max_length": 15}, "Max length: max_length is 15; it must be between 16 and 131072."),
    ],
)
def test_a_value_out_of_bounds_is_named_with_label_and_bounds(changes: dict[str, Any], words: str) -> None:
    Mine().check()
    with pytest.raises(RecipeError) as caught:
        replace(Mine(), **changes).check()
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("preset", [*PRESETS.values(), *REWARD_PRESETS.values(), *DETOX_PRESETS.values()])
def test_every_preset_is_within_bounds(preset: Any) -> None:
    preset.lora.check()
    preset.settings.check()


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_flag_and_a_widget_of_its_kind(kind: Any) -> None:
    parser = argparse.ArgumentParser()
    add_training(parser, "", kind)
    assert changed(kind(), parser.parse_args([])) == kind()
    helped = "".join(parser.format_help().split())
    with gr.Blocks():
        widgets = SettingWidgets("x", kind())
        widgets.draw_rest("All", [*kind.declared()])
    for name, known in kind.declared().items():
        widget = widgets.drawn[name]
        assert (widget.label, widget.info, widget.value) == (known.label, known.help, getattr(kind(), name))
        expected = {bool: gr.Checkbox, str: gr.Textbox}.get(known.kind, gr.Number)
        assert isinstance(widget, gr.Dropdown if known.choices else expected)
        assert "".join(known.help.split()) in helped


def test_flags_change_only_what_they_name() -> None:
    parser = argparse.ArgumentParser()
    add_training(parser, "", LoraSettings, DpoSettings)
    options = parser.parse_args(["--rank", "4", "--beta", "0.2", "--stance-prefix", "--no-load-in-4bit"])
    assert changed(LoraSettings(), options) == LoraSettings(rank=4)
    assert changed(DpoSettings(), options) == DpoSettings(beta=0.2, stance_prefix=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (DpoSettings(epochs=0.0), "epochs is 0.0"),
        (DpoSettings(loss_type="exo_pair"), "label_smoothing is 0.0; the loss exo_pair"),
        (DetoxSettings(batch_size=5), "does not divide the 32 answers of a step"),
    ],
)
def test_what_must_fit_together_is_checked(settings: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        settings.check()
    PairSettings(epochs=0.0, max_seconds=5.0).check()
