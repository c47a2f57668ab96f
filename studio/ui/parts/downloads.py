"""Files that a click makes and the browser saves at once."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from studio.ui.page.shared import PRIVATE

#: The browser is sent to the file's address once it is there.
_SAVE = """(file) => {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
}"""


def served(data: bytes, name: str) -> str:
    """The path of ``data`` as a file of Gradio's own cache, which serves it to this page and is emptied by the app."""
    return gr.processing_utils.save_bytes_to_cache(data, name, get_upload_folder())


def save_after(event: Any, file: gr.DownloadButton) -> None:
    """Have the browser save what ``event`` (a listener as it was bound) put into ``file``."""
    event.success(None, file, None, js=_SAVE, **PRIVATE)
