"""A blend in Compare, saved as an adapter, and refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Blend, Sampling
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services, build_services
from studio.services.compare.panes import PaneChat
from studio.services.compare.table import table_records
from studio.services.words import moved_words
from tests.helpers.compare import add_run

ASK = (Message("user", "Hello there!"),)
GREEDY = Sampling(temperature=0, max_new_tokens=12)


@pytest.fixture
def studio(settings: Settings) -> Iterator[Services]:
    made = build_services(replace(settings, data_dir=Settings().data_dir))
    for seed in (1, 2):
        add_run(made.runs, f"run-{seed}", seed=seed, system="Be kind.")
    yield made
    made.compare.close()


def test_a_blend_is_saved_as_it_answers(studio: Services) -> None:
    blend = Blend("run-2", 0.7)
    run_id = studio.library.save_blend("run-1", 0.7, "run-2")
    run = studio.library.get(run_id)
    assert (run.title, run.recipe.system_prompt) == ("0.7 × Title of run-1 + 0.3 × Title of run-2", "Be kind.")
    assert "not trained" in run.note
    assert run.note in studio.library.card(run_id)
    chats = [PaneChat("run-1", ASK, blend=blend), PaneChat(run_id, ASK), PaneChat("run-1", ASK), PaneChat(BASE, ASK)]
    *_, final = studio.compare.stream(chats, GREEDY)
    assert final[0].text == final[1].text
    assert final[3].verified
    *_, table = studio.compare.table(["Hello there!"], [BASE, "run-1"], GREEDY, blends=[None, blend])
    assert table_records(table)[0]["response_from_trained_model_0.7 × run-1 + 0.3 × run-2"] == final[0].text
    live, saved = (
        moved_words(studio.compare, studio.runs, run, ASK, "Yes.", 1.0, one)
        for run, one in (("run-1", blend), (run_id, None))
    )
    assert live.reward is None
    assert [token.adapter for token in live.tokens] == pytest.approx(
        [token.adapter for token in saved.tokens], abs=1e-3
    )


@pytest.mark.parametrize(
    ("pane", "blend", "words"),
    [
        ("run-1", Blend("run-2", float("nan")), "weight is nan; it must be a number from 0 to 1"),
        ("run-1", Blend("run-2", 1e9), "weight is 1000000000.0"),
        ("run-1", Blend("run-1", 0.5), "Both adapters of the blend are run-1"),
        (BASE, Blend("run-1", 0.5), "The base has no adapter to blend"),
    ],
)
def test_what_is_no_blend_is_refused(studio: Services, pane: str, blend: Blend, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        list(studio.compare.stream([PaneChat(pane, ASK, blend=blend)], GREEDY))
    with pytest.raises(InputError, match="take the blend out"):
        studio.sources.from_chats(
            [PaneChat("run-1", (*ASK, Message("assistant", a)), blend=b) for a, b in (("Hi", None), ("Ho", blend))],
            "",
            GREEDY,
        )
