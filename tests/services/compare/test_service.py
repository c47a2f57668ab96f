"""Panes of base and runs, the before/after table, and what is said when they do not fit together."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, PaneUpdate, Sampling, base_pane
from studio.domain.data import Message
from studio.domain.runs import BaseModelRef, RunStatus
from studio.errors import ConflictError, InputError, ModelLoadError, NotAllowedError, NotFoundError
from studio.ml.models.loading import fingerprint
from studio.services.compare.panes import PaneChat, check_sampling
from studio.services.compare.service import CompareService
from studio.services.compare.table import TableProgress, TableRow, table_records
from studio.services.models.service import ModelService
from studio.services.recipes.queue import cores, mark_chat, training_threads
from studio.services.runs.status import write_status
from studio.services.runs.store import RunStore
from studio.services.strength import broken_noted
from tests.helpers.chat_models import make_adapter, make_base
from tests.helpers.runs import make_dataset, make_recipe
from tests.helpers.waiting import wait_until

GREEDY = Sampling(temperature=0, max_new_tokens=12)
ASK = (Message("user", "Hi there"),)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a random embedded base, and two adapters of it."""
    folder = tmp_path_factory.mktemp("compare")
    base = make_base(folder / "data" / "embedded", max_position_embeddings=100_000)
    for seed in (1, 2):
        make_adapter(folder / f"adapter-{seed}", base, seed)
    return folder


@pytest.fixture
def studio(settings: Settings, made: Path) -> Iterator[tuple[CompareService, RunStore, Settings]]:
    """A compare service with two finished runs, run-one older than run-two, and one without an adapter."""
    settings = replace(settings, data_dir=made / "data")
    runs = RunStore(settings)
    for number, name in enumerate(("run-one", "run-two", "run-three")):
        add_run(runs, name, made / f"adapter-{number + 1}", fingerprint(made / "data" / "embedded"), 100.0 + number)
    service = CompareService(settings, runs, ModelService(settings))
    yield service, runs, settings
    service.close()


def add_run(runs: RunStore, name: str, adapter: Path, trained_on: str, created: float, base: str = "embedded") -> Path:
    recipe = replace(make_recipe(name, "Be kind.", created), base=BaseModelRef(base, fingerprint=trained_on))
    folder = runs.create(recipe, make_dataset())
    write_status(folder, RunStatus("done", updated=time.time()))
    if adapter.is_dir():
        for file in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copy(adapter / file, folder / file)
    return folder


