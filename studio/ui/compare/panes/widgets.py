"""The widgets of one pane and of the ask box, and how a conversation is put into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.domain.chat import BASE, PaneUpdate, is_base
from studio.services.lineage.choices import PaneChoice
from studio.services.lineage.vector import is_vector
from studio.services.strength import HIGHEST, LOWEST
from studio.ui.compare.panes import view as show
from studio.ui.compare.panes.draw_many import build_draw_many
from studio.ui.compare.talk import MAX_QUESTION, Pane, Talk
from studio.ui.page.guard import LIVE

EXAMPLES = (
    "Should anime be turned into live action?",
    "Would a live-action Akira be a good idea?",
    "Hello! Who are you?",
    "動漫應該改編成真人版嗎？",
    "你期待《進擊的巨人》的真人電影嗎？",
    "你好，你是誰？",
)


@dataclass(frozen=True)
class PaneWidgets:
    """One pane on the page."""

    column: gr.Column
    choice: gr.Dropdown
    more: gr.Accordion
    strength: gr.Slider
    own: gr.Textbox
    step: gr.Dropdown
    second: gr.Dropdown
    weight: gr.Slider
    save: gr.Button
    identity: gr.HTML
    words: gr.Button
    moved: gr.HTML
    chat: gr.Chatbot
    stats: gr.HTML
    diff: gr.HTML
    reward: gr.HTML

    def all(self) -> list[Any]:
        """Every widget a conversation is drawn into, as outputs (``scores.py`` draws the reward)."""
        shown = [self.column, self.choice, self.strength, self.own, self.step, self.second, self.weight, self.save]
        shown += [self.identity, self.chat, self.stats, self.diff]
        return [*shown, self.words, self.moved]


@dataclass(frozen=True)
class AskWidgets:
    """The question and the settings of its answers."""

    prompt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    draw: gr.Button
    draws: gr.HTML
    examples: list[gr.Button]
    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider
    seed: gr.Number

    def settings(self) -> list[Any]:
        """System prompt and sampling, in the order of :class:`studio.domain.chat.Sampling`."""
        return [self.system, self.temperature, self.top_p, self.max_tokens, self.seed]


def build_pane(index: int) -> PaneWidgets:
    """Draw pane ``index`` (from 0); the first two are there from the start."""
    with gr.Column(visible=index < 2, min_width=280, elem_classes="pane", elem_id=f"pane-{index + 1}") as column:
        choice = gr.Dropdown(
            [("Base model", BASE)],
            value=BASE,
            label=f"Pane {index + 1}",
            filterable=True,
            elem_id=f"pane-choice-{index + 1}",
        )
        strength = gr.Slider(
            LOWEST,
            HIGHEST,
            value=1,
            step=0.05,
            label="Strength",
            visible=False,
            elem_classes=["strength", LIVE],
            elem_id=f"pane-strength-{index + 1}",
        )
        with gr.Accordion("More", open=False, elem_classes="more", elem_id=f"pane-more-{index + 1}") as more:
            own = gr.Textbox(
                label=f"System prompt of pane {index + 1}",
                lines=1,
                max_lines=4,
                max_length=MAX_QUESTION,
                placeholder="as for all panes",
                info="Instead of the one of all panes; Enter asks this pane again.",
                elem_id=f"pane-system-{index + 1}",
            )
            step = gr.Dropdown([], label="Step", visible=False, elem_id=f"pane-step-{index + 1}")
            second = gr.Dropdown([], label="Blend with", visible=False, elem_id=f"pane-second-{index + 1}")
            weight = gr.Slider(
                0,
                1,
                value=0.5,
                step=0.05,
                label="w",
                visible=False,
                elem_classes=["strength", LIVE],
                elem_id=f"pane-weight-{index + 1}",
            )
            save = gr.Button("Save as an adapter", size="sm", visible=False, elem_id=f"pane-save-{index + 1}")
        identity = gr.HTML(elem_id=f"pane-identity-{index + 1}")
        chat = gr.Chatbot(
            show_label=False,
            container=False,
            height=380,
            layout="bubble",
            buttons=["copy", "copy_all"],
            placeholder=show.PLACEHOLDER,
            sanitize_html=True,
            render_markdown=False,
            allow_tags=False,
            latex_delimiters=[],
            feedback_options=("Like", "Dislike"),
            group_consecutive_messages=False,
            allow_file_downloads=False,
            elem_classes="chat",
            elem_id=f"chat-{index + 1}",
        )
        stats = gr.HTML(show.stats(None), elem_id=f"pane-stats-{index + 1}")
        words = gr.Button("Words that moved", size="sm", visible=False, elem_id=f"pane-words-{index + 1}")
        moved = gr.HTML(visible=False, elem_id=f"pane-moved-{index + 1}")
        reward = gr.HTML(elem_id=f"pane-reward-{index + 1}")
        diff = gr.HTML(visible=False, elem_id=f"pane-diff-{index + 1}")
    return PaneWidgets(
        column,
        choice,
        more,
        strength,
        own,
        step,
        second,
        weight,
        save,
        identity,
        words,
        moved,
        chat,
        stats,
        diff,
        reward,
    )


def build_ask_box() -> AskWidgets:
    """Draw the prompt box, its buttons, examples and settings."""
    with gr.Column(elem_id="ask-box"):
        prompt = gr.Textbox(
            placeholder="Ask all panes at once; Enter sends",
            show_label=False,
            container=False,
            lines=1,
            max_lines=6,
            max_length=MAX_QUESTION,
            elem_id="prompt",
        )
        with gr.Row(elem_id="ask-buttons"):
            send = gr.Button("Send", variant="primary", size="sm", min_width=60, elem_id="send")
            stop = gr.Button("Stop", variant="stop", size="sm", min_width=60, interactive=False, elem_id="stop")
            retry = gr.Button("Retry", size="sm", min_width=60, elem_id="retry")
            clear = gr.Button("Clear", size="sm", min_width=60, elem_id="clear")
            draw, draws = build_draw_many()
    draws.render()
    with gr.Row(elem_id="examples"):
        examples = [gr.Button(text, size="sm", min_width=100, elem_classes="example") for text in EXAMPLES]
    with gr.Accordion("System prompt and sampling", open=False, elem_id="sampling"):
        system = gr.Textbox(
            label="System prompt",
            lines=1,
            max_lines=6,
            max_length=MAX_QUESTION,
            placeholder="none",
            info="The same for every pane. Opening a run sets the one it was trained with.",
            elem_id="system-prompt",
        )
        with gr.Row():
            temperature = gr.Slider(
                0, 2, value=0.8, step=0.05, label="Temperature", info="0: greedy, always the likeliest token."
            )
            top_p = gr.Slider(
                0.05,
                1,
                value=0.95,
                step=0.05,
                label="Top-p",
                info="Sample from the smallest set of tokens with this total probability.",
            )
        with gr.Row():
            max_tokens = gr.Slider(8, 1024, value=128, step=8, label="Max tokens", info="Longer answers are cut.")
            seed = gr.Number(
                1,
                label="Seed",
                precision=0,
                minimum=0,
                info="Same seed and question, same answer; Retry takes a new seed.",
                elem_id="seed",
            )
    return AskWidgets(
        prompt, send, stop, retry, clear, draw, draws, examples, system, temperature, top_p, max_tokens, seed
    )


def pane_choices(offered: Sequence[PaneChoice], current: str) -> list[tuple[str, str]]:
    """Dropdown lines; a run that is gone stays listed in the pane that shows it."""
    lines = [(choice.label, choice.id) for choice in offered]
    if current not in {value for _, value in lines}:
        lines.append((f"{current} (deleted)", current))
    return lines


def frame(
    widgets: Sequence[PaneWidgets], talk: Talk, rows: Sequence[int], updates: Sequence[PaneUpdate]
) -> dict[Any, Any]:
    """Conversations and figures of the panes ``rows`` while answers come in."""
    shown: dict[Any, Any] = {widgets[i].chat: show.bubbles(talk.panes[i].messages) for i in rows}
    return shown | {widgets[i].stats: show.stats(update) for i, update in zip(rows, updates, strict=True)}


def dials(index: int, pane: Pane) -> set[tuple[int, str, Any]]:
    """What an answer of pane ``index`` is for: while a dial is moved to where it stands already, the answer goes on."""
    blend = pane.blend
    values = {"strength": pane.strength, "weight": blend and blend.weight, "second": blend.run_id if blend else ""}
    values["step"] = pane.step or 0
    return {(index, name, value) for name, value in values.items()}


def locked(form: AskWidgets, widgets: Sequence[PaneWidgets], busy: bool, dialled: int | None) -> dict[Any, Any]:
    """While answers stream only *Stop* may be pressed, and the dial be moved further that made them stream (of pane ``dialled``)."""
    updates: dict[Any, Any] = {b: gr.Button(interactive=not busy) for b in (form.send, form.retry, form.clear)}
    updates[form.stop] = gr.Button(interactive=busy)
    updates |= {part: gr.Dropdown(interactive=not busy) for w in widgets for part in (w.choice, w.second, w.step)}
    others = [w for index, w in enumerate(widgets) if index != dialled]
    return updates | {dial: gr.Slider(interactive=not busy) for w in others for dial in (w.strength, w.weight)}


def blending(widget: PaneWidgets, pane: Pane, offered: Sequence[PaneChoice]) -> dict[Any, Any]:
    """The blend widgets of a pane: the adapters of its base to blend with, and the weight once one is chosen."""
    own = next((choice for choice in offered if choice.id == pane.choice), None)
    base = own.base if own and not is_base(pane.choice) and not is_vector(pane.choice) else None
    others = [(c.label, c.id) for c in offered if c.adapter_hash and c.base == base and c.id != pane.choice]
    second = pane.blend.run_id if pane.blend else ""
    if second and second not in {run_id for _, run_id in others}:
        others.append((f"{second} (deleted)", second))
    return {
        widget.second: gr.Dropdown(
            choices=[("nothing", ""), *others], value=second, visible=base is not None and bool(others)
        ),
        widget.weight: gr.Slider(value=pane.blend.weight if pane.blend else 0.5, visible=pane.blend is not None),
        widget.save: gr.Button(visible=pane.blend is not None),
    }
