"""Who answers, the engine in this process or a server: the same tests for both."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.chat import BASE, Blend, PaneUpdate, Sampling
from studio.domain.data import Message
from studio.domain.words import MovedWords
from studio.errors import InputError, ModelLoadError
from studio.ml.chat.answerer import Answerer
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.request import GenRow
from studio.ml.chat.served import ServedAnswerer
from studio.ml.chat.server import ChatServer
from studio.ml.lora.blend import write_blend
from tests.helpers.answer_server import AnswerServer
from tests.helpers.chat_models import make_adapter, make_base, source
from tests.helpers.engine import ASK, GREEDY, LONG, last, peft_greedy, texts

SAMPLED = Sampling(temperature=1, top_p=0.9, max_new_tokens=24, seed=7)


@pytest.fixture(scope="module")
def server_of() -> Iterator[Callable[[Path], AnswerServer]]:
    """A server of each base asked for, until the module ends."""
    servers: dict[Path, AnswerServer] = {}

    def of(base: Path) -> AnswerServer:
        if base not in servers:
            servers[base] = AnswerServer(base, str(base))
        return servers[base]

    yield of
    for server in servers.values():
        server.close()


@pytest.fixture(params=["engine", "server"])
def answerer_of(
    request: pytest.FixtureRequest, server_of: Callable[[Path], AnswerServer]
) -> Iterator[Callable[[Path], Answerer]]:
    """Either of them, for a base."""
    made: list[Answerer] = []

    def of(base: Path) -> Answerer:
        # exact comparisons need float32, whatever this machine would choose
        engine = request.param == "engine"
        made.append(
            ChatEngine("cpu", lambda: 1, dtype="float32") if engine else ServedAnswerer(ChatServer(server_of(base).url))
        )
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture
def answerer(answerer_of: Callable[[Path], Answerer], base: Path) -> Answerer:
    return answerer_of(base)


# -- answers ----------------------------------------------------------------------------------------------------------


def test_greedy_panes_equal_separate_answers_of_peft(answerer: Answerer, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK, "run-1"), GenRow(LONG), GenRow(ASK), GenRow(LONG, "run-0"), GenRow(LONG, "run-1")]
    got = texts(answerer, source(base), rows, folders, GREEDY)
    for row, text in zip(rows, got, strict=True):
        assert text == peft_greedy(base, folders.get(row.adapter), row.messages, GREEDY.max_new_tokens)
    assert len(set(got)) > 3


def test_blends_adapters_and_the_base_answer_in_one_batch(
    answerer: Answerer, base: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    write_blend(folders["run-1"], folders["run-2"], 0.6, tmp_path)
    weights = (0.0, 0.6, 1.0)
    rows = [GenRow(ASK, "run-1", blend=Blend("run-2", weight)) for weight in weights]
    alone = [GenRow(ASK, "run-2"), GenRow(ASK, "saved"), GenRow(ASK, "run-1"), GenRow(ASK)]
    off = GenRow(ASK, "run-1", strength=0, blend=Blend("run-2", 0.6))
    got = texts(answerer, source(base), [*rows, *alone, off], {**folders, "saved": tmp_path}, GREEDY)
    assert got[:3] == got[3:6]
    assert len({*got[:3]}) == 3
    assert got[6] == got[7]


def test_an_answer_repeats_and_does_not_depend_on_its_neighbours(
    answerer: Answerer, base: Path, folders: dict[str, Path]
) -> None:
    one = source(base)
    alone = {name: texts(answerer, one, [GenRow(ASK, name)], folders, SAMPLED)[0] for name in (BASE, "run-0", "run-1")}
    together = texts(answerer, one, [GenRow(ASK, n) for n in ("run-1", BASE, "run-0", BASE)], folders, SAMPLED)
    assert together == [alone["run-1"], alone[BASE], alone["run-0"], alone[BASE]]
    assert texts(answerer, one, [GenRow(ASK)], folders, replace(SAMPLED, seed=8))[0] != alone[BASE]
    assert texts(answerer, one, [GenRow(ASK, seed=7)], folders, replace(SAMPLED, seed=8))[0] == alone[BASE]


def test_temperature_zero_is_greedy_whatever_the_seed(answerer: Answerer, base: Path) -> None:
    got = {texts(answerer, source(base), [GenRow(ASK, seed=seed)], {}, GREEDY)[0] for seed in range(3)}
    assert len(got) == 1


def test_a_prompt_too_long_is_refused_and_old_turns_are_left_out(answerer: Answerer, base: Path) -> None:
    with pytest.raises(InputError, match="tokens"):
        last(answerer.generate(source(base), [GenRow((Message("user", "x" * 400),))], {}, GREEDY))
    turns = [Message(role, "y" * 40) for _ in range(5) for role in ("user", "assistant")]
    chat = (Message("system", "Be kind."), *turns, Message("user", "Last"))  # type: ignore[arg-type]
    updates = list(answerer.generate(source(base), [GenRow(chat)], {}, GREEDY))
    shortened = (chat[0], *chat[-5:])
    assert updates[-1][0].text == texts(answerer, source(base), [GenRow(shortened)], {}, GREEDY)[0]
    assert any("oldest 6 messages" in update[0].note for update in updates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_adapters_of_other_kinds_are_refused(
    answerer: Answerer, base: Path, folders: dict[str, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    odd = shutil.copytree(folders["run-0"], tmp_path / "odd")
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelLoadError, match=message):
        last(answerer.generate(source(base), [GenRow(ASK, "odd")], {"odd": odd}, GREEDY))


def test_an_adapter_of_broken_numbers_is_an_error_and_not_an_answer(
    answerer: Answerer, base: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    nan = shutil.copytree(folders["run-0"], tmp_path / "nan")
    weights = load_file(nan / "adapter_model.safetensors")
    save_file({k: torch.full_like(v, float("nan")) for k, v in weights.items()}, nan / "adapter_model.safetensors")
    with pytest.raises(ModelLoadError, match="NaN"):
        last(answerer.generate(source(base), [GenRow(ASK), GenRow(ASK, "nan")], {"nan": nan}, GREEDY))
    assert texts(answerer, source(base), [GenRow(ASK)], {}, GREEDY)


def test_an_adapter_trained_further_is_read_anew(
    answerer: Answerer, base: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(folders["run-0"], tmp_path / "run")
    rows = [GenRow(ASK, "run")]
    before = texts(answerer, source(base), rows, {"run": run}, GREEDY)
    make_adapter(run, base, seed=9)
    after = texts(answerer, source(base), rows, {"run": run}, GREEDY)
    assert before != after == [peft_greedy(base, run, ASK, GREEDY.max_new_tokens)]


def test_updates_grow_and_say_why_they_ended(answerer: Answerer, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK), GenRow(ASK, "run-0")]
    seen = list(answerer.generate(source(base), rows, folders, replace(GREEDY, max_new_tokens=60)))
    for pane in range(2):
        counts = [updates[pane].tokens for updates in seen]
        assert counts == sorted(counts)
        final = seen[-1][pane]
        assert final.done
        assert final.tokens_per_second > 0
        assert final.note == ("Cut after 60 tokens." if final.tokens == 60 else "")


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with a long context and an end that greedy answers do not reach."""
    return make_base(tmp_path_factory.mktemp("long") / "base", max_position_embeddings=100_000)


