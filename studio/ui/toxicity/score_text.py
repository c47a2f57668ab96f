"""Score text: how toxic each line is, by whom it was scored, and the numbers as files; and the endpoints of the same."""

from __future__ import annotations

import re
import time
from typing import Any

import gradio as gr

from studio.domain.toxicity import RUN, Explanation
from studio.errors import InputError, StudioError
from studio.i18n import Named
from studio.services import Services
from studio.services.files.tables import BOM
from studio.services.scoring.score_files import score_csv, score_json, score_records
from studio.services.scoring.scorers import EMBEDDED
from studio.services.scoring.service import MAX_CHARACTERS, MAX_EXPLAINED, TextScores, check_texts
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.arguments import checked
from studio.ui.page.guard import guarded
from studio.ui.page.lines import SCORING
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.cover import cover_switch
from studio.ui.parts.downloads import save_after, served
from studio.ui.parts.html import parts
from studio.ui.toxicity import view as score_view

LINES, WHOLE = "lines", "whole"
EXAMPLES = """Thank you, that was kind of you.
I hate mondays.
That was a stupid question, you idiot.
謝謝你的幫忙！
你是白痴嗎？給我閉嘴。
Il fait beau aujourd'hui à Lyon."""


class Held:
    """What a page scored last, for its files. Not a dataclass, since Gradio would take it apart."""

    def __init__(self, scores: TextScores | None = None) -> None:
        self.scores = scores


