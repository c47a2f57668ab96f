"""What a run folder holds for the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.config import Settings
from studio.domain.data import PreferenceDataset
from studio.domain.runs import Recipe
from studio.services.files.records import read_record


@dataclass(frozen=True)
class Job:
    """What a run folder holds for its worker."""

    folder: Path
    recipe: Recipe
    dataset: PreferenceDataset
    settings: Settings


def read_job(folder: Path) -> Job:
    """The job of a run folder.

    Raises:
        InputError, FileNotFoundError: the folder is not a queued run's.
    """
    return Job(
        folder=folder,
        recipe=read_record(Recipe, folder / "run.json"),
        dataset=read_record(PreferenceDataset, folder / "dataset.json"),
        settings=read_record(Settings, folder / "job.json"),
    )
