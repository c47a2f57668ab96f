"""A name that people gave comes out as they gave it, in every sentence and menu, whatever the language."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.config import Settings
from studio.domain.votes import Origin
from studio.errors import DatasetError, InputError
from studio.i18n import NAMES, OWN, Named, _, said, speaking
from studio.services.data.datasets import DatasetInfo
from studio.services.evaluations.reading import footing, headline
from studio.services.evaluations.statistics import compare
from studio.services.lineage.choices import choice_of, unfinished
from studio.services.lineage.start import starts
from studio.services.models.service import ModelService
from studio.services.rating.rooms import Room, room_title
from studio.services.recipes.form import with_pairs
from studio.services.scoring.scorers import ScorerCatalogue
from studio.services.votes import reading
from studio.ui.evaluations.charts import toxicity_figure
from studio.ui.page.languages import translate_outputs, translated_figure
from studio.ui.training.charts import training_figure
from studio.ui.training.form import dataset_choices
from studio.ui.training.run_view import header
from tests.helpers.ballots import BASE, Box
from tests.helpers.messages import found
from tests.helpers.reward import reward_job
from tests.helpers.run_views import view
from tests.helpers.runs import make_dataset
from tests.helpers.services import opened, settings_in
from tests.helpers.waiting import run_async
from tests.ui.evaluations.test_view import evaluation
from tests.ui.training.test_charts import curve

#: Words of the program, and what its sentences are taken apart by.
TITLES = (
    "Rants and praise",
    "Base model",
    "training",
    "Cats: the good ones",
    "3 votes",
    "yes",
    "A. B",
    "left · right",
)
PLAIN = "Zqx"
CHINESE = re.compile(r"[一-鿿]")
titled = pytest.mark.parametrize("title", TITLES)
in_chinese = pytest.mark.parametrize("code", ["zh-Hant", "zh-Hans"])


def without_answers(title: str) -> str:
    with pytest.raises(DatasetError) as refused:
        with_pairs(dataclasses.replace(make_dataset(0), title=title), "DPO")
    return str(refused.value)


def answered(title: str) -> list[str]:
    """What an evaluation by a scorer on a prompt set of that name found of a run of that name."""
    made = evaluation((0.8, 0.2), (0.6, 0.1), (0.7, 0.3), (0.9, 0.1), (0.8, 0.3), (0.8, 0.2))
    scorer = dataclasses.replace(made.spec.scorer, title=f"Reward run: {title}")
    made = dataclasses.replace(made, spec=dataclasses.replace(made.spec, scorer=scorer, prompt_set=title))
    return [*headline(made, compare(made.rows), {"run-a": title}), footing(made)]


def voted(title: str) -> list[str]:
    """What votes say of a run of that name against the base."""
    box = Box()
    run = Origin("adapter", choice_of(view(title=title, adapter_hash="0123456789ab")).label, adapter_hash="red")
    base = dataclasses.replace(BASE, label="Base model")
    for _vote in range(9):
        box.vote(box.pair(run, base), "1")
    (match,) = box.report().matches
    return [
        reading.headline(match),
        reading.read_match(match),
    ]


@functools.cache
def refused_room(title: str) -> str:
    with tempfile.TemporaryDirectory() as folder, opened(settings_in(Path(folder))) as services:
        services.rooms.make(title)
        with pytest.raises(InputError) as refused:
            services.rooms.make(title)
    return str(refused.value)


SENTENCES: dict[str, Callable[[str], str | list[str]]] = {
    "data": without_answers,
    "evaluation": answered,
    "votes": voted,
    "room": refused_room,
}


def told(sentences: str | list[str], code: str) -> list[str]:
    with speaking(code):
        return [said(text) for text in ([sentences] if isinstance(sentences, str) else sentences)]


@in_chinese
@titled
@pytest.mark.parametrize("where", SENTENCES)
def test_a_name_stays_and_what_is_said_of_it_is_translated(where: str, title: str, code: str) -> None:
    plain = told(SENTENCES[where](PLAIN), code)
    assert all(map(CHINESE.search, plain))
    assert told(SENTENCES[where](title), code) == [text.replace(PLAIN, title) for text in plain]


RUN = view(run_id="r1", title=PLAIN, has_adapter=True, adapter_hash="0123456789ab")


DATA = DatasetInfo("d", PLAIN, "sides", "en", 3, 1, 1, "imported")


def runs_called(title: str) -> Any:
    return SimpleNamespace(list=lambda: [dataclasses.replace(RUN, title=title)])


def datasets_called(title: str) -> Any:
    made = dataclasses.replace(DATA, title=title)
    return SimpleNamespace(datasets=SimpleNamespace(list=lambda: [made]))


def scorers_called(title: str) -> list[str]:
    reward = dataclasses.replace(RUN, title=title, recipe=reward_job(Path("base"), Path(tempfile.mkdtemp())).recipe)
    runs = SimpleNamespace(list=lambda: [reward])
    catalogue = ScorerCatalogue(Settings(), runs, ModelService(Settings()))  # type: ignore[arg-type]
    return [catalogue.choices()[-1][0], catalogue.reward_runs()[0][0]]


#: Menus of what people named, by what they list.
MENUS: dict[str, Callable[[str], list[str]]] = {
    "data": lambda title: [label for label, _ in dataset_choices(datasets_called(title))],
    "start": lambda title: [starts(runs_called(title), RUN.recipe.base.id)[1][0]],
    "pane": lambda title: [
        choice_of(dataclasses.replace(RUN, title=title)).label,
        *(one.label for one in unfinished([dataclasses.replace(RUN, title=title)])),
    ],
    "scorer": scorers_called,
    "rooms": lambda title: [room_title(Room("AB12", title))],
}


@in_chinese
@titled
@pytest.mark.parametrize("where", MENUS)
def test_a_menu_lists_names_as_they_are(where: str, title: str, code: str) -> None:
    with speaking(code):
        plain, shown = (sent([(label, "x") for label in MENUS[where](name)]) for name in (PLAIN, title))
    assert shown == [label.replace(PLAIN, title) for label in plain]


@functools.cache
def page() -> gr.Blocks:
    translate_outputs()
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None, None, gr.Dropdown())
    return blocks


def sent(choices: list[tuple[str, str]]) -> list[str]:
    """The labels that a page gets with an event's new choices."""
    blocks = page()
    (update,) = run_async(blocks.postprocess_data(blocks.fns[0], gr.Dropdown(choices=choices, value="x"), None))
    return [label for label, _value in update["choices"]]