def test_stop_keeps_what_was_said_and_works_on(
    answerer_of: Callable[[Path], Answerer], endless: Path, folders: dict[str, Path]
) -> None:
    one, answerer = source(endless), answerer_of(endless)
    cancel = threading.Event()
    seen: list[list[PaneUpdate]] = []
    for updates in answerer.generate(
        one, [GenRow(ASK), GenRow(ASK, "run-0")], folders, replace(GREEDY, max_new_tokens=20_000), cancel
    ):
        seen.append(updates)
        if updates[0].tokens:
            cancel.set()
    assert seen[-1][0].note == "Stopped."
    assert seen[-1][0].done
    assert 0 < seen[-1][0].tokens < 20_000
    assert texts(answerer, one, [GenRow(ASK)], {}, GREEDY)[0]


def test_closing_the_iterator_stops_the_work(answerer_of: Callable[[Path], Answerer], endless: Path) -> None:
    one, answerer = source(endless), answerer_of(endless)
    stream = answerer.generate(one, [GenRow(ASK)], {}, replace(GREEDY, max_new_tokens=20_000))
    while not next(stream)[0].tokens:
        pass
    stream.close()
    done = threading.Event()

    def ask() -> None:
        texts(answerer, one, [GenRow(ASK)], {}, GREEDY)
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    assert done.wait(60)


