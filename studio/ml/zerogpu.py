"""A GPU that is lent for the length of a call: ZeroGPU on Hugging Face Spaces, by the package ``spaces``.

A function marked as such a call runs in a process forked from this one, in which CUDA works; its arguments and results are pickled. This
process has no GPU, though torch says so here once ``spaces`` is imported. Nothing of this is imported anywhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from studio.errors import GpuRefusedError, StudioError

#: The title ``spaces`` gives to an error of the process that had the GPU; all others are refusals.
_ENDED = "ZeroGPU worker error"


def gpu_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, or a generator function, as a GPU call. The first of its arguments is the whole number of seconds asked for. To be made
    before the page is served. What it raises arrives as a name only: it has to return or yield its errors."""
    import spaces

    marked: Callable[..., Any] = spaces.GPU(function, duration=lambda seconds, *_: seconds)
    return marked


@contextlib.contextmanager
def gpu_refusals() -> Iterator[None]:
    """Around a GPU call, or a step of one that is a generator.

    Raises:
        GpuRefusedError: no GPU is lent, or it was taken back; in the words of ZeroGPU.
    """
    try:
        yield
    except StudioError:
        raise
    except Exception as error:
        why = str(getattr(error, "message", error)).strip().rstrip(".")
        if getattr(error, "title", "") == _ENDED:
            raise GpuRefusedError(f"The GPU process ended early ({why}): its time was over, or it crashed.") from error
        raise GpuRefusedError(f"ZeroGPU lends no GPU now: {why}.") from error
