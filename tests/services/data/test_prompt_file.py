"""A file of one's own prompts: what is read from it, what is refused, and that evaluation, detox run and page get those prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from studio.config import Settings
from studio.domain.toxicity import TestPrompt
from studio.errors import InputError, NotFoundError, RecipeError
from studio.services import Services
from studio.services.data.prompts import MAX_FILE_MB, MAX_PROMPTS, prompts_from_file
from studio.services.detox.service import DetoxForm
from studio.ui.detox import form_values as detox_values
from studio.ui.detox.form import DetoxWidgets
from studio.ui.evaluations.form import FILE, LINES, EvaluationFormBox, brought, form_from
from studio.ui.parts.prompt_box import read_line
from tests.helpers.services import opened

WANTED = ["Is it, say, good?", "好嗎？"]


@pytest.fixture
def services(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)  # nothing trains here
    with opened(settings) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(["", *WANTED, "  "]), encoding="utf-8")
    return path


def test_a_file_of_prompts_in_each_format(tmp_path: Path, file: Path) -> None:
    (tmp_path / "a.csv").write_text('id,prompt\nx,"Is it, say, good?"\ny,好嗎？\n', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in WANTED), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps([{"id": n, "prompt": text} for n, text in enumerate(WANTED, 7)]))
    for name, ids in (("mine.txt", "12"), ("a.csv", "xy"), ("a.jsonl", "12"), ("a.json", "78")):
        assert prompts_from_file(tmp_path / name) == tuple(map(TestPrompt, ids, WANTED))
        assert read_line(str(tmp_path / name)) == f'<div class="quiet">2 prompts read from {name}.</div>'
    assert "one prompt a line" in read_line(None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "question\nWhy?\n", "prompt"),
        ("a.jsonl", '{"prompt": "Why?"}\n{"prompt": 3}\n', "row 2"),
        ("a.txt", "\n", "holds no prompts"),
        ("a.txt", "x" * 20_001, "prompt 1 has 20,001 characters"),
        ("a.txt", "Why?\n" * (MAX_PROMPTS + 1), "more than 2,000 prompts"),
        ("a.txt", "Why?\n" * (MAX_FILE_MB * 200_001), "5.0 MB; a file of prompts has at most 5. Split it."),
        ("a.pdf", "%PDF", "no known format"),
        ("a<i>.txt", "\n", "a&lt;i&gt;.txt"),
    ],
)
def test_a_file_that_is_no_file_of_prompts_says_why(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError):
        prompts_from_file(tmp_path / name)
    line = read_line(str(tmp_path / name))
    assert line.startswith('<div class="run-message">')
    assert told in line
    with pytest.raises(NotFoundError):
        prompts_from_file(tmp_path / "nowhere.txt")


def test_an_evaluation_asks_the_prompts_of_the_file(services: Services, file: Path) -> None:
    with gr.Blocks():
        form = EvaluationFormBox(services)
    offered = form.offer("embedded", None, None, FILE, None, "embedded")[form.prompts]
    assert offered.value == FILE
    assert [box.visible for box in brought(FILE)] == [False, True, True]
    assert [box.visible for box in brought(LINES)] == [True, False, False]
    assert form.values[-1] is form.file
    chosen = ("embedded", "__base__", ["run-1"], FILE, "typed", "embedded", 1, 0, 1.0, 64, "", 1.0, "")
    made = form_from(services, *chosen, str(file))
    assert (made.prompt_set, [prompt.text for prompt in made.prompts]) == ("mine.txt", WANTED)
    with pytest.raises(InputError, match="no file of prompts yet"):
        form_from(services, *chosen, None)


def test_a_detox_run_trains_on_the_prompts_of_the_file_and_can_be_repeated(services: Services, file: Path) -> None:
    more = [f"Say {word}!" for word in ("red", "tea", "rain", "sun", "lamp", "river")]
    file.write_text("\n".join(more))
    form = DetoxForm.from_preset("embedded", "quick", prompt_file="mine.txt", own_prompts=prompts_from_file(file))
    plan = services.detox.preview(form)
    assert sorted(prompt.text for prompt in (*plan.prompts, *plan.heldout)) == sorted(more)
    assert (len(plan.prompts), len(plan.heldout)) == (4, 2)
    run = services.detox.start(replace(form, judge=""))
    assert (run.recipe.dataset_title, run.recipe.settings.prompt_file) == ("mine.txt", "mine.txt")
    assert services.runs.plan(run.run_id) == plan

    beside = replace(form, judge="", dataset_id="live-action-en", prompt_sets=("prompts-en",))
    both = services.detox.start(beside)
    assert both.recipe.dataset_title.endswith(" + mine.txt")
    for run_id in (run.run_id, both.run_id):
        again = services.detox.again(run_id)
        assert sorted(prompt.text for prompt in again.own_prompts) == sorted(more)
        # through the page's widgets: the file lies in Gradio's own folder, and gives the same plan
        back = detox_values.form_from(*detox_values.form_values(again))
        assert back.own_prompts == again.own_prompts
        assert back.prompt_file == "mine.jsonl"
        found = services.detox.preview(back)
        assert {prompt.text for prompt in found.prompts} == {p.text for p in services.runs.plan(run_id).prompts}
    with pytest.raises(RecipeError, match="no prompts to train on"):
        services.detox.preview(replace(form, own_prompts=()))


def test_the_form_without_a_file_has_none(file: Path) -> None:
    form = DetoxForm.from_preset("embedded", "quick", dataset_id="live-action-en")
    values = dict(
        zip([*DetoxWidgets.own_names(), *DetoxWidgets.knob_names()], detox_values.form_values(form), strict=True)
    )
    assert values["prompt_file"] is None
    assert detox_values.form_from(*values.values()).own_prompts == ()
    made = detox_values.form_from(*{**values, "prompt_file": str(file)}.values())
    assert [prompt.text for prompt in made.own_prompts] == WANTED
    file.write_text("")
    with pytest.raises(InputError, match=r"mine\.txt holds no prompts"):
        detox_values.form_from(*{**values, "prompt_file": str(file)}.values())
