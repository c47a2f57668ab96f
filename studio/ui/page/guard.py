"""The one place where a :class:`StudioError` becomes something a page shows."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, TypeVar

import gradio as gr

from studio.errors import StudioError
from studio.services.files.folders import storage_sentence

log = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[..., Any])


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
        return gr.Error(escape(str(error), quote=False), duration=12, print_exception=False)
    log.error("a handler failed", exc_info=error)
    return gr.Error("Something went wrong here; the server's log has the details.", print_exception=False)
