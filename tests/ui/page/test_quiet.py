"""What nobody sees costs nothing: how events report, which timers tick, and what a tick sends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from studio.config import ROOT, Settings
from studio.services import Services
from studio.ui.align.panel import AlignPanel
from studio.ui.page.quiet import gather, quieten, rest_hidden_timers, tabs_around, when_opened
from studio.ui.shell import build_app
from studio.ui.training.watch import Watch
from tests.helpers.runs import queue
from tests.helpers.services import opened, settings_in


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    with opened(settings_in(tmp_path_factory.mktemp("page"))) as made:
        yield build_app(made)


def test_events_without_progress_report_to_the_first_component_alone(app: gr.Blocks) -> None:
    """Else every message of every tick is told to each component that an event ever reported to."""
    first = app.get_config_file()["layout"]["children"][0]["id"]
    hidden = [event for event in app.get_config_file()["dependencies"] if event["show_progress"] == "hidden"]
    assert len(hidden) > 100
    assert {tuple(event["show_progress_on"] or ()) for event in hidden} == {(first,)}


def test_events_with_progress_show_it_where_they_did() -> None:
    with gr.Blocks() as app:
        keeper, box, button = gr.State(), gr.Textbox(), gr.Button()
        shown = button.click(lambda: "", None, box)
        placed = button.click(lambda: "", None, box, show_progress_on=button)
        quieten(app, keeper)
    assert app.fns[shown["id"]].show_progress_on is None
    assert app.fns[placed["id"]].show_progress_on == [button]


def test_opening_a_tab_looks_up_that_tab_alone(app: gr.Blocks) -> None:
    """One event hears every click on the tab bar and tells Compare and Toxicity; the others hear their own tab."""
    tabs = next(block for block in app.blocks.values() if isinstance(block, gr.Tabs) and block.elem_id == "studio-tabs")
    assert [event.name for event in app.fns.values() if (tabs._id, "select") in event.targets] == ["opened"]
    own = [
        event
        for event in app.fns.values()
        for target, name in event.targets
        if name == "select" and isinstance(app.blocks[target or 0], gr.Tab) and event.fn is not None and not event.js
    ]
    assert len(own) == len({event.targets[0] for event in own}), "one event draws all that a tab draws when it opens"
    assert len(own) >= 6


def test_timers_follow_the_innermost_tab_they_lie_in(app: gr.Blocks) -> None:
    timers = [block for block in app.blocks.values() if isinstance(block, gr.Timer) and tabs_around(block)]
    tabs = [block for block in app.blocks.values() if isinstance(block, gr.Tab)]
    for tab in tabs:
        (follow,) = [e for e in app.fns.values() if e.targets == [(tab._id, "select")] and e.fn is None]
        assert follow.outputs == timers
        assert json.dumps([tabs_around(timer)[0].elem_id for timer in timers]) in str(follow.js)
    assert len({tab.elem_id for tab in tabs if tab.elem_id}) == len({tabs_around(timer)[0] for timer in timers})


def test_what_is_drawn_at_one_time_comes_by_one_event() -> None:
    """What can be seen first, then the rest; an event that has another cause beside keeps it; one that fails keeps no other back."""
    drawn: list[str] = []

    def fails() -> str:
        raise gr.Error("no")

    def draws(name: str) -> Any:
        return lambda *given: drawn.append(name) or name

    with gr.Blocks() as app:
        top, button = gr.Textbox(), gr.Button()
        with gr.Tabs() as tabs:
            with gr.Tab("One"):
                one, two = gr.Textbox(), gr.Textbox()
            with gr.Tab("Two") as second:
                later, late = gr.Textbox(), gr.Textbox()
        app.load(fails, None, one)
        gr.on([app.load, button.click], draws("two"), top, two)
        app.load(draws("later"), None, later)
        for box in (later, late):
            when_opened(box, app, draws("opened"), None, box)
        gather(app, tabs)
    loads = {event.targets[0][1]: event for event in app.fns.values() if event.targets[0][0] in (app._id, None)}
    assert loads["load"].outputs == [one, two]
    assert loads["load"].fn("given") == {two: "two"}  # gr.Error is told as a warning
    assert loads["then"].trigger_after == loads["load"]._id
    assert loads["then"].fn() == {later: "later"}
    [pressed] = [event for event in app.fns.values() if event.targets == [(button._id, "click")]]
    assert (pressed.fn("given"), pressed.outputs) == ("two", [two])
    [opened] = [event for event in app.fns.values() if event.targets == [(second._id, "select")]]
    assert opened.fn() == {later: "opened", late: "opened"}


def test_a_section_without_a_tab_is_looked_up_as_the_page_loads() -> None:
    with gr.Blocks() as app:
        box = gr.Textbox()
        when_opened(box, app, lambda: "", None, box)
        rest_hidden_timers(app)
    assert [event.targets for event in app.fns.values()] == [[(app._id, "load")]]


@pytest.fixture
def panel(services: Services) -> AlignPanel:
    with gr.Blocks():
        return AlignPanel(services)


def test_a_tick_sends_nothing_of_a_finished_run(panel: AlignPanel, settings: Settings) -> None:
    shutil.copytree(ROOT / "adapters" / "demo-support-90", settings.adapters_dir / "demo-support-90")
    state = Watch()
    assert "demo-support-90" in panel.attach(state, "step")[panel.head]
    for _ in range(4):
        assert list(panel.tick(state, "step")) == [panel.head]
    assert _is_skip(panel.tick(state, "step")[panel.head])
    assert list(panel.attach(state, "step")) == [panel.head]  # the tab is opened again


def test_a_tick_sends_what_changed_alone(panel: AlignPanel, services: Services, settings: Settings) -> None:
    folder = queue(settings, "toy-1")
    state = Watch()
    assert panel.attach(state, "step")[panel.bar]
    assert _is_skip(panel.tick(state, "step")[panel.head])
    with (folder / "log.txt").open("a") as log:
        log.write("a line more\n")
    assert list(panel.tick(state, "step")) == [panel.log]
    assert _is_skip(panel.tick(state, "step")[panel.head])


def test_a_page_that_missed_what_it_was_sent_is_sent_it_again(panel: AlignPanel, settings: Settings) -> None:
    queue(settings, "toy-1")
    state = Watch()
    panel.attach(state, "step")
    for seen in ("", "other-run queued", "toy-1 running"):
        assert "toy-1" in panel.tick(state, "step", seen)[panel.head]
    for seen in (None, "toy-1 queued"):  # None: the head is not there yet
        assert _is_skip(panel.tick(state, "step", seen)[panel.head])


def test_the_end_of_the_film_is_told_once(panel: AlignPanel, settings: Settings) -> None:
    shutil.copytree(ROOT / "adapters" / "demo-support-90", settings.adapters_dir / "demo-support-90")
    state = Watch()
    first = panel.attach(state, "step")
    assert panel.step in first
    run = state.chosen(panel._services.runs)
    assert panel.step not in panel.further(state, run, everything=False)
    panel._turn_film(state, 0)
    turned = panel.further(state, run, everything=False)
    assert "value" not in turned[panel.step].constructor_args  # turned back by hand, it stays there


def test_what_another_tab_asked_for_is_shown_when_the_panel_is_first_come_to(
    panel: AlignPanel, settings: Settings
) -> None:
    for name in ("demo-support-10", "demo-support-90"):
        shutil.copytree(ROOT / "adapters" / name, settings.adapters_dir / name)
    for asked in ("demo-support-10", "demo-support-90"):
        opened, fresh = Watch(), Watch()
        panel.open_run(opened, asked, "step")  # whichever of the two events is answered first
        for drawn in (panel.attach(opened, "step", asked), panel.attach(fresh, "step", asked)):
            assert asked in drawn[panel.head]
            assert panel.chart.chart in drawn


def _is_skip(update: Any) -> bool:
    return update == gr.skip()
