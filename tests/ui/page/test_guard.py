"""What a page shows of an error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

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


def test_a_generator_that_yields_nothing_changes_nothing() -> None:
    """Gradio would empty every output."""

    def handler(value: str) -> Iterator[str]:
        yield from [value] if value else []

    assert list(guarded(handler)("")) == [gr.skip()]
    assert list(guarded(handler)("a")) == ["a"]
