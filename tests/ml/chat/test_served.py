"""Answers from a server: what it is asked, what it keeps, and what is said where it fails."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from studio.domain.chat import Blend, PaneUpdate, Sampling
from studio.domain.data import Message
from studio.domain.runs import BaseModelRef
from studio.errors import ChatServerError
from studio.ml.chat import server as requests
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.chat.served import ServedAnswerer
from studio.ml.chat.server import ChatServer
from tests.helpers.answer_server import AnswerServer, Fault, answer_server
from tests.helpers.chat_models import make_base, source
from tests.helpers.engine import ASK, GREEDY, last, peft_greedy, texts
from tests.helpers.waiting import wait_until

KEY = "sk-hidden"
LOAD, UNLOAD, ASKED = "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/completions"


@pytest.fixture(scope="module")
def shared(base: Path) -> Iterator[AnswerServer]:
    with answer_server(base, str(base)) as made:
        yield made


@pytest.fixture
def server(shared: AnswerServer) -> AnswerServer:
    shared.asked.clear()
    shared.faults.clear()
    return shared


@pytest.fixture
def answerer(server: AnswerServer) -> Iterator[ServedAnswerer]:
    made = ServedAnswerer(ChatServer(server.url, KEY))
    yield made
    made.close()


def fails(answerer: ServedAnswerer, base: Path, row: GenRow, folders: dict[str, Path] | None = None) -> str:
    """The sentence with which one answer fails."""
    with pytest.raises(ChatServerError) as caught:
        last(answerer.generate(source(base), [row], folders or {}, GREEDY))
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_a_request_says_all_that_decides_an_answer(answerer: ServedAnswerer, server: AnswerServer, base: Path) -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=5, seed=3, repetition_penalty=1.1)
    last(answerer.generate(source(base), [GenRow(ASK), GenRow(ASK, seed=4)], {}, sampling))
    bodies = [asked.body for asked in server.paths(ASKED)]
    assert sorted(body.pop("seed") for body in bodies) == [3, 4]
    # what a server would else take from the base's generation_config.json is named
    wanted = {"temperature": 0.7, "top_p": 0.9, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 5}
    wanted["presence_penalty"] = 2.0  # of the answer alone, as the engine's repetition penalty is
    for body in bodies:
        assert wanted.items() <= body.items()
        assert body["model"].startswith("base-")
        assert body["stop_token_ids"] == [1]
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}


def test_a_base_without_a_template_is_asked_in_the_studios_frame(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    with answer_server(base, str(base)) as server:
        answerer = ServedAnswerer(ChatServer(server.url))
        texts(answerer, source(base), [GenRow(ASK)], {}, GREEDY)
        body = server.paths(ASKED)[0].body
        answerer.close()
    assert server._tokenizer.decode(body["prompt"]) == "Question: Hi there\nAnswer:"
    assert body["stop"] == ["\nQuestion:"]


def test_the_contexts_end_is_the_servers(base: Path) -> None:
    with answer_server(base, str(base), max_model_len=64) as server:
        answerer = ServedAnswerer(ChatServer(server.url))
        turns = [Message(role, "y" * 20) for _ in range(3) for role in ("user", "assistant")]
        updates = last(answerer.generate(source(base), [GenRow((*turns, *ASK))], {}, GREEDY))
        answerer.close()
        body = server.paths(ASKED)[0].body
    assert "oldest" in updates[0].note or updates[0].cut
    assert len(body["prompt"]) + body["max_tokens"] <= 64


@pytest.mark.parametrize("served", ["smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_a_known_base_is_served_by_its_name_here_or_on_the_hub(base: Path, served: str) -> None:
    known = BaseSource(BaseModelRef("smollm2-135m"), base)
    with answer_server(base, served) as server:
        answerer = ServedAnswerer(ChatServer(server.url))
        assert texts(answerer, known, [GenRow(ASK)], {}, GREEDY)
        with pytest.raises(ChatServerError, match=f"has {served} and not {base}; .* --served-model-name"):
            answerer.load(source(base))
        answerer.close()


@pytest.mark.parametrize(("stop", "tokens"), [(None, 1), (1, 1), ("\nQuestion:", 2)])
def test_the_token_that_ends_an_answer_is_none_of_it(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, stop: object, tokens: int
) -> None:
    pieces = [
        {"choices": [{"text": "Yes"}], "usage": {"completion_tokens": 1}},
        {"choices": [{"text": "", "finish_reason": "stop", "stop_reason": stop}], "usage": {"completion_tokens": 2}},
    ]
    server.faults.append(Fault(ASKED, 200, "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)))
    (update,) = last(answerer.generate(source(base), [GenRow(ASK)], {}, GREEDY))
    assert (update.text, update.tokens, update.done, update.cut, update.note) == ("Yes", tokens, True, False, "")


# -- adapters ---------------------------------------------------------------------------------------------------------


def test_adapters_are_loaded_once_and_unloaded_at_the_end(
    server: AnswerServer, base: Path, folders: dict[str, Path]
) -> None:
    answerer = ServedAnswerer(ChatServer(server.url))
    rows = [GenRow(ASK, "run-0"), GenRow(ASK, "run-1", strength=0.5), GenRow(ASK, "run-0", blend=Blend("run-1", 0.5))]
    for _ in range(2):
        texts(answerer, source(base), [*rows, GenRow(ASK, "run-2", strength=0.0)], folders, GREEDY)
    paths = [Path(asked.body["lora_path"]) for asked in server.paths(LOAD)]
    copies = [path for path in paths if path != folders["run-0"].resolve()]
    assert (len(paths), len(copies)) == (4, 3)
    assert all(copy.stat().st_mode & 0o555 == 0o555 for copy in copies)
    answerer.release("run-1")  # its blend goes as well
    wait_until(lambda: len(server.loaded) == 2)  # run-0, and the base
    wait_until(lambda: sum(copy.exists() for copy in copies) == 1)
    answerer.close()
    assert not server.loaded
    assert not any(copy.exists() for copy in copies)
    assert folders["run-0"].is_dir()


def test_adapters_unused_for_longest_leave_first(
    answerer: ServedAnswerer,
    server: AnswerServer,
    base: Path,
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("studio.ml.chat.served_adapters.MAX_ADAPTERS", 3)
    short = replace(GREEDY, max_new_tokens=1)
    strengths = [1 + number / 100 for number in range(4)]
    for strength in strengths:
        texts(answerer, source(base), [GenRow(ASK, "run-0", strength=strength)], folders, short)
    assert len(server.loaded) == 3
    texts(answerer, source(base), [GenRow(ASK, "run-0", strength=s) for s in strengths[1:]], folders, short)
    assert len(server.paths(LOAD)) == 4


def test_a_server_started_anew_is_given_its_adapters_again(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, folders: dict[str, Path]
) -> None:
    rows = [GenRow(ASK, "run-0"), GenRow(ASK, "run-1", strength=0.5), GenRow(ASK)]
    before = texts(answerer, source(base), rows, folders, GREEDY)
    server.restart()
    assert texts(answerer, source(base), rows, folders, GREEDY) == before


def test_the_base_is_asked_through_an_adapter_of_zeros_where_there_are_adapters(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, folders: dict[str, Path]
) -> None:
    wanted = peft_greedy(base, None, ASK, GREEDY.max_new_tokens)
    rows = [GenRow(ASK), GenRow(ASK, "run-0"), GenRow(ASK)]
    got = texts(answerer, source(base), rows, folders, GREEDY)
    assert got[0] == got[2] == wanted != got[1]


def test_a_server_without_adapters_answers_for_the_base(base: Path, folders: dict[str, Path]) -> None:
    with answer_server(base, str(base)) as server:
        answerer = ServedAnswerer(ChatServer(server.url, KEY))
        server.faults.append(Fault(LOAD, 404, "Not Found"))
        for _ in range(2):
            assert texts(answerer, source(base), [GenRow(ASK)], {}, GREEDY)
        assert len(server.paths(LOAD)) == 1
        assert {asked.body["model"] for asked in server.paths(ASKED)} == {str(base)}
        server.faults.append(Fault(LOAD, 404, "Not Found"))
        assert "--enable-lora" in fails(answerer, base, GenRow(ASK, "run-0"), folders)
        answerer.close()
        assert not server.paths(UNLOAD)


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(ASKED, 401, '{"error": "Unauthorized"}'), "refuses the key; STUDIO_CHAT_KEY must be its own."),
        (Fault(ASKED, 429, "", {"Retry-After": "120"}), "is busy; ask again in 120 seconds."),
        (Fault(ASKED, 500, f'{{"error": {{"message": "Out of\\nmemory {KEY}"}}}}'), "failed (500): Out of memory …"),
        (Fault(ASKED, 400, '{"detail": "No\\nlogits"}'), "refuses (400): No logits"),
        (Fault(ASKED, 404, ""), "refuses (404): it does not say why"),
        (Fault(ASKED, 200, 'data: {"choices": [{"te\n\n'), "gave something else than an answer"),
        (Fault(ASKED, 200, 'data: {"choices": 3}\n\n'), "gave something else than an answer"),
        (
            Fault(ASKED, 200, 'data: {"error": {"message": "Engine died"}}\n\n'),
            "in the middle of an answer (400): Engine",
        ),
        (Fault(ASKED, 200, "<html>Welcome</html>"), "broke off in the middle of an answer"),
        (Fault(ASKED, pieces=2), "broke off in the middle of an answer; ask again."),
        (Fault(ASKED, 302, "", {"Location": "/v1/models"}), "refuses (302)"),
        (Fault("/v1/models", 200, "<html>Welcome</html>"), "gave something else than an answer"),
        (Fault("/v1/models", 200, '{"data": ["x"]}'), "gave something else than an answer"),
        (Fault("/v1/models", 404, "Not Found"), "gave something else than an answer"),
    ],
    ids=lambda value: f"{value.path[4:]}-{value.status}" if isinstance(value, Fault) else "",
)
def test_what_goes_wrong_is_one_sentence_and_the_next_question_is_answered(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, fault: Fault, said: str
) -> None:
    server.faults += [fault] * (2 if fault.status == 404 and fault.path == ASKED else 1)
    assert said in fails(answerer, base, GenRow(ASK))
    assert texts(answerer, source(base), [GenRow(ASK)], {}, GREEDY)[0]


def test_a_server_that_is_down_or_comes_back(base: Path, folders: dict[str, Path]) -> None:
    with answer_server(base, str(base)) as server:
        answerer = ServedAnswerer(ChatServer(server.url, KEY))
        texts(answerer, source(base), [GenRow(ASK, "run-0", strength=0.5)], folders, GREEDY)
        (copy,) = (Path(path) for path in server.loaded.values())
    assert "cannot be reached; start it, then ask again." in fails(answerer, base, GenRow(ASK))
    with pytest.raises(ChatServerError, match="cannot be reached"):
        answerer.moved(source(base), GenRow(ASK, "run-0"), folders, "Yes.")
    answerer.close()
    assert not copy.exists()


def test_a_busy_server_is_asked_again_when_it_says(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults += [Fault(ASKED, 429, "", {"Retry-After": "1"}), Fault(ASKED, 503)]
    seen = list(answerer.generate(source(base), [GenRow(ASK)], {}, GREEDY))
    assert any(update.note == "The server is busy; asking again in 1 s." for (update,) in seen)
    assert seen[-1][0].text
    assert len(server.paths(ASKED)) == 3
    monkeypatch.setattr(requests, "TRIES", 1)
    server.faults += [Fault(ASKED, 429, "", {"Retry-After": "1"})]
    assert "is busy; ask again in 1 second." in fails(answerer, base, GenRow(ASK))


def test_a_silent_server_is_given_up(base: Path, server: AnswerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "SILENT_S", 1.0)
    answerer = ServedAnswerer(ChatServer(server.url, KEY))
    server.pause = threading.Event()
    try:
        assert "said nothing for 1 seconds" in fails(answerer, base, GenRow(ASK))
    finally:
        server.pause.set()
        server.pause = None
    assert texts(answerer, source(base), [GenRow(ASK)], {}, GREEDY)[0]
    answerer.close()


def test_an_answer_that_is_cut_off_shows_what_was_said(
    answerer: ServedAnswerer, server: AnswerServer, base: Path
) -> None:
    whole = texts(answerer, source(base), [GenRow(ASK)], {}, GREEDY)[0]
    server.faults.append(Fault(ASKED, pieces=4))
    seen: list[list[PaneUpdate]] = []
    with pytest.raises(ChatServerError, match="broke off"):
        seen.extend(updates for updates in answerer.generate(source(base), [GenRow(ASK)], {}, GREEDY))
    assert seen[-1][0].tokens == 4
    assert whole.startswith(seen[-1][0].text)
    assert not seen[-1][0].done


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(LOAD, 400, json.dumps({"error": {"message": "LoRA rank 32 is greater than max_lora_rank 16."}})), "rank 32"),
        (Fault(LOAD, 404, "Not Found"), "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        (Fault(LOAD, 401, ""), "refuses the key"),
    ],
    ids=["rank", "not at run time", "key"],
)  # fmt: skip
def test_a_refused_adapter_leaves_nothing_behind(
    answerer: ServedAnswerer,
    server: AnswerServer,
    base: Path,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    said: str,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    row = GenRow(ASK, "run-0", strength=0.5)
    server.faults.append(fault)
    assert said in fails(answerer, base, row, folders)
    assert not list(tmp_path.iterdir())
    assert texts(answerer, source(base), [row, GenRow(ASK)], folders, GREEDY)


def test_log_probabilities_that_a_server_does_not_give(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, folders: dict[str, Path]
) -> None:
    for body in ('{"choices": [{"text": "x"}]}', '{"choices": [{"prompt_logprobs": [null, {"5": {"logprob": -1}}]}]}'):
        server.faults.append(Fault(ASKED, 200, body))
        with pytest.raises(ChatServerError, match="the words that moved cannot be shown"):
            answerer.moved(source(base), GenRow(ASK, "run-0"), folders, "Yes.")


def test_no_key_is_logged(
    answerer: ServedAnswerer, server: AnswerServer, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.faults.append(Fault(ASKED, 500, f"bad {KEY}"))
    fails(answerer, base, GenRow(ASK))
    assert "said 500" in caplog.text
    assert KEY not in caplog.text


def test_a_key_that_is_wanted_is_named(server: AnswerServer, base: Path) -> None:
    answerer = ServedAnswerer(ChatServer(server.url))
    server.faults.append(Fault("/v1/models", 401, ""))
    assert "wants a key; set STUDIO_CHAT_KEY." in fails(answerer, base, GenRow(ASK))
    answerer.close()
