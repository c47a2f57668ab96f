"""The words that moved in a run of Align: its training pairs, its film-strip."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import gradio as gr
import pytest

from studio.config import Settings
from studio.domain.events import SampleEvent
from studio.errors import InputError, NotAllowedError
from studio.services import Services
from studio.services.files.records import LineWriter
from studio.services.words import explain, moved_pair
from studio.ui.align.words_box import FilmWords, PairWords
from studio.ui.training.watch import Watch
from tests.helpers.compare import add_run
from tests.helpers.services import opened


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as services:
        yield services


def test_both_answers_of_a_training_pair_before_and_after(services: Services) -> None:
    run_id = add_run(services.runs, "run-1")
    recipe = services.runs.get(run_id).recipe
    pair = moved_pair(services.compare, services.runs, run_id, 3)
    assert (pair.row.chosen, pair.row.rejected) == ("No 2.", "Yes 2."), "the row as it was trained on: flipped"
    for answer, words in ((pair.row.chosen, pair.chosen), (pair.row.rejected, pair.rejected)):
        assert words == explain(services.compare, services.runs, run_id, pair.row.prompt, answer)
        assert words.sum == pytest.approx(words.adapter - words.base)
    assert pair.margin == pytest.approx(recipe.settings.beta * (pair.chosen.sum - pair.rejected.sum))
    for number in (0, 5, 10**9):
        with pytest.raises(InputError, match=f"Pair is {number}; this run was trained on 4 pairs"):
            moved_pair(services.compare, services.runs, run_id, number)


def test_the_boxes_of_a_run_that_has_ended(services: Services) -> None:
    run_id = add_run(services.runs, "run-1")
    folder = services.runs.folder(run_id)
    samples = LineWriter(folder / "samples.jsonl")
    for step, answer in ((0, "Base."), (4, "Yes, <b>so</b>."), (8, "")):
        samples.write(SampleEvent(step=step, prompt="Other?", answer=answer))
    watch = Watch()
    watch.open(run_id)
    with gr.Blocks():
        pairs, film = PairWords(services), FilmWords(services)
    queued = services.runs.get(run_id)
    ended = dataclasses.replace(queued, status=dataclasses.replace(queued.status, state="done"))
    assert (pairs.opened(queued)[pairs.box].visible, pairs.opened(ended)[pairs.box].visible) == (False, True)
    assert pairs.opened(ended)[pairs.number].maximum == 4
    assert (film.opened(queued)[film.button].visible, film.opened(ended)[film.button].visible) == (False, True)
    html = str(pairs._show(watch, 1))
    assert "Pair 1 of 4:" in html
    assert html.count('class="moved"') == 2
    html = str(film._show(watch, 5))
    assert "Other?" in html
    assert "&lt;" in html
    assert "<b>so" not in html
    assert film._show(watch, 8) == "", "no answer, no words"


def test_rows_of_imported_data_are_the_operators(settings: Settings) -> None:
    with opened(dataclasses.replace(settings, admin_password="a password")) as services:
        add_run(services.runs, "run-1")
        watch = Watch()
        watch.open("run-1")
        with gr.Blocks():
            pairs = PairWords(services)
        with pytest.raises(NotAllowedError, match="only shown to the operator"):
            pairs._show(watch, 1)