def build_score_section(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the section, bind its events and add its endpoints."""
    held = gr.State(Held())
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            texts = gr.Textbox(
                label="Texts",
                lines=8,
                max_lines=20,
                max_length=MAX_CHARACTERS,
                placeholder="One text a line",
                elem_id="tox-texts",
            )
            split = gr.Radio(
                [("Each line is a text", LINES), ("All of it is one text", WHOLE)],
                value=LINES,
                show_label=False,
                elem_id="tox-split",
            )
            scorer = gr.Dropdown(
                services.scoring.choices(),
                value=EMBEDDED,
                label="Scorer",
                info="Any text classifier on the Hub works as well: type its id, organisation/name.",
                allow_custom_value=True,
                elem_id="tox-scorer",
            )
            label = gr.Dropdown([], label="Toxic label", visible=False, interactive=True, elem_id="tox-label")
            about = gr.HTML(elem_id="tox-about")
            fetch = gr.Button("Download this classifier", size="sm", visible=False, elem_id="tox-fetch")
            prompt = gr.Textbox(
                label="Prompt",
                info="A reward model scores an answer to a prompt: the prompt of all these texts.",
                lines=2,
                max_length=MAX_CHARACTERS,
                visible=False,
                elem_id="tox-prompt",
            )
            why = gr.Checkbox(True, label="Show which words carry each score", elem_id="tox-why")
            with gr.Row():
                button = gr.Button("Score", variant="primary", scale=3, min_width=140, elem_id="tox-score")
                example = gr.Button("Insert examples", scale=2, min_width=140, elem_id="tox-example")
        with gr.Column(scale=7, min_width=300):
            result = gr.HTML(score_view.empty(), elem_id="tox-result")
            with gr.Row(visible=False, elem_id="tox-files") as files:
                as_csv = gr.Button("Save CSV", size="sm", min_width=90, elem_id="tox-csv")
                as_json = gr.Button("Save JSON", size="sm", min_width=90, elem_id="tox-json")
                made = gr.DownloadButton("Download again", visible=False, size="sm", min_width=90, elem_id="tox-file")
            uncover = cover_switch()

    def refresh(chosen: str | None) -> Any:
        """Reward runs come and go, classifiers are downloaded; what was chosen or typed stays."""
        return gr.Dropdown(choices=services.scoring.choices(), value=chosen or EMBEDDED)

    def tell(mark: Visitor, name: str | None) -> tuple[Any, Any, Any, Any]:
        """A scorer was chosen: who it is, its labels, what is missing."""
        typed, _, picked = (name or "").strip().partition("#")
        names = services.scoring.labels(typed)
        toxic = picked if picked in names else None
        missing = False
        try:
            info = services.scoring.spec(name or "").info
            toxic, description = info.toxic_label if names else None, score_view.who(info)
        except StudioError as error:
            description = parts.message(str(error))
            missing = mark.operator and services.scoring.downloadable(typed)
        labels = gr.Dropdown(choices=[(Named(name), name) for name in names], value=toxic, visible=len(names) > 1)
        return description, labels, gr.Button(visible=missing), gr.Textbox(visible=typed.startswith(RUN))

    def tell_label(name: str | None, toxic: str | None) -> str:
        try:
            return score_view.who(services.scoring.spec(_named(name, toxic)).info)
        except StudioError as error:
            return parts.message(str(error))

    def download(mark: Visitor, name: str | None, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008 - gradio's way
        require_operator(mark, "downloading a classifier")
        services.scoring.fetch(name or "", lambda share, text: progress(share, desc=text))
        return refresh(name)

    def score_texts(
        typed: str, how: str, name: str | None, toxic: str | None, question: str, explain: bool
    ) -> dict[Any, Any]:
        lines = {1: typed.strip("\n")} if how == WHOLE else dict(enumerate(typed.split("\n"), 1))
        lines = {number: line.removesuffix("\r") for number, line in lines.items() if line.strip()}
        if not lines:
            raise InputError("There is no text to score; write or paste some, one a line.")
        to_score = list(lines.values())
        check_texts(to_score, "The text" if how == WHOLE else "Line", list(lines))
        chosen = _named(name, toxic)
        prompts = [question] * len(to_score) if chosen.startswith(RUN) else None
        scores = services.scoring.score_checked(chosen, to_score, prompts)
        offensive = any((one.toxicity or 0) > score_view.OVER for one in scores.scores)
        return {
            result: score_view.scored(scores, _why(services, chosen, scores, prompts) if explain else []),
            held: Held(scores),
            files: gr.Row(visible=True),
            made: gr.DownloadButton(visible=False),
            uncover: gr.Checkbox(visible=offensive),
        }

    def export(kind: str, last: Held) -> Any:
        if last.scores is None:
            raise InputError("There are no scores to save yet; score something first.")
        data = (score_csv if kind == "csv" else score_json)(last.scores)
        who = re.sub(r"[^\w.-]+", "-", last.scores.info.name)[-60:].strip("-.")
        name = f"toxicity-{who}-{time.strftime('%Y-%m-%d')}.{kind}"
        head = BOM if kind == "csv" else ""
        path = served(f"{head}{data}".encode(), name)
        return gr.DownloadButton("Download again", value=path, visible=True)

    app.load(guarded(tell), [shared.visitor, scorer], [about, label, fetch, prompt], **QUIET)
    app.load(lambda: gr.Checkbox(visible=False), None, uncover, **QUIET)
    when_opened(scorer, app, guarded(refresh), scorer, scorer)
    shared.visitor.change(guarded(tell), [shared.visitor, scorer], [about, label, fetch, prompt], **QUIET)
    scorer.change(guarded(tell), [shared.visitor, scorer], [about, label, fetch, prompt], **QUIET)
    label.input(guarded(tell_label), [scorer, label], about, **QUIET)
    fetch.click(guarded(download), [shared.visitor, scorer], scorer, **PRIVATE).then(
        guarded(tell), [shared.visitor, scorer], [about, label, fetch, prompt], **QUIET
    )
    example.click(lambda: EXAMPLES, None, texts, queue=False, **QUIET)
    button.click(
        guarded(score_texts),
        [texts, split, scorer, label, prompt, why],
        [result, held, files, made, uncover],
        show_progress_on=result,
        **SCORING,
        **PRIVATE,
    )
    for save, kind in ((as_csv, "csv"), (as_json, "json")):
        save_after(save.click(guarded(lambda last, kind=kind: export(kind, last)), held, made, **QUIET), made)
    add_api(services)


def add_api(services: Services) -> None:
    """Add the endpoints to the Blocks being built."""

    def score_toxicity(
        texts: list[str], scorer: str = EMBEDDED, prompts: list[str] | None = None, why: bool = False
    ) -> list[dict[str, Any]]:
        """Score texts: ``[{"text", "toxicity", "logits", "label"}, ...]`` in their order, as ``python -m studio score --json``.
        ``prompts``, one a text, are what they answer; only a reward run (``run:<id>``) needs them. With ``why`` each has the words that
        carry it, as ``score --why``; of any scorer but the embedded one only the first 20 (null for the others)."""
        scored = services.scoring.score_checked(scorer, texts, prompts or None)
        if not why:
            return score_records(scored)
        explained = _why(services, scorer, scored, prompts or None)
        return score_records(scored, [*explained, *[None] * (len(scored.texts) - len(explained))])

    def scorers() -> list[dict[str, Any]]:
        """The scorers on offer; of those that are ready also their revision, what they measure, and their labels."""
        listed = []
        for title, name in services.scoring.choices():
            entry: dict[str, Any] = {"name": name, "title": title, "ready": services.scoring.ready(name)}
            if entry["ready"]:
                info = services.scoring.spec(name).info
                entry |= {"revision": info.revision, "measures": info.measures, "languages": list(info.languages)}
                entry |= {"labels": list(info.labels), "toxic_label": info.toxic_label}
            listed.append(entry)
        return listed

    gr.api(guarded(checked(score_toxicity)), api_name="score_toxicity", **SCORING)
    gr.api(guarded(scorers), api_name="scorers")


def _why(services: Services, name: str, scored: TextScores, prompts: list[str] | None) -> list[Explanation | None]:
    """Which words carry the scores: of all texts where that is exact and quick, else of the first ones."""
    if scored.info.kind != "embedded":
        scored = TextScores(scored.info, scored.texts[:MAX_EXPLAINED], scored.scores[:MAX_EXPLAINED])
        prompts = prompts and prompts[:MAX_EXPLAINED]
    return services.scoring.explain(name, scored, prompts)


def _named(name: str | None, label: str | None) -> str:
    """The scorer's whole name, of the two fields that say it."""
    typed = (name or "").strip().partition("#")[0]
    return f"{typed}#{label}" if label and not typed.startswith(RUN) and typed != EMBEDDED else typed
