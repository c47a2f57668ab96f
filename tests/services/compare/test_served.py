"""What the services make of a server that answers (STUDIO_CHAT_URL), and what they keep where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Blend, Sampling
from studio.domain.data import Message
from studio.errors import ChatServerError
from studio.services import Services, build_services
from studio.services.compare.panes import PaneChat
from studio.services.rating.pair_batches import BatchForm, Question
from studio.services.words import explain
from tests.helpers.answer_server import AnswerServer, Fault, answer_server
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.compare import add_run
from tests.helpers.evaluation_services import House, form
from tests.helpers.pair_sources import stored
from tests.helpers.waiting import wait_until

ASK = (Message("user", "Hi there"),)
GREEDY = Sampling(temperature=0, max_new_tokens=8)
ASKED = "/v1/completions"


@pytest.fixture(scope="module")
def server() -> Iterator[AnswerServer]:
    with answer_server(EMBEDDED, "embedded") as made:
        yield made


@pytest.fixture
def served(settings: Settings, server: AnswerServer) -> Settings:
    server.asked.clear()
    server.faults.clear()
    return replace(settings, chat_url=server.url)


@pytest.fixture
def services(served: Settings) -> Iterator[Services]:
    made = build_services(served)
    add_run(made.runs, "run-1")
    add_run(made.runs, "run-2", seed=2)
    yield made
    made.sources.close()
    made.compare.close()
    made.rating.close()


def test_panes_tables_and_words_are_those_of_the_engine(
    services: Services, settings: Settings, server: AnswerServer
) -> None:
    chats = [
        PaneChat(BASE, ASK),
        PaneChat("run-1", ASK),
        PaneChat("run-1", ASK, strength=0.5),
        PaneChat("run-1", ASK, blend=Blend("run-2", 0.5)),
    ]
    engine = build_services(settings)
    engine.compare._engine._bases._dtype = "float32"  # type: ignore[attr-defined]
    got, wanted = ([u.text for u in list(one.compare.stream(chats, GREEDY))[-1]] for one in (services, engine))
    assert got == wanted
    assert len({*got}) > 2
    table, same = (list(one.compare.table(["Hi", "Ho"], (BASE, "run-1"), GREEDY))[-1] for one in (services, engine))
    assert table == same
    ours, theirs = (explain(one.compare, one.runs, "run-1", "Hi", "Yes.").sum for one in (services, engine))
    assert ours == pytest.approx(theirs, abs=1e-3)
    engine.compare.close()
    assert services.compare.base_check() is None
    assert services.compare.served
    assert not engine.compare.served
    services.leave()
    assert not server.loaded


def test_a_batch_of_pairs_keeps_what_is_answered_and_goes_on(services: Services, server: AnswerServer) -> None:
    wild = Sampling(temperature=1.8, max_new_tokens=8, seed=5)
    questions = tuple(Question(f"Question {number}?") for number in range(10))
    # eight questions are asked of both models together
    server.faults.append(Fault(ASKED, pieces=1, after=16))
    services.sources.start_batch(BatchForm(questions, BASE, "run-1", wild))
    wait_until(lambda: not services.sources.batch_status().busy)
    status = services.sources.batch_status()
    assert (status.state, status.done) == ("failed", 8)
    assert "broke off in the middle of an answer" in status.error
    kept = {pair.id for pair in stored(services)}
    assert len(kept) == status.added > 0
    services.sources.resume_batch()
    wait_until(lambda: not services.sources.batch_status().busy)
    assert services.sources.batch_status().state == "done"
    assert kept < {pair.id for pair in stored(services)}


def test_an_evaluation_keeps_its_rows_and_goes_on(served: Settings, server: AnswerServer) -> None:
    house = House(served)
    for number in (1, 2):
        add_run(house.runs, f"run-{number}", seed=number)
    # four prompts, two samples, three models
    server.faults.append(Fault(ASKED, 429, "", {"Retry-After": "60"}, after=20))
    made = house.evaluations.start(form("run-1", "run-2"))
    failed = house.done(made, "failed")
    assert "is busy; ask again in 60 seconds." in failed.message
    assert 0 < len(failed.rows) < 16
    house.evaluations.resume(made)
    assert {row.response_after for row in failed.rows} <= {row.response_after for row in house.done(made).rows}
    assert len(house.done(made).rows) == 16
    house.close()


def test_a_base_that_the_server_has_not_is_named(services: Services, server: AnswerServer) -> None:
    server.name, name = "another", server.name
    try:
        with pytest.raises(ChatServerError, match="has another and not embedded"):
            services.compare.warm_up()
    finally:
        server.name = name
    services.compare.warm_up()
