"""A file of one's own prompts on a form: where to drop it, and what was read from it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from markupsafe import Markup

from studio.domain.toxicity import TestPrompt
from studio.errors import StudioError
from studio.services.data.prompts import MAX_FILE_MB, MAX_PROMPTS, prompts_from_file
from studio.services.wording import counted
from studio.ui.parts.html import parts

_HINT = (
    f"TXT with one prompt a line, or JSON, JSONL, CSV or Excel with a prompt column; at most {MAX_PROMPTS:,} prompts and "
    f"{MAX_FILE_MB} MB."
)


def build_prompt_box(name: str, visible: bool = True) -> tuple[gr.File, gr.HTML]:
    """Draw the upload and the line below it; their ids on the page are ``name`` and ``name-note``."""
    file = gr.File(label="File of prompts", type="filepath", height=120, visible=visible, elem_id=name)
    return file, gr.HTML(parts.quiet(_HINT), visible=visible, elem_id=f"{name}-note")


def uploaded(path: str | None) -> tuple[str, tuple[TestPrompt, ...]]:
    """The file's name and its prompts; nothing where none was given.

    Raises:
        StudioError: it cannot be read as prompts; says why.
    """
    return (Path(path).name, prompts_from_file(Path(path), of_visitor=True)) if path else ("", ())


def read_line(path: str | None) -> Markup:
    """How many prompts were read, or why none could be; without a file, what one may be."""
    try:
        name, prompts = uploaded(path)
    except StudioError as error:
        return parts.message(str(error))
    return parts.quiet(f"{counted(len(prompts), 'prompt')} read from {name}." if name else _HINT)