def test_panes_are_the_base_and_the_adapters_newest_first(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service, runs, _ = studio
    panes = service.panes()
    assert [pane.id for pane in panes] == [BASE, "run-two", "run-one"]
    assert (panes[1].ratio, panes[1].base, panes[1].system_prompt) == (0.5, "embedded", "Be kind.")
    assert panes[1].adapter_hash == runs.get("run-two").adapter_hash
    assert panes[1].adapter_hash in panes[1].label
    assert service.default_panes() == (BASE, "run-two")
    shutil.rmtree(runs.folder("run-two"))
    shutil.rmtree(runs.folder("run-one"))
    assert service.default_panes() == (BASE,)


def test_compare_opens_with_an_adapter_whose_base_is_here(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service, runs, _ = studio
    path = runs.folder("run-two") / "run.json"
    recipe = json.loads(path.read_text())
    recipe["base"] = {"id": "smollm2-135m"}
    path.write_text(json.dumps(recipe))
    assert [pane.id for pane in service.panes()] == [BASE, "run-two", "run-one"]
    assert service.default_panes() == (BASE, "run-one")


def test_panes_answer_their_own_conversations(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service = studio[0]
    told = (*ASK, Message("assistant", "Hello"), Message("user", "And now?"))
    chats = [PaneChat("run-one", told), PaneChat(BASE, ASK), PaneChat("run-two", ASK)]
    *_, final = service.stream(chats, GREEDY)
    assert all(update.done for update in final)
    assert final[1].verified
    assert len({update.text for update in final}) == 3
    check = service.base_check()
    assert check is not None
    assert check.ok
    *_, again = service.stream([PaneChat(BASE, ASK)], GREEDY)
    assert again[0].text == final[1].text


def test_a_table_pairs_before_and_after(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service = studio[0]
    prompts = [f"Question {i}?" for i in range(19)]
    sampling = Sampling(temperature=1, max_new_tokens=6, seed=3)
    seen = list(service.table(prompts, (BASE, "run-one"), sampling, system_prompt="Be kind."))
    assert [table.done for table in seen if not table.note] == [0, 8, 16, 19]
    assert seen[-1].finished
    assert [row.prompt for row in seen[-1].rows] == prompts
    assert [row.id for row in seen[-1].rows] == [str(i + 1) for i in range(19)]
    base_only = list(service.table(prompts[:3], (BASE,), sampling, system_prompt="Be kind."))[-1]
    # another number of panes, other batches: the same answers
    assert [row.answers[0] for row in base_only.rows] == [row.answers[0] for row in seen[-1].rows[:3]]
    assert seen[-1].rows[0].answers[0] != seen[-1].rows[0].answers[1]
    assert list(table_records(seen[-1])[0]) == [
        "id",
        "prompt",
        "response_from_original_model",
        "response_from_trained_model",
    ]


def test_a_table_of_one_adapter_at_several_strengths(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service = studio[0]
    panes = (BASE, "run-one", "run-one", "run-one")
    [*_, table] = service.table(["Hi", "Ho"], panes, GREEDY, strengths=(1, 0, 1, 0.5))
    for record in table_records(table):
        answers = list(record.values())[2:]
        assert answers[0] == answers[1]
        assert len(set(answers)) == 3
    assert list(record)[2:] == [
        "response_from_original_model",
        "response_from_trained_model_run-one_at_strength_0",
        "response_from_trained_model_run-one",
        "response_from_trained_model_run-one_at_strength_0.5",
    ]
    for wrong, sentence in (((1, 2), "2 values for 4 panes"), ((math.nan,), "strengths is nan"), ((1e9,), "-1 to 2")):
        with pytest.raises(InputError, match=sentence):
            list(service.table(["Hi"], panes, GREEDY, strengths=wrong))
    with pytest.raises(InputError, match="strength is 3; it must be a number from -1 to 2"):
        list(service.stream([PaneChat("run-one", ASK, strength=3)], GREEDY))


def test_an_adapters_answer_that_falls_apart_is_told() -> None:
    def note(text: str, **how: bool) -> str:
        return broken_noted(PaneUpdate(text, **{"done": True, **how})).note

    assert note("Yes, I support it.") == note("Yes, I", cut=True) == note("Yes, I", done=False) == note("") == ""
    assert note("Yes, I") == "This answer falls apart: it does not end in a sentence."
    assert note("so so so so so so", cut=True) == "This answer falls apart: it repeats itself."


def test_records_of_several_adapters_name_the_run() -> None:
    table = TableProgress(("a-1", BASE, "b-2"), 1, 1, (TableRow("1", "P", ("x", "y", "z")),), True)
    assert table_records(table) == [
        {
            "id": "1",
            "prompt": "P",
            "response_from_trained_model_a-1": "x",
            "response_from_original_model": "y",
            "response_from_trained_model_b-2": "z",
        }
    ]


def test_a_table_can_be_stopped_and_keeps_its_rows(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service = studio[0]
    cancel = threading.Event()
    seen = []
    for table in service.table([f"Question {i}?" for i in range(60)], (BASE, "run-one"), GREEDY, cancel=cancel):
        seen.append(table)
        if table.done:
            cancel.set()
    assert seen[-1].note == "Stopped."
    assert not seen[-1].finished
    assert 0 < seen[-1].done == len(seen[-1].rows) < 60


def test_a_chat_gets_its_turn_while_a_table_is_made(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service = studio[0]
    service.warm_up()
    table = service.table([f"Question {i}?" for i in range(64)], (BASE, "run-one"), GREEDY)
    assert [next(table).done, next(table).done] == [0, 8]
    *_, final = service.stream([PaneChat(BASE, ASK)], GREEDY)
    assert final[0].done
    assert list(table)[-1].finished


def test_what_does_not_fit_together_is_said(studio: tuple[CompareService, RunStore, Settings], made: Path) -> None:
    service, runs, _ = studio
    other = make_base(made / "other", seed=9)
    add_run(runs, "run-else", made / "adapter-1", fingerprint(other), 1.0, base=str(other))
    add_run(runs, "run-stale", made / "adapter-1", "0" * 64, 1.0)
    cases: list[tuple[list[PaneChat], type[Exception], str]] = [
        ([], InputError, "no pane"),
        ([PaneChat(BASE, ())], InputError, "no question"),
        ([PaneChat(BASE, (Message("user", "  "),))], InputError, "no question"),
        ([PaneChat("run-three", ASK)], ConflictError, "no adapter yet"),
        ([PaneChat("run-gone", ASK)], NotFoundError, "run-gone"),
        ([PaneChat("../up", ASK)], InputError, "run id"),
        ([PaneChat("run-stale", ASK)], ModelLoadError, "another state of embedded"),
    ]
    for chats, kind, text in cases:
        with pytest.raises(kind, match=text):
            list(service.stream(chats, GREEDY))
    *_, final = service.stream([PaneChat(BASE, ASK), PaneChat("run-else", ASK)], GREEDY)
    assert final[0].verified
    with pytest.raises(InputError, match="of different bases"):
        service.base_of(["run-one", "run-else"])
    for prompts in ([], ["a", " "]):
        with pytest.raises(InputError):
            list(service.table(prompts, (BASE,), GREEDY))


def test_panes_of_two_bases_answer_as_each_does_alone(
    studio: tuple[CompareService, RunStore, Settings], made: Path
) -> None:
    service, runs, _ = studio
    other = make_base(made / "beside", "qwen3", seed=11)
    make_adapter(made / "adapter-beside", other, 3)
    add_run(runs, "run-beside", made / "adapter-beside", fingerprint(other), 1.0, base=str(other))
    chats = [PaneChat(name, ASK) for name in (BASE, "run-beside", "run-one", base_pane(str(other)))]
    drawn = replace(GREEDY, temperature=1.0, seed=5)
    together = list(service.stream(chats, drawn))
    assert together[0][2].note == f"Answers after {other}."
    final = together[-1]
    *_, first = service.stream([PaneChat("run-one", ASK)], drawn)
    *_, second = service.stream(chats[1::2], drawn)
    # the plain base pane shows the base of the first adapter
    assert [final[at].text for at in (2, 1, 3)] == [first[0].text, second[0].text, second[1].text]
    assert final[0].text == final[3].text
    assert [update.verified for update in final] == [True, None, None, True]
    checks = [service.base_check(base) for base in ("embedded", str(other))]
    assert checks[1] is not None
    assert checks[1].ok
    assert service._engine.held() == ("embedded", str(other))
    assert {name: ref.id for name, ref in service.bases_of([BASE, "run-one", "run-beside"]).items()} == {
        BASE: "embedded", "run-one": "embedded", "run-beside": str(other),
    }  # fmt: skip
    panes = (base_pane("embedded"), base_pane(str(other)), "run-one")
    *_, table = service.table(["Hi there"], panes, GREEDY)
    *_, alone = service.table(["Hi there"], panes[1:2], GREEDY)
    assert table.rows[0].answers[1] == alone.rows[0].answers[0]
    assert list(table_records(table)[0])[2:] == [
        "response_from_original_model_embedded", f"response_from_original_model_{other}", "response_from_trained_model",
    ]  # fmt: skip


def test_who_may_not_load_gets_what_is_in_memory(studio: tuple[CompareService, RunStore, Settings], made: Path) -> None:
    service = studio[0]
    other = str(make_base(made / "closed", seed=12))
    asked = [PaneChat(base_pane(other), ASK)]
    service.voices.may_load = lambda: False
    for refused in (lambda: list(service.stream(asked, GREEDY)), lambda: service.base_of([asked[0].pane_id])):
        with pytest.raises(NotAllowedError, match="not in memory; loading another base needs the operator's password"):
            refused()
    *_, final = service.stream([PaneChat("run-one", ASK)], GREEDY)
    assert final[0].done
    assert service._engine.held() == ("embedded",)
    service.voices.may_load = lambda: True
    assert "takes about" in service.voices.room(other)[0]
    service.load(other)
    service.voices.may_load = lambda: False
    *_, final = service.stream(asked, GREEDY)
    assert final[0].done
    assert service.voices.room(other) == ("", True)


@pytest.mark.parametrize(
    "bad",
    [
        Sampling(temperature=-0.1),
        Sampling(temperature=float("nan")),
        Sampling(top_p=0),
        Sampling(top_p=1.1),
        Sampling(max_new_tokens=0),
        Sampling(seed=-1),
        Sampling(repetition_penalty=0),
    ],
)
def test_sampling_out_of_range_names_the_value(bad: Sampling) -> None:
    with pytest.raises(InputError, match="must be"):
        check_sampling(bad)


def test_a_hub_model_that_is_not_to_be_had_leaves_the_base_in_place(
    studio: tuple[CompareService, RunStore, Settings],
) -> None:
    service = studio[0]
    service.warm_up()
    with pytest.raises(ModelLoadError, match="cannot be reached"):
        service.load("Qwen/Qwen3-0.6B")
    assert service._engine.held() == ("embedded",)
    said: list[str] = []
    service.load("embedded", lambda _, text: said.append(text))
    assert not said


def test_another_base_can_be_loaded_and_chatted_with(
    studio: tuple[CompareService, RunStore, Settings], made: Path
) -> None:
    service = studio[0]
    other = make_base(made / "another", "qwen3", seed=4)
    said: list[str] = []
    service.load(str(other), lambda _, text: said.append(text))
    assert said[-1] == "Ready"
    *_, final = service.stream([PaneChat(BASE, ASK)], GREEDY, base=str(other))
    assert final[0].done
    *_, back = service.stream([PaneChat(BASE, ASK), PaneChat("run-one", ASK)], GREEDY)
    assert back[0].text != final[0].text


def test_a_deleted_run_is_forgotten(studio: tuple[CompareService, RunStore, Settings]) -> None:
    service, runs, _ = studio
    list(service.stream([PaneChat("run-one", ASK)], GREEDY))
    assert service._engine.adapters == ("run-one",)
    runs.delete("run-one")
    service.release("run-one")
    wait_until(lambda: not service._engine.adapters)
    with pytest.raises(NotFoundError):
        list(service.stream([PaneChat("run-one", ASK)], GREEDY))


def test_test_prompts_come_from_the_runs_own_data(studio: tuple[CompareService, RunStore, Settings]) -> None:
    assert studio[0].test_prompts("run-one") == ("Other?",)


def test_chat_shares_the_cores_with_a_training(studio: tuple[CompareService, RunStore, Settings]) -> None:
    import psutil

    service, runs, settings = studio
    assert service.threads() == settings.chat_threads == 1
    free = CompareService(replace(settings, chat_threads=0, train_threads=0), runs, ModelService(settings))
    assert free.threads() == cores()
    me = psutil.Process()
    busy = RunStatus("running", pid=me.pid, pid_started=me.create_time(), heartbeat=time.time())
    write_status(runs.folder("run-three"), busy)
    assert free.threads() == max(1, cores() - max(1, cores() // 2))


def test_a_training_gives_half_of_the_cores_back_while_somebody_chats(settings: Settings) -> None:
    free = replace(settings, train_threads=0)
    assert training_threads(free) == cores()
    mark_chat(settings.adapters_dir)
    assert training_threads(free) == max(1, cores() // 2)
    assert training_threads(replace(settings, train_threads=3)) == 3
    long_ago = time.time() - 60
    os.utime(settings.adapters_dir / ".chat", (long_ago, long_ago))
    assert training_threads(free) == cores()