@in_chinese
@titled
def test_a_figure_names_its_lines_as_runs_are_named(title: str, code: str) -> None:
    rows = evaluation((0.8, 0.2), (0.6, 0.1)).rows
    with speaking(code):
        scores, steps = (
            toxicity_figure(rows, {"run-a": title, "other": ""}),
            training_figure([curve("a", title), curve("b")]),
        )
        assert _("after: {name}", name=title) in lines_of(scores)
        assert title in lines_of(steps)
        assert said("margin") in lines_of(steps)


def lines_of(figure: Any) -> set[str]:
    return {line.get("name", "") for line in json.loads(translated_figure(figure.to_json()))["data"]}


@in_chinese
def test_what_the_program_says_beside_a_name_is_translated(code: str) -> None:
    with speaking(code):
        base, the_base, loss = said("Base model"), said("the base"), said("loss sigmoid")
        assert said("Base model is preferred to X · 0.5 · ab.").count(base)
        assert the_base in said(
            "X: toxicity is lower than with the base (mean 1 before, 0 after, difference 1; n = 2 on 3 prompts)."
        )
        assert loss in said("Nearest to that is loss sigmoid, and its interval lies apart from that of the next one.")
        assert said("“the longer answer wins”") in said(
            "Nothing was learned that holds: 1 lies below “the longer answer wins” (50%)."
        )
        assert said("X · uploaded · 0123456789ab") in said("X · uploaded · 0123456789ab is preferred to Base model.")
        assert said("pairs of two sides") in said(
            "a.json was read as pairs of two sides, and nothing says which answer is preferred; map it by hand (--map chosen=… "
            "--map rejected=…, or the menus on the page), or import it under Rate to have the pairs judged."
        )
        assert said("There is no scorer of kind x.") in said(
            "The scorer toy cannot be had any more: There is no scorer of kind x."
        )
        assert CHINESE.search(phase := said("unpacking the weights"))
        assert phase in said("Converting smollm2-135m: unpacking the weights")
        assert said("Stopped.") + said("X is empty.") == said("Stopped. X is empty.")
        assert said("There is no run x.") + said("Stopped.") == said("There is no run x. Stopped.")


@in_chinese
def test_a_title_that_the_program_gave_is_translated(code: str) -> None:
    with speaking(code):
        detox, votes = said("Detox: X"), said("Votes, 2026-11-30, 5 pairs")
        assert CHINESE.search(detox)
        assert CHINESE.search(votes)
        assert said(Named("Detox: X", "running")) == f"{detox} · {said('running')}"
        assert said(Named(votes, "5 pairs")) == f"{votes} · {said('5 pairs')}"
        assert votes in said(without_answers("Votes, 2026-11-30, 5 pairs"))


def test_the_lists_of_names_hold_what_messages_have() -> None:
    fields = {
        name for message, _, _ in found() if "%{" not in message for _, name, *_ in Formatter().parse(message) if name
    }
    known = {field.rstrip("0123456789") for field in fields}
    assert known >= NAMES | set(OWN)
    messages = {message for message, _, _ in found()}
    assert messages >= frozenset().union(*OWN.values()) - {"the base", "Base model"}


@in_chinese
@titled
def test_the_head_of_a_run_names_its_data_and_its_pane(title: str, code: str) -> None:
    run = dataclasses.replace(RUN, title=title, recipe=dataclasses.replace(RUN.recipe, dataset_title=title))
    with speaking(code):
        assert f"{title}，4 " in header(run)
