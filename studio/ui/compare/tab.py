"""The Compare tab: the same question to the base and to adapters of it, answered side by side at the same time.

The conversation lives in the visitor's browser (:mod:`studio.ui.compare.talk`); the server remembers of a page only what is needed
to stop an answer in progress. Answers come from the one engine behind :class:`studio.services.compare.service.CompareService`.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from studio.domain.chat import BASE, Blend, PaneUpdate, is_base, named_base
from studio.errors import NotFoundError
from studio.i18n import _
from studio.services import Services
from studio.services.compare.panes import behind
from studio.services.lineage.choices import PaneChoice
from studio.services.runs.store import RunView
from studio.services.strength import check_strength, check_weight
from studio.ui.compare import talk as talks
from studio.ui.compare.api import add_api
from studio.ui.compare.base_box import build_base_box
from studio.ui.compare.own_pair import bind_own_pair, build_own_pair
from studio.ui.compare.panes import view as show
from studio.ui.compare.panes.cast import Cast, cast_of, runs_of
from studio.ui.compare.panes.diff import diff_html
from studio.ui.compare.panes.draw_many import bind_draw_many
from studio.ui.compare.panes.moved_words import bind_moved_words, offer_words
from studio.ui.compare.panes.runs import bind_saving, first_step, identities, steps_to_choose
from studio.ui.compare.panes.scores import build_pane_scores
from studio.ui.compare.panes.thumbs import bind_thumbs, can_be_rated
from studio.ui.compare.panes.widgets import (
    EXAMPLES,
    blending,
    build_ask_box,
    build_pane,
    dials,
    frame,
    locked,
    pane_choices,
)
from studio.ui.compare.prompt_table import build_prompt_table
from studio.ui.compare.rate_these import bind_rate_these, build_rate_these
from studio.ui.compare.talk import MAX_PANES, Asked, Pane, Talk
from studio.ui.page.access import may_load
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL
from studio.ui.page.live import Live
from studio.ui.page.shared import PRIVATE, QUIET, Shared

#: Seconds between two redraws while answers stream, and between two saves of the conversation so far.
REDRAW_S, SAVE_S = 0.08, 2.0
#: Opens the stage with the adapter of the first pane that has one.
_STAGE = """(count, ...panes) => {
    const run = panes.slice(0, count).find((pane) => pane && pane !== "%s" && !/^base:|@/.test(pane));
    const theme = new URLSearchParams(window.location.search).get("__theme");
    const query = new URLSearchParams({...(run && {run}), ...(theme && {__theme: theme})});
    window.open(`stage?${query}`, "_blank", "noopener");
}"""
_FOCUS = "() => document.querySelector('#prompt textarea').focus()"


def build_compare_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and bind its events."""
    services.compare.voices.may_load = functools.partial(may_load, services)
    memory = shared.chats
    live = gr.State(Live())
    empty = gr.HTML(show.empty(), visible=False, elem_id="compare-empty")
    with gr.Row(elem_id="compare-bar"):
        count = gr.Radio([1, 2, 3, 4], value=2, label="Panes", min_width=240, elem_id="pane-count")
        diff = gr.Checkbox(
            False,
            label="Mark differences",
            info="Against the first pane, by word (Chinese by character).",
            min_width=260,
            elem_id="diff-switch",
        )
        gr.HTML(show.about_strength(), elem_id="about-strength")
        stage = gr.Button("Stage", size="sm", scale=0, min_width=90, elem_id="to-stage")
    with gr.Row(equal_height=False, elem_id="panes"):
        widgets = [build_pane(index) for index in range(MAX_PANES)]
    with gr.Row():
        rate, rate_room = build_rate_these()
        own = build_own_pair()
    form = build_ask_box()
    base = build_base_box(services, shared, app)
    settings = [diff, *form.settings()]
    everything = [memory, empty, count, *settings, *(w for pane in widgets for w in pane.all())]
    per_pane = [w for widget in widgets for w in (widget.choice, widget.strength, widget.second, widget.weight)]
    controls = [form.send, form.stop, form.retry, form.clear, rate, count, diff, *per_pane]

    # -- drawing ------------------------------------------------------------------------------------------------------

    def draw(talk: Talk, model: str, keep: bool = True) -> dict[Any, Any]:
        """All panes as ``talk`` has them; ``keep`` has the browser remember it."""
        offered, cast = on_offer(), cast_of(services, talk, model)
        updates: dict[Any, Any] = {empty: nothing_trained(offered), count: len(talk.panes)}
        if keep:
            updates[memory] = talks.store(talk)
        for index, widget in enumerate(widgets):
            pane = talk.panes[index] if index < len(talk.panes) else None
            updates[widget.column] = gr.Column(visible=pane is not None)
            updates[widget.chat] = show.bubbles(pane.messages) if pane else []
            if pane is not None:
                updates[widget.choice] = gr.Dropdown(choices=pane_choices(offered, pane.choice), value=pane.choice)
                updates[widget.strength] = gr.Slider(value=pane.strength, visible=not is_base(pane.choice))
                updates[widget.own] = pane.system_prompt
                updates |= blending(widget, pane, offered)
                updates[widget.step] = steps_to_choose(pane, cast.runs[pane.choice])
                updates[widget.stats] = show.open_question() if pane.messages and not pane.answer else show.stats(None)
        return updates | who(talk, cast) | marks(talk, cast.runs) | offer_words(widgets, talk)

    def on_offer() -> list[PaneChoice]:
        """What a pane can show: also runs that have steps to ask and no end yet, steering vectors, and bases."""
        base, *runs = services.compare.panes()
        return [base, *runs, *services.compare.unfinished(), *services.compare.bases()]

    def nothing_trained(offered: Sequence[PaneChoice]) -> Any:
        return gr.HTML(visible=all(is_base(choice.id) for choice in offered))

    def who(talk: Talk, cast: Cast) -> dict[Any, Any]:
        return identities(services, widgets, talk, cast)

    def marks(talk: Talk, runs: Mapping[str, RunView | None]) -> dict[Any, Any]:
        first, updates = talk.panes[0], {}
        title = first_run.title if (first_run := runs[first.choice]) else named_base(first.choice) or first.choice
        title = _("base") if first.choice == BASE else title
        pane_1 = _("pane 1 ({title})", title=title)
        for index, pane in enumerate(talk.panes):
            text = diff_html(first.answer, pane.answer, pane_1) if talk.diff and index else ""
            updates[widgets[index].diff] = gr.HTML(text, visible=bool(text))
        return updates

    def lock(busy: bool, dialled: int | None = None) -> dict[Any, Any]:
        return locked(form, widgets, busy, dialled) | {
            rate: gr.Button(interactive=not busy),
            count: gr.Radio(interactive=not busy),
            diff: gr.Checkbox(interactive=not busy),
        }

    # -- what a visitor does --------------------------------------------------------------------------------------------

    def talk_of(stored: Any, *values: Any) -> Talk:
        """The talk in the browser, asked as the page's settings and the panes' own system prompts say now."""
        talk = talks.restore(stored) or _opening(services)
        if not values:
            return talk
        talk = replace(talk, **talks.asking(*values[: len(settings)]))
        return talks.with_own(talk, values[len(settings) :])

    def open_page(stored: Any, model: str) -> dict[Any, Any]:
        talk = talk_of(stored)
        if not any(pane.messages for pane in talk.panes):
            talk = replace(_opening(services), diff=talk.diff)
        # where there was nothing, nothing is kept yet, and nothing is lost should the browser have been slow to read it
        return draw(talk, model, keep=stored is not None) | asked_as(talk)

    def asked_as(talk: Talk) -> dict[Any, Any]:
        """The widgets that say how the panes are asked."""
        how = (talk.diff, talk.system_prompt, *talks.sampling_numbers(talk.sampling))
        return dict(zip(settings, how, strict=True))

    def open_run(run_id: str | None, stored: Any, model: str, *values: Any) -> dict[Any, Any]:
        """Another tab asks for a run beside the base."""
        if run_id is None:
            return {memory: gr.skip()}
        recipe, talk = services.runs.get(run_id).recipe, talk_of(stored, *values)
        panes: tuple[Pane, ...] = (Pane(BASE), Pane(run_id))
        if tuple(pane.choice for pane in talk.panes) == (BASE, run_id):
            panes = talk.panes
        sampling = replace(recipe.sampling, seed=talk.sampling.seed)
        talk = replace(talk, panes=panes, system_prompt=recipe.system_prompt, sampling=sampling)
        # emptied, so that asking for the same run once more is a change again
        return draw(talk, model) | asked_as(talk) | {shared.compare_run: None}

    def refresh(stored: Any, model: str, *values: Any) -> dict[Any, Any]:
        """A tab was opened: runs may have come or gone. What a visitor chose stays; who chose nothing gets the newest."""
        talk, offered = talk_of(stored, *values), on_offer()
        if any(choice.run_id for choice in offered) and (
            stored is None or all(pane == Pane(BASE) for pane in talk.panes)
        ):
            talk = replace(_opening(services), diff=talk.diff)
            # while nothing is chosen nothing is kept, and the next visit looks for the newest again
            return draw(talk, model, keep=stored is not None) | asked_as(talk)
        updates: dict[Any, Any] = {}
        for widget, pane in zip(widgets, talk.panes, strict=False):
            updates[widget.choice] = gr.Dropdown(choices=pane_choices(offered, pane.choice))
            updates |= blending(widget, pane, offered)
        updates[empty] = nothing_trained(offered)
        return updates | who(talk, cast_of(services, talk, model))

    def respond(page: Live, talk: Talk, model: str, dialled: int | None = None) -> Iterator[dict[Any, Any]]:
        """Answer the open questions of all panes together, or of pane ``dialled`` alone."""
        panes = range(len(talk.panes)) if dialled is None else [dialled]
        with page.working(() if dialled is None else dials(dialled, talk.panes[dialled])) as stop:
            try:
                yield from stream(stop, talk, model, panes, dialled)
            except Exception:
                yield lock(False, dialled) | {widgets[i].stats: show.open_question() for i in panes}
                raise

    def stream(
        stop: threading.Event, talk: Talk, model: str, panes: Sequence[int], dialled: int | None
    ) -> Iterator[dict[Any, Any]]:
        cast = cast_of(services, talk, model)
        troubles = {i: cast.trouble_of(talk.panes[i]) for i in panes}
        rows = [i for i in panes if not troubles[i]]
        waiting = {i: PaneUpdate(note=f"Not asked. {t}" if (t := troubles[i]) else "") for i in panes}
        drawn = (
            draw(talk, model)
            if dialled is None
            else {memory: talks.store(talk)} | who(talk, cast) | offer_words(widgets, talk, panes)
        )
        yield (
            drawn
            | lock(True, dialled)
            | {widgets[i].chat: show.bubbles(talk.panes[i].messages) for i in panes}
            | {widgets[i].stats: show.stats(update) for i, update in waiting.items()}
            | {form.seed: talk.sampling.seed}
            | ({form.prompt: ""} if dialled is None else {})
        )
        if not rows:
            raise NotFoundError("None of these panes can answer; choose others.")
        chats = [
            talks.chat(talk, i, behind(talks.system_prompt_of(talk, i), talk.panes[i].messages), cast.shared)
            for i in rows
        ]
        updates: list[PaneUpdate] = []
        so_far = talk
        drawn_at = saved_at = time.monotonic()
        for updates in services.compare.stream(chats, talk.sampling, stop):
            now = time.monotonic()
            if any(update.tokens for update in updates) and now - drawn_at < REDRAW_S:
                continue
            so_far, drawn_at = talks.answered(talk, {i: u.text for i, u in zip(rows, updates, strict=True)}), now
            shown = frame(widgets, so_far, rows, updates)
            if now - saved_at > SAVE_S:
                saved_at, shown[memory] = now, talks.store(so_far)
            yield shown
        talk = talks.answered(talk, {i: u.text for i, u in zip(rows, updates, strict=True)})
        can_be_rated(services, cast.runs, talk, dict(zip(rows, chats, strict=True)))
        if not stop.is_set():
            own = tuple(pane.system_prompt for pane in talk.panes)
            talk = replace(talk, asked=Asked(talk.system_prompt, talk.sampling, cast.shared, own))
        yield (
            frame(widgets, talk, rows, updates)
            | {memory: talks.store(talk)}
            | who(talk, cast)
            | marks(talk, cast.runs)
            | offer_words(widgets, talk, panes)
            | lock(False, dialled)
        )

    def ask(question: str, page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        yield from respond(page, talks.ask(talk_of(stored, *values), question), model)

    def ask_again(page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        talk = talks.ask_again(talk_of(stored, *values))
        yield from respond(page, replace(talk, sampling=replace(talk.sampling, seed=talks.new_seed())), model)

    def dial(index: int, strength: Any, page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """Another strength in a pane: its last question is answered anew."""
        if strength is not None:  # the field is not just being typed into
            talk = talk_of(stored, *values)
            yield from turned(index, page, talk, model, strength=check_strength(strength))

    def weigh(index: int, weight: Any, page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """Another weight of a pane's adapter in its blend."""
        talk = talk_of(stored, *values)
        blend = talk.panes[index].blend
        if weight is not None and blend is not None:
            yield from turned(index, page, talk, model, blend=replace(blend, weight=check_weight(weight, "w")))

    def mix(index: int, second: str, page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """Another adapter to blend a pane's with, or none."""
        talk = talk_of(stored, *values)
        pane = talk.panes[index]
        blend = Blend(second, pane.blend.weight if pane.blend else 0.5) if second else None
        if blend == pane.blend:
            return  # a menu sends its value again when it is left; what it would draw anew may have been changed since
        yield blending(widgets[index], replace(pane, blend=blend), on_offer())
        yield from turned(index, page, talk, model, blend=blend)

    def walk(index: int, step: Any, page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """Another step of a pane's run."""
        yield from turned(index, page, talk_of(stored, *values), model, step=int(step or 0) or None)

    def offer_steps(index: int, stored: Any) -> Any:
        """The steps of a pane's run, of which more may have come."""
        talk = talk_of(stored)
        pane = talk.panes[index] if index < len(talk.panes) else Pane(BASE)
        return steps_to_choose(pane, runs_of(services, talk).get(pane.choice))

    def tell(index: int, prompt: Any, page: Live, stored: Any, model: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """A pane's own system prompt: its last question is answered anew behind it."""
        talk = talk_of(stored, *values)
        yield from turned(index, page, talk, model, system_prompt=talk.panes[index].system_prompt)

    def turned(index: int, page: Live, talk: Talk, model: str, **changes: Any) -> Iterator[dict[Any, Any]]:
        """A pane with ``changes``: its last question is answered anew."""
        pane = talks.as_asked(talk).panes[index]
        if talk.asked is not None and pane.answer and replace(pane, **changes) == pane:
            return  # a field sends its value again when it is left; the answer stands
        talk = talks.dial(talk, index, **changes)
        if pane.messages:
            yield from respond(page, talk, model, index)
        else:
            yield {memory: talks.store(talk)} | who(talk, cast_of(services, talk, model))

    def halt(page: Live) -> None:
        page.stop()

    def outdate(index: int, name: str, value: Any, page: Live) -> None:
        """End the answer that an earlier value of a pane's dial began."""
        if value is not None:
            page.stop(unless=(index, name, value))

    def wipe(stored: Any, model: str, *values: Any) -> dict[Any, Any]:
        return draw(talks.cleared(talk_of(stored, *values)), model)

    def choose(index: int, choice: str, stored: Any, model: str, *values: Any) -> dict[Any, Any]:
        talk = talks.choose(talk_of(stored, *values), index, choice, first_step(services, choice))
        return draw(talk, model)

    def resize(panes: int, stored: Any, model: str, *values: Any) -> dict[Any, Any]:
        offered = [choice.id for choice in services.compare.panes()]
        return draw(talks.resize(talk_of(stored, *values), int(panes), offered), model)

    def mark(stored: Any, *values: Any) -> dict[Any, Any]:
        talk = talk_of(stored, *values)
        return {memory: talks.store(talk)} | marks(talk, runs_of(services, talk))

    # -- binding --------------------------------------------------------------------------------------------------------

    # a toast says what went wrong; shown "on" a button, which has no room for it, a failure covers no conversation
    quiet: dict[str, Any] = {"show_progress_on": form.send, **QUIET}
    page = [memory, base, *settings, *(w.own for w in widgets)]
    streaming = [*dict.fromkeys([*everything, *controls, form.prompt])]
    settled = [
        gr.on(
            [form.prompt.submit, form.send.click], guarded(ask), [form.prompt, live, *page], streaming, **MODEL, **quiet
        ),
        form.retry.click(guarded(ask_again), [live, *page], streaming, **MODEL, **quiet),
        form.clear.click(guarded(wipe), page, everything, **quiet),
        count.input(guarded(resize), [count, *page], everything, **quiet),
    ]
    stage.click(None, [count, *(w.choice for w in widgets)], None, js=_STAGE % BASE, **PRIVATE)
    form.stop.click(guarded(halt), live, None, queue=False, **quiet)
    for index, widget in enumerate(widgets):
        pick = guarded(lambda choice, *rest, index=index: choose(index, choice, *rest))
        settled.append(widget.choice.input(pick, [widget.choice, *page], everything, **quiet))
        for part, name, handler in (
            (widget.strength, "strength", dial),
            (widget.weight, "weight", weigh),
            (widget.second, "second", mix),
            (widget.step, "step", walk),
        ):
            turn = guarded(lambda value, *rest, index=index, handler=handler: (yield from handler(index, value, *rest)))
            part.input(functools.partial(outdate, index, name), [part, live], None, queue=False, **quiet)
            settled.append(
                part.input(turn, [part, live, *page], streaming, trigger_mode="always_last", **MODEL, **quiet)
            )
        widget.more.expand(guarded(functools.partial(offer_steps, index)), memory, widget.step, **quiet)
        again = guarded(lambda *given, index=index: (yield from tell(index, *given)))
        settled.append(widget.own.submit(again, [widget.own, live, *page], streaming, **MODEL, **quiet))
    diff.input(guarded(mark), [memory, *settings], [memory, *(w.diff for w in widgets)], **quiet)
    for button, text in zip(form.examples, EXAMPLES, strict=True):
        button.click(lambda text=text: text, None, form.prompt, queue=False, **quiet).then(
            None, None, None, js=_FOCUS, **PRIVATE
        )
    app.load(None, None, None, js=show.COPY_AS_WRITTEN, **PRIVATE)
    app.load(guarded(open_page), [memory, base], everything, **quiet)
    opened = shared.compare_run.change(
        guarded(open_run), [shared.compare_run, *page], [*everything, shared.compare_run], **quiet
    )
    opened.success(None, None, None, js="() => window.scrollTo({top: 0})", **PRIVATE)
    shared.compare_visit.change(guarded(refresh), page, everything, **quiet)
    bind_rate_these(services, shared, rate, rate_room, app)
    bind_thumbs(services, widgets, memory)
    bind_own_pair(shared, own)
    bind_draw_many(services, form.draw, form.stop, form.draws, live, memory, base)
    build_pane_scores(services, shared, app, widgets, page, [*settled, opened])
    bind_moved_words(services, widgets, memory)
    bind_saving(services, shared, widgets)
    build_prompt_table(services, shared, app, form)
    add_api(services)


def _opening(services: Services) -> Talk:
    """The base beside the newest adapter, asked as that one was trained."""
    offered = services.compare.opening()
    last = offered[-1]
    return Talk(tuple(Pane(choice.id) for choice in offered), last.system_prompt, replace(last.sampling, seed=1))