def test_many_threads_share_one(answerer: Answerer, base: Path, folders: dict[str, Path]) -> None:
    one = source(base)
    names = [BASE, "run-0", "run-1", "run-2"]
    wanted = {name: texts(answerer, one, [GenRow(ASK, name)], folders, GREEDY)[0] for name in names}
    wrong: list[str] = []

    def ask(offset: int) -> None:
        for turn in range(3):
            panes = [names[(offset + turn + i) % 4] for i in range(3)]
            got = texts(answerer, one, [GenRow(ASK, pane) for pane in panes], folders, GREEDY)
            wrong.extend(pane for pane, text in zip(panes, got, strict=True) if text != wanted[pane])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong


def test_rows_of_one_adapter_at_several_strengths(answerer: Answerer, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK, "run-1", strength=strength) for strength in (1.0, 0.0, 2.0, 0.5, -1.0)]
    got = texts(answerer, source(base), [*rows, GenRow(ASK)], folders, GREEDY)
    assert got[0] == peft_greedy(base, folders["run-1"], ASK, GREEDY.max_new_tokens)
    assert got[1] == got[5] == peft_greedy(base, None, ASK, GREEDY.max_new_tokens)
    assert len({*got}) == 5
    exact = ChatEngine("cpu", lambda: 1, dtype="float32")
    assert got[2:5] == texts(exact, source(base), rows[2:], folders, GREEDY)
    exact.close()


def test_an_adapter_of_odd_layers_and_scalings(answerer: Answerer, base: Path, tmp_path: Path) -> None:
    odd = make_adapter(tmp_path / "odd", base, 5, alpha_pattern={"k_proj": 32}, rank_pattern={"v_proj": 3})
    (got,) = texts(answerer, source(base), [GenRow(ASK, "odd")], {"odd": odd}, GREEDY)
    assert got == peft_greedy(base, odd, ASK, GREEDY.max_new_tokens)


def test_the_words_that_moved(answerer: Answerer, base: Path, folders: dict[str, Path]) -> None:
    exact = ChatEngine("cpu", lambda: 1, dtype="float32")
    for row in (GenRow(ASK, "run-1", strength=0.5), GenRow(ASK, "run-1", blend=Blend("run-2", 0.3))):
        got, wanted = (one.moved(source(base), row, folders, "好 Yes.") for one in (answerer, exact))
        assert [token.text for token in got] == [token.text for token in wanted] == ["好", " ", *"Yes.", "<|end|>"]
        for ours, theirs in zip(got, wanted, strict=True):
            assert (ours.base, ours.adapter) == pytest.approx((theirs.base, theirs.adapter), abs=1e-3)
            assert [text for text, _ in ours.likeliest] == [text for text, _ in theirs.likeliest]
        assert abs(MovedWords(got).sum) > 0.1
    exact.close()
    with pytest.raises(InputError, match="this model reads"):
        answerer.moved(source(base), GenRow(ASK, "run-1"), folders, "x" * 400)


def test_a_released_adapter_can_come_back(answerer: Answerer, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK, "run-1"), GenRow(ASK, "run-1", strength=0.5)]
    before = texts(answerer, source(base), rows, folders, GREEDY)
    answerer.release("run-1")
    assert texts(answerer, source(base), rows, folders, GREEDY) == before
    with pytest.raises(InputError, match="No folder"):
        last(answerer.generate(source(base), [GenRow(ASK, "unknown")], {}, GREEDY))
