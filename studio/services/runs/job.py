"""What a run folder holds for the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.config import Settings
from studio.domain.data import PreferenceDataset
from studio.domain.runs import Recipe
from studio.errors import TrainingError
from studio.services.files.records import read_record
from studio.services.runs.folder import DATASET
from studio.services.runs.recipe_file import read_recipe


@dataclass(frozen=True)
class Job:
    """What a run folder holds for its worker; ``dataset`` is None for a detox run whose prompts are of no dataset."""

    folder: Path
    recipe: Recipe
    dataset: PreferenceDataset | None
    settings: Settings

    @property
    def data(self) -> PreferenceDataset:
        """The data of a run on preference pairs.

        Raises:
            TrainingError: it is gone.
        """
        if self.dataset is None:
            raise TrainingError(f"Run {self.recipe.run_id} carries no data to train on; start a new run.")
        return self.dataset


def read_job(folder: Path) -> Job:
    """The job of a run folder.

    Raises:
        InputError, FileNotFoundError: the folder is not a queued run's.
    """
    return Job(
        folder=folder,
        recipe=read_recipe(folder / "run.json"),
        dataset=read_record(PreferenceDataset, folder / DATASET) if (folder / DATASET).is_file() else None,
        settings=read_record(Settings, folder / "job.json"),
    )
