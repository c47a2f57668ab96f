"""What a page shows of an error."""

from __future__ import annotations

import errno
import os

import gradio as gr
import pytest

from studio.ui.page.guard import guarded


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full: /runs/a could not be written"),
        (errno.EROFS, "/runs/a cannot be used: Read-only file system"),
        (errno.EACCES, "/runs/a cannot be used: Permission denied"),
        (errno.EIO, "Something went wrong here"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(number: int, words: str) -> None:
    def handler() -> None:
        raise OSError(number, os.strerror(number), "/runs/a")

    with pytest.raises(gr.Error, match=words):
        guarded(handler)()
