"""What ends a training early, in one plain sentence that says what to try."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from studio.domain.runs import DetoxRecipe, Recipe, RowsRecipe
from studio.errors import RecipeError, TrainingError

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_NO_SPACE = ("no space left", "disk quota", "file write failed", "unexpected pos")
#: How torch and safetensors tell of a write that failed half-way.
_WRITERS = ("pytorchstreamwriter", "inline_container", "safetensor", "i/o error")


@contextlib.contextmanager
def plain_failures(recipe: Recipe) -> Iterator[None]:
    """Turn what a person can mend into ``TrainingError`` or ``RecipeError``; let everything else through."""
    try:
        yield
    except MemoryError as error:
        raise TrainingError(_memory_sentence(recipe)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(_SPACE_SENTENCE) from error
    except ValueError as error:
        if "target modules" in str(error).lower() or "target_modules" in str(error).lower():
            raise RecipeError(
                f"target_modules is {recipe.lora.target_modules!r}, which this base does not fit "
                f"({str(error).splitlines()[0][:160]}); all-linear fits every base."
            ) from error
        raise
    except Exception as error:
        text = str(error).lower()
        if type(error).__name__ == "OutOfMemoryError" or any(word in text for word in _NO_MEMORY):
            raise TrainingError(_memory_sentence(recipe)) from error
        if any(word in text for word in _NO_SPACE) or any(word in text for word in _WRITERS):
            raise TrainingError(_SPACE_SENTENCE) from error
        raise


_SPACE_SENTENCE = (
    "The disk is full, so the run could not be saved: free some space (old runs and their checkpoints first), then resume "
    "it."
)


def _memory_sentence(recipe: Recipe) -> str:
    if isinstance(recipe, DetoxRecipe):
        detox = recipe.settings
        return (
            f"Out of memory: try batch_size {max(1, (detox.batch_size or detox.answers_per_step) // 2)} (answers that go through the "
            f"model at once), max_new_tokens below {detox.max_new_tokens}, or a smaller base model."
        )
    training = RowsRecipe.of(recipe).settings
    return (
        f"Out of memory: try a batch of {max(1, training.batch_size // 2)} instead of {training.batch_size} with twice the gradient "
        f"accumulation, a max_length below {training.max_length}, or a smaller base model."
    )
