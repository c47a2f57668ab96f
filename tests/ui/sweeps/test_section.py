"""What the section makes of a list of values, and its chart."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest

from studio.config import Settings
from studio.domain.sweeps import BlendPoint, MeasuredBlend
from studio.errors import InputError
from studio.services import Services, build_services
from studio.services.sweeps.plan import SweepForm
from studio.ui.align.tab import build_align_tab
from studio.ui.sweeps.charts import sweep_figure
from studio.ui.sweeps.section import sweep_form
from tests.helpers.pages import section_app, shown_in
from tests.helpers.sweeps import align_form, end_run, no_trainer, share


@pytest.fixture
def studio(settings: Settings) -> Iterator[Services]:
    with no_trainer(settings):
        yield build_services(settings)


def test_lists_of_values_are_read() -> None:
    assert sweep_form(align_form(), "ratio", "0, .5，1,", (42,)).ratios == (0, 0.5, 1)
    assert sweep_form(align_form(), "loss", "sigmoid, ipo", (42,)).losses == ("sigmoid", "ipo")
    assert sweep_form(align_form(), "data_size", "5, 10", (42,)).data_sizes == (5, 10)
    assert sweep_form(align_form(), "beta", "0.1, 1", (42,)).betas == (0.1, 1)
    for axis, text in (("ratio", "0, nan"), ("ratio", "abc"), ("data_size", "5.5, 6"), ("shape", "1, 2")):
        with pytest.raises(InputError):
            sweep_form(align_form(), axis, text, (42,))


def test_the_chart_holds_diagonal_shares_seeds_base_and_blend(studio: Services) -> None:
    sweep_id = studio.sweeps.start(SweepForm(align_form(), ratios=(0, 1), seeds=(1, 2)))
    view = studio.sweeps.get(sweep_id)
    assert sweep_figure(view) is None
    for planned in view.sweep.runs:
        end_run(studio, planned.run, share(2 + round(16 * planned.ratio), 20))
    low, high = (run.run for run in view.sweep.runs[:2])
    points = tuple(BlendPoint(weight, share(10, 20)) for weight in (0.0, 0.5, 1.0))
    studio.sweeps.keep_blend(sweep_id, MeasuredBlend(high, low, points))
    figure = sweep_figure(studio.sweeps.get(sweep_id))
    assert figure is not None
    diagonal, trained, seeds, blend = figure.data
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 1], [0, 1])
    assert (list(trained.x), list(trained.y)) == ([0, 1], [0.1, 0.9])
    assert trained.error_y.array[0] == pytest.approx(share(4, 40).high - 0.1)
    assert len(seeds.x) == 4
    assert list(blend.x) == [0, 0.5, 1]
    assert len(figure.layout.shapes) == 2  # the base and its interval


def test_losses_are_drawn_as_given_beside_what_was_asked_for(studio: Services) -> None:
    sweep_id = studio.sweeps.start(SweepForm(align_form(), losses=("robust", "ipo"), betas=(0.1, 0.2)))
    for planned in studio.sweeps.get(sweep_id).sweep.runs:
        end_run(studio, planned.run, share(15, 20))
    figure = sweep_figure(studio.sweeps.get(sweep_id))
    assert figure is not None
    assert [(trace.name, list(trace.x)) for trace in figure.data] == [
        ("beta 0.1", ["robust", "ipo"]),
        ("beta 0.2", ["robust", "ipo"]),
    ]


def test_a_page_is_sent_what_it_does_not_show(studio: Services) -> None:
    sweep_id = studio.sweeps.start(SweepForm(align_form(), ratios=(0, 1)))
    app = section_app(studio, {"Align": build_align_tab})
    [tick] = [
        event
        for event in app.fns.values()
        if event.targets[0][1] == "tick" and any(block.elem_id == "sweep-head" for block in event.outputs)
    ]
    names = {block.elem_id: block for block in tick.outputs}
    head, table, state = names["sweep-head"], names["sweep-runs"], tick.inputs[0]
    first = tick.fn({}, sweep_id, None, None)
    seen = shown_in(first[head])
    assert tick.fn(first[state], sweep_id, None, seen) == {head: gr.skip()}
    again = tick.fn(first[state], sweep_id, None, "")
    assert (shown_in(again[head]), again[table]) == (seen, first[table])
