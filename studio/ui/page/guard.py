"""The one place where an error becomes something a page shows."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, TypeVar

import gradio as gr
from gradio.components import Number

from studio.errors import InputError, StudioError
from studio.i18n import said
from studio.services.files.folders import storage_sentence

log = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[..., Any])
#: Class of a slider whose events follow each key: while its field is being typed into it is empty, which is no mistake yet.
LIVE = "live"


def guarded(handler: Handler) -> Handler:
    """Wrap an event handler (function or generator): a StudioError is shown as its sentence, anything else is logged
    with its traceback and shown as a defect."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            changed = False
            try:
                for update in handler(*args, **kwargs):
                    changed = True
                    yield update
                if not changed:  # Gradio empties every output of a generator that yields nothing
                    yield gr.skip()
            except Exception as error:
                raise shown(error) from error

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise shown(error) from error

    return call  # type: ignore[return-value]


def shown(error: Exception) -> gr.Error:
    """The message a page shows for ``error``. Escaped: pages render messages as HTML, and they quote what people typed."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, OSError) and (sentence := storage_sentence(error)):
        log.warning("a handler failed", exc_info=error)
        error = StudioError(sentence)
    if isinstance(error, StudioError):
        return gr.Error(escape(said(str(error)), quote=False), duration=12, print_exception=False)
    log.error("a handler failed", exc_info=error)
    return gr.Error(said("Something went wrong here; the server's log has the details."), print_exception=False)


def check_sliders() -> None:
    """Have every slider check its number. On the class, because a session makes its sliders anew.

    Gradio 6 compares what was typed into the number field as it is: an emptied field ends in a ``TypeError``, a number out of bounds in
    a sentence that does not say which field it means."""
    gr.Slider.preprocess = _checked  # type: ignore[method-assign, assignment]


def _checked(self: gr.Slider, payload: float | None) -> float | None:
    """The number, rounded to the slider's step; None where a :data:`LIVE` one is empty.

    Raises:
        gr.Error: the field is empty, or its number out of bounds.
    """
    if payload is None and LIVE in (self.elem_classes or ()):
        return None
    if payload is None or not self.minimum <= payload <= self.maximum:
        value = "empty" if payload is None else f"{payload:g}"
        raise shown(
            InputError(f"{self.label} is {value}; it must be a number from {self.minimum:g} to {self.maximum:g}.")
        )
    return Number.round_to_precision(payload, self.precision)
