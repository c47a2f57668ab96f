"""A lesson: what to train, what to predict before, what to think about after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """One card.

    Attributes:
        id: its file's name, which begins with its number.
        dataset_id, ratio, data_size: what the form is set to: data, share from 0 to 1, number of pairs.
        task: Markdown shown from the start; it ends with what is to be predicted, a share from 0 to 1.
        after: Markdown shown once the share is measured.
    """

    id: str
    title: str
    dataset_id: str
    ratio: float
    data_size: int
    task: str
    after: str
