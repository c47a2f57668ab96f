"""Errors a person can mend.

StudioError
├── InputError          a value somebody gave is not usable; names the field, the value, the way out
│   ├── DatasetError    an imported or shipped dataset breaks its format; names the row and the field
│   └── RecipeError     a training setting is out of range or does not fit the data
├── NotFoundError       a run, dataset, model or file of that name does not exist
├── ConflictError       the action does not fit the present state (resume of a finished run, a name taken)
├── ModelLoadError      a base model or adapter could not be loaded (not downloaded, wrong base, no memory)
├── GpuRefusedError     ZeroGPU lends no GPU just now (quota used up, none free), or took it back
├── ChatServerError     the server that answers (STUDIO_CHAT_URL) cannot be used just now, or refuses
├── NotInstalledError   an optional package is missing; says how to install it
├── ScorerError         a scorer gave something that is no score (NaN)
├── TrainingError       a run cannot go on (NaN loss, out of memory, full disk)
├── StoreError          the database cannot be used just now (gone, busy, read-only, full)
└── NotAllowedError     the action is for the operator, not for visitors

Only ``studio.ui`` turns these into ``gr.Error``/``gr.Warning``, only the command line into one line on stderr and exit
code 2. Anything else is a defect: it is logged with its traceback and shown as "failed, see log".
"""

from __future__ import annotations


class StudioError(Exception):
    """Base of everything a person can mend. ``str(error)`` is one sentence fit to be shown."""


class InputError(StudioError):
    """A value somebody gave is not usable."""


class DatasetError(InputError):
    """A dataset breaks its format."""


class RecipeError(InputError):
    """A training setting is out of range or does not fit the data."""


class NotFoundError(StudioError):
    """No run, dataset, model or file of that name."""


class ConflictError(StudioError):
    """The action does not fit the present state."""


class ModelLoadError(StudioError):
    """A base model or adapter could not be loaded."""


class GpuRefusedError(StudioError):
    """ZeroGPU lends no GPU just now, or took it back."""


class ChatServerError(StudioError):
    """The server that answers cannot be used just now, or refuses."""


class NotInstalledError(StudioError):
    """An optional package is missing."""


class ScorerError(StudioError):
    """A scorer gave something that is no score."""


class TrainingError(StudioError):
    """A run cannot go on."""


class StoreError(StudioError):
    """The database cannot be used just now."""


class NotAllowedError(StudioError):
    """The action is for the operator, not for visitors."""
