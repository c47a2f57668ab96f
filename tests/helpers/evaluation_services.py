"""The services an evaluation needs, over one folder: with the real engine, or with a scripted one."""

from __future__ import annotations

import dataclasses
from typing import Any

from studio.config import Settings
from studio.domain.chat import Sampling
from studio.domain.evaluations import Evaluation
from studio.services.compare.service import CompareService
from studio.services.evaluations.form import EvaluationForm
from studio.services.evaluations.service import EvaluationService
from studio.services.models.service import ModelService
from studio.services.runs.store import RunStore
from studio.store.database import Database
from tests.helpers.evaluations import PROMPTS, ScriptedScoring
from tests.helpers.waiting import wait_until

HOW = Sampling(temperature=1.2, top_p=0.95, max_new_tokens=12, seed=5)


class House:
    """The services an evaluation needs, over one folder."""

    def __init__(self, settings: Settings, compare: type[CompareService] = CompareService) -> None:
        self.settings = settings
        self.runs, self.models = RunStore(settings), ModelService(settings)
        self.compare = compare(settings, self.runs, self.models)
        self.scoring = ScriptedScoring()
        self.evaluations = self.service()

    def service(self) -> EvaluationService:
        return EvaluationService(self.settings, self.runs, self.compare, self.scoring)  # type: ignore[arg-type]

    def close(self) -> None:
        self.scoring.gate.set()
        self.evaluations.close()
        self.compare.close()

    def done(self, evaluation_id: str, state: str = "done") -> Evaluation:
        wait_until(lambda: not self.evaluations.status(evaluation_id).busy, 240)
        found = self.evaluations.get(evaluation_id)
        assert found.state == state, found.message
        return found

    def database(self) -> Database:
        database = Database(self.settings.store_url)
        database.migrate()
        return database


def form(*adapters: str, **changes: Any) -> EvaluationForm:
    asked = EvaluationForm(adapters, PROMPTS, "mixed", "scripted", samples=2, sampling=HOW, system_prompt=" Be kind. ")
    return dataclasses.replace(asked, **changes)
