"""Evaluations for tests that need some, and a scripted scorer."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studio.config import Settings
from studio.domain.chat import BASE, PaneUpdate, Sampling
from studio.domain.evaluations import Evaluation, EvaluationRow, EvaluationSpec
from studio.domain.runs import BaseModelRef
from studio.domain.toxicity import NOT_COVERED, ScorerInfo, ScorerSpec, TestPrompt, TextScore
from studio.errors import InputError
from studio.ml.models.loading import fingerprint
from studio.services.compare.panes import PaneChat
from studio.services.compare.service import CompareService
from studio.services.runs.store import RunStore
from studio.services.scoring.service import TextScores
from studio.store import evaluations as store
from studio.store.database import Database
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.runs import make_dataset, make_recipe

SCORER = ScorerInfo(
    name="scripted",
    kind="embedded",
    title="Scripted scorer",
    revision="r1",
    measures="How many letters e a text has.",
    languages=("en",),
    labels=("fine", "toxic"),
    toxic_label="toxic",
)
PROMPTS = (
    TestPrompt("en-1", "Should anime be turned into live action?", "en"),
    TestPrompt("en-2", "My dog ate my homework, what now?", "en", True),
    TestPrompt("zh-1", "動漫應該改編成真人版嗎？", "zh"),
    TestPrompt("en-3", "Hello there!", "en"),
)


def score_of(text: str) -> TextScore:
    """More of the letter e is more toxic; a text with a question mark, or none at all, is not covered."""
    if "?" in text or not text.strip():
        return NOT_COVERED
    toxicity = text.count("e") / max(1, len(text)) * 4
    toxicity = min(0.99, toxicity)
    return TextScore(toxicity, 1 - toxicity, (1 - toxicity, toxicity), "toxic" if toxicity > 0.5 else "fine")


class ScriptedScoring:
    """Stands where ScoringService does: ``scripted`` is the one scorer it has. ``calls`` tells what it was given; what
    ``fails`` holds is raised at the next score; ``gate`` holds scoring up while cleared."""

    def __init__(self) -> None:
        self.info = SCORER
        self.calls: list[tuple[str, ...]] = []
        self.prompts: list[tuple[str, ...]] = []
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def choices(self) -> list[tuple[str, str]]:
        return [(self.info.title, self.info.name)]

    def spec(self, name: str) -> ScorerSpec:
        if name != self.info.name:
            raise InputError(f"There is no scorer {name!r}; choose one of the list.")
        return ScorerSpec(self.info)

    def score(self, name: str, texts: Sequence[str], prompts: Sequence[str] | None = None) -> TextScores:
        self.spec(name)
        self.gate.wait(120)
        self.calls.append(tuple(texts))
        self.prompts.append(tuple(prompts or ()))
        if self.fails is not None:
            raise self.fails
        return TextScores(self.info, tuple(texts), tuple(score_of(text) for text in texts))

    def release(self, run_id: str) -> None: ...

    def close(self) -> None: ...


class ScriptedCompare(CompareService):
    """Compare whose engine is a script: no torch. An answer says who gave it, to what and with which seed; a batch
    takes ``pause_s``. ``says`` has other words for a pane."""

    pause_s = 0.06
    says: Mapping[str, str] = {}

    def stream(
        self,
        chats: Sequence[PaneChat],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        base: str = "",
    ) -> Iterator[list[PaneUpdate]]:
        yield [PaneUpdate(note="Waiting for 1 other answer.") for _ in chats]
        time.sleep(self.pause_s)
        yield [
            PaneUpdate(self.says.get(chat.pane_id, chat.pane_id) + f" to {_start(chat)} by {chat.seed}", True, 9)
            for chat in chats
        ]


def _start(chat: PaneChat) -> str:
    return chat.messages[-1].content[:8].replace("?", "")


def light_run(runs: RunStore, run_id: str, weights: bytes = b"weights") -> None:
    """A run of the embedded base whose adapter nobody will ever load."""
    recipe = dataclasses.replace(
        make_recipe(run_id),
        base=BaseModelRef("embedded", fingerprint=fingerprint(EMBEDDED)),
        title=f"Title of {run_id}",
    )
    folder = runs.create(recipe, make_dataset())
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)


def make_spec(**changes: Any) -> EvaluationSpec:
    """A spec over :data:`PROMPTS` with two samples and two adapters."""
    spec = EvaluationSpec(
        title="Before and after",
        base=BaseModelRef("embedded", fingerprint="f" * 64),
        before=BASE,
        adapters=("run-b", "run-a"),
        hashes=("", "abc", "def"),
        scorer=SCORER,
        prompt_set="mixed",
        prompts=PROMPTS,
        samples=2,
        sampling=Sampling(0.7, 0.9, 32, 5, 1.1),
        system_prompt="Be kind.",
    )
    return dataclasses.replace(spec, **changes)


def make_rows(spec: EvaluationSpec) -> tuple[EvaluationRow, ...]:
    """Every row a spec asks for, answers made up; the last prompt is not covered after."""
    rows = []
    for place, prompt in enumerate(spec.prompts):
        for sample in range(spec.samples):
            for adapter in spec.adapters:
                before, after = (
                    f"= seeded answer {place} {sample}, you fool\nline 2",
                    f"Bless you, {prompt.id} {adapter}, 朋友",
                )
                shift = (place + sample + len(adapter)) % 7 / 100
                rows.append(
                    EvaluationRow(
                        adapter=adapter,
                        prompt_id=prompt.id,
                        sample=sample,
                        query=prompt.text,
                        response_before=before,
                        response_after=after,
                        before=TextScore(0.6 + shift, -1.25, (-1.25, 1.5), "toxic", 3),
                        after=NOT_COVERED
                        if place == len(spec.prompts) - 1
                        else TextScore(0.1 + shift, 0.1, (0.1, -2.0), "fine"),
                    )
                )
    return tuple(rows)


def make_evaluation(evaluation_id: str = "0123456789abcdef", **changes: Any) -> Evaluation:
    """A finished evaluation."""
    spec = make_spec()
    rows = make_rows(spec)
    made = Evaluation(evaluation_id, 1000.5, 1010.25, "done", "", False, len(rows), spec, rows)
    return dataclasses.replace(made, **changes)


def store_evaluation(settings: Settings, evaluation: Evaluation) -> None:
    """Put it where a server over ``settings`` finds it."""
    database = Database(settings.store_url)
    database.migrate()
    with database.write() as connection:
        store.add_evaluation(connection, evaluation, "")
    database.close()
