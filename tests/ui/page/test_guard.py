"""What a page shows of an error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from studio.ui.page.guard import LIVE, check_sliders, guarded


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


@pytest.fixture
def checked_sliders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gr.Slider, "preprocess", gr.Slider.preprocess)  # put back after the test
    check_sliders()


@pytest.mark.parametrize(
    ("typed", "words"), [(None, "empty"), (5, "5"), (-0.1, "-0.1"), (float("nan"), "nan"), (float("inf"), "inf")]
)
@pytest.mark.usefixtures("checked_sliders")
def test_what_is_no_value_of_a_slider_is_named(typed: Any, words: str) -> None:
    with pytest.raises(gr.Error, match=f"Top-p is {words}; it must be a number from 0.05 to 1"):
        gr.Slider(0.05, 1, step=0.05, label="Top-p").preprocess(typed)


@pytest.mark.usefixtures("checked_sliders")
def test_a_field_whose_every_key_counts_may_be_empty_for_a_moment() -> None:
    strength = gr.Slider(-1, 2, label="Strength", elem_classes=["strength", LIVE])
    assert strength.preprocess(None) is None
    with pytest.raises(gr.Error, match="Strength is 7; it must be a number from -1 to 2"):
        strength.preprocess(7)


@pytest.mark.usefixtures("checked_sliders")
def test_a_number_within_a_slider_is_rounded_to_the_step() -> None:
    assert gr.Slider(0, 10, step=1, label="n").preprocess(3.0) == 3
    assert gr.Slider(0, 1, step=0.05, label="w").preprocess(0.3) == 0.3
