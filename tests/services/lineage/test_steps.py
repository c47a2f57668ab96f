"""``RUN@STEP``: an adapter at a step of its training answers beside its end, also before there is one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Blend, Sampling
from studio.domain.data import Message
from studio.errors import ConflictError, InputError, NotFoundError, StudioError
from studio.ml.lora.snapshots import step_folder
from studio.services import Services
from studio.services.compare.panes import PaneChat
from studio.services.files.leftovers import OLD_S, clear_leftovers
from studio.services.words import explain
from tests.helpers.compare import PROMPTS, add_run, add_steps
from tests.helpers.services import opened

GREEDY = Sampling(temperature=0, max_new_tokens=12)
ASK = (Message("user", PROMPTS[0]),)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


def said(services: Services, *panes: str) -> list[str]:
    *_, last = services.compare.stream([PaneChat(pane, ASK) for pane in panes], GREEDY)
    return [update.text for update in last]


def test_a_step_answers_beside_the_end_and_before_there_is_one(services: Services) -> None:
    run_id = add_run(services.runs, "run-1")
    folder = add_steps(services.runs, run_id, 3, 6)
    answers = said(services, BASE, run_id, f"{run_id}@3", f"{run_id}@6")
    assert len(set(answers)) == 4
    assert (step_folder(folder, 3) / "used").is_file()
    mixed = PaneChat(f"{run_id}@3", ASK, blend=Blend(run_id, 0.0))
    *_, [blended] = services.compare.stream([mixed], GREEDY)
    assert blended.text == answers[1]
    assert explain(services.compare, services.runs, f"{run_id}@3", PROMPTS[0], "Yes.").reward is not None
    hashes = [services.compare.adapter_hash(name) for name in (run_id, f"{run_id}@3", f"{run_id}@6", f"{run_id}@9")]
    assert len(set(hashes)) == 4
    assert hashes[0] == services.runs.get(run_id).adapter_hash
    assert hashes[3] == ""

    (folder / "adapter_model.safetensors").unlink()  # as while it trains
    assert said(services, f"{run_id}@3") == [answers[2]]
    with pytest.raises(
        ConflictError, match=r"has no adapter yet; it is queued\. Its steps can be asked, such as run-1@6"
    ):
        said(services, run_id)
    assert [choice.id for choice in services.compare.unfinished()] == [run_id, f"{run_id}@vector"]
    assert run_id not in [choice.id for choice in services.compare.panes()]

    services.compare.release(run_id)
    said(services, BASE)  # after what was asked before
    assert services.compare._engine.adapters == ()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("run-1@4", NotFoundError, "keeps no snapshot of step 4; it keeps those of step 3"),
        ("run-1@x", InputError, "'run-1@x' names no step"),
        ("run-1@-1", InputError, "names no step"),
        ("run-1@../../x", InputError, "names no step"),
        ("../x@3", InputError, "not a run id"),
        ("run-9@3", NotFoundError, "no run run-9"),
    ],
)
def test_what_is_no_step_is_named(services: Services, name: str, error: type[StudioError], words: str) -> None:
    add_run(services.runs, "run-1")
    add_steps(services.runs, "run-1", 3)
    with pytest.raises(error, match=words):
        said(services, name)


def test_steps_are_counted_stay_here_and_are_not_rated(services: Services, settings: Settings) -> None:
    run_id = add_run(services.runs, "run-1")
    before = services.runs.get(run_id).size_bytes
    folder = add_steps(services.runs, run_id, 3)
    size = sum(path.stat().st_size for path in step_folder(folder, 3).iterdir())
    assert services.runs.get(run_id).size_bytes == before + size
    with zipfile.ZipFile(services.library.zip(run_id)) as packed:
        assert not [name for name in packed.namelist() if "steps" in name]
    told = (*ASK, Message("assistant", "Yes."))
    with pytest.raises(InputError, match="answers as run-1@3, and votes are counted for adapters as they were trained"):
        services.sources.from_chats([PaneChat(BASE, told), PaneChat(f"{run_id}@3", told)], "", GREEDY)
    half = folder / "steps" / ".new-4"  # its writer was killed
    half.mkdir()
    os.utime(half, (0, half.stat().st_mtime - OLD_S - 1))
    clear_leftovers(settings)
    assert not half.exists()
    services.library.delete(run_id)
    assert services.library.binned()[0].size_bytes >= size
    services.library.restore(run_id)
    assert said(services, f"{run_id}@3")
