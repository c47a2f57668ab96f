"""One base, many adapters: mixed batches against PEFT's own arithmetic, streaming, stopping, seeds, memory, identity."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_helpers import make_adapter, make_base, make_tokenizer, source
from conftest import wait_until

from studio.domain import BASE, Message, PaneUpdate, Sampling
from studio.errors import InputError, ModelLoadError
from studio.ml.decoding import RowSampler, RowStreamer, StopRows
from studio.ml.engine import MAX_ADAPTERS, BaseSource, ChatEngine, GenRow
from studio.ml.loading import load_model, load_tokenizer, render_chat
from studio.ml.mixed_lora import RowGroup, attached, read_adapter

ASK = (Message("user", "Hi there"),)
LONG = (Message("user", "A much longer question, so that rows are padded"),)
GREEDY = Sampling(temperature=0, max_new_tokens=24)
SAMPLED = Sampling(temperature=1, top_p=0.9, max_new_tokens=24, seed=7)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("engine") / "base")


@pytest.fixture(scope="module")
def folders(base: Path) -> dict[str, Path]:
    return {f"run-{i}": make_adapter(base.parent / f"run-{i}", base, seed=i, r=2 + i) for i in range(3)}


@pytest.fixture
def engine() -> Iterator[ChatEngine]:
    # exact comparisons need float32, whatever this machine would choose
    made = ChatEngine("cpu", lambda: 1, dtype="float32")
    yield made
    made.close()


def last(updates: Iterator[list[PaneUpdate]]) -> list[PaneUpdate]:
    return list(updates)[-1]


def texts(engine: ChatEngine, base: BaseSource, rows: list[GenRow], folders: Any, sampling: Sampling) -> list[str]:
    return [update.text for update in last(engine.generate(base, rows, folders, sampling))]


def peft_greedy(base: Path, adapter: Path | None, messages: tuple[Message, ...], tokens: int) -> str:
    """The answer of plain transformers and PEFT, no code of ours but the chat's text."""
    from peft import PeftModel

    model: Any = load_model(base, device="cpu", dtype="float32")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = load_tokenizer(base)
    inputs = tokenizer(render_chat(tokenizer, messages), add_special_tokens=False, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(out, skip_special_tokens=True)).rstrip("\ufffd").strip()


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_mixed_rows_equal_peft(tmp_path: Path, kind: str) -> None:
    import torch
    from peft import PeftModel

    base = make_base(tmp_path / "base", kind)
    rslora = make_adapter(tmp_path / "b", base, seed=2, r=8, use_rslora=True, target_modules=["q_proj", "down_proj"])
    patterned = make_adapter(tmp_path / "a", base, seed=1, alpha_pattern={"k_proj": 32}, rank_pattern={"v_proj": 3})
    ids = torch.randint(5, 264, (4, 9))
    model = load_model(base, device="cpu", dtype="float32")
    wanted = [model(ids[:1]).logits]
    for path, rows in ((patterned, slice(1, 3)), (rslora, slice(3, 4))):
        tuned = PeftModel.from_pretrained(load_model(base, device="cpu", dtype="float32"), path).eval()
        wanted.append(tuned(ids[rows]).logits)
    groups = [
        RowGroup(read_adapter("a", patterned, model), 1, 3),
        RowGroup(read_adapter("b", rslora, model), 3, 4),
    ]
    with torch.inference_mode(), attached(model, groups):
        got = model(ids).logits
    assert torch.allclose(got, torch.cat(wanted), atol=1e-4)
    assert not torch.allclose(got[1:2], model(ids[1:2]).logits, atol=1e-2)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_nothing_stays_attached_when_the_forward_fails(base: Path, folders: dict[str, Path]) -> None:
    model = load_model(base, device="cpu", dtype="float32")
    with (
        pytest.raises(RuntimeError),
        attached(model, [RowGroup(read_adapter("a", folders["run-0"], model), 0, 1)]),
    ):
        raise RuntimeError
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_greedy_panes_equal_separate_answers_of_peft(engine: ChatEngine, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK, "run-1"), GenRow(LONG), GenRow(ASK), GenRow(LONG, "run-0"), GenRow(LONG, "run-1")]
    got = texts(engine, source(base), rows, folders, GREEDY)
    for row, text in zip(rows, got, strict=True):
        assert text == peft_greedy(base, folders.get(row.adapter), row.messages, GREEDY.max_new_tokens)
    assert len(set(got)) > 3


def test_nf4_base_takes_adapters(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", hidden_size=64)
    adapter = make_adapter(tmp_path / "run", base)
    engine = ChatEngine("cpu", lambda: 1)
    rows = [GenRow(ASK), GenRow(ASK, "run"), GenRow(ASK, "run")]
    a, b, c = last(engine.generate(source(base, load_in_4bit=True), rows, {"run": adapter}, GREEDY))
    assert b.text == c.text != a.text
    assert a.verified
    engine.close()


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_an_answer_repeats_and_does_not_depend_on_its_neighbours(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    one = source(base)
    alone = {name: texts(engine, one, [GenRow(ASK, name)], folders, SAMPLED)[0] for name in (BASE, "run-0", "run-1")}
    together = texts(engine, one, [GenRow(ASK, n) for n in ("run-1", BASE, "run-0", BASE)], folders, SAMPLED)
    assert together == [alone["run-1"], alone[BASE], alone["run-0"], alone[BASE]]
    assert texts(engine, one, [GenRow(ASK)], folders, replace(SAMPLED, seed=8))[0] != alone[BASE]
    assert texts(engine, one, [GenRow(ASK, seed=7)], folders, replace(SAMPLED, seed=8))[0] == alone[BASE]


def test_sampler_draws_from_the_filtered_distribution() -> None:
    import torch

    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 8000
    sampler = RowSampler(Sampling(temperature=1, top_p=0.9), range(rows))
    drawn = sampler(torch.zeros(rows, 1), probabilities.log().expand(rows, -1)).argmax(dim=1)
    share = torch.bincount(drawn, minlength=4) / rows
    # 0.5 + 0.3 + 0.15 is the smallest sum that reaches 0.9
    assert torch.allclose(share, torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95, atol=0.02)


def test_top_p_equals_that_of_transformers() -> None:
    import torch
    from transformers import TopPLogitsWarper

    from studio.ml.decoding import _keep_top_p

    torch.manual_seed(0)
    for size, scale in ((64, 3.0), (3000, 0.1), (3000, 4.0)):
        logits = torch.randn(5, size) * scale
        for top_p in (0.05, 0.5, 0.95, 0.999):
            wanted = TopPLogitsWarper(top_p)(torch.zeros(5, 1), logits)
            assert torch.equal(_keep_top_p(logits, top_p).isinf(), wanted.isinf())


def test_temperature_zero_is_greedy_whatever_the_seed(engine: ChatEngine, base: Path) -> None:
    got = {texts(engine, source(base), [GenRow(ASK, seed=seed)], {}, GREEDY)[0] for seed in range(3)}
    assert len(got) == 1


def test_defaults_of_the_model_do_not_leak_in(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**config, "repetition_penalty": 1.9, "top_k": 1}))
    for sampling in (GREEDY, SAMPLED):
        assert texts(engine, source(other), [GenRow(ASK)], {}, sampling) == texts(
            engine, source(base), [GenRow(ASK)], {}, sampling
        )
    assert texts(engine, source(base), [GenRow(ASK)], {}, replace(GREEDY, repetition_penalty=1.9)) != texts(
        engine, source(base), [GenRow(ASK)], {}, GREEDY
    )


# -- streaming --------------------------------------------------------------------------------------------------------


def test_no_half_character_is_ever_shown(tmp_path: Path) -> None:
    import torch

    make_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    sentence = "動漫改編，真人🎬好 ok"
    seen: list[str] = []
    ended = [False, False]
    streamer = RowStreamer(tokenizer, ended, {1}, lambda: seen.append(streamer.text(0)))
    ids = tokenizer(sentence, add_special_tokens=False)["input_ids"]
    streamer.put(torch.zeros(2, 5, dtype=torch.long))
    for token in ids:
        streamer._last = 0.0
        streamer.put(torch.tensor([token, 1]))
    assert all("\ufffd" not in text and sentence.startswith(text) for text in seen)
    assert seen[-1] == sentence
    assert ended == [False, True]
    assert streamer.tokens[1] == []


def test_rows_stream_together_and_end_each_at_its_own_end(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    class Scripted:
        """Ends row 0 after 2 tokens, row 1 never."""

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            scores[0, 1] = 1e9 if input_ids.shape[1] >= self.start + 2 else -1e9
            scores[1, 1] = -1e9
            return scores

    import torch

    model = load_model(base, device="cpu", dtype="float32")
    scripted = Scripted()
    scripted.start = 3
    ended = [False, False]
    streamer = RowStreamer(load_tokenizer(base), ended, {1}, lambda: None)
    sampler = RowSampler(GREEDY, [0, 0])
    out = model.generate(
        torch.randint(5, 264, (2, 3)),
        max_new_tokens=6,
        do_sample=False,
        logits_processor=[scripted, sampler],
        stopping_criteria=[StopRows(sampler, ended, [])],
        streamer=streamer,
    )
    assert out.shape == (2, 9)
    assert [len(row) for row in streamer.tokens] == [2, 6]
    assert ended == [True, False]


def test_updates_grow_and_say_why_they_ended(engine: ChatEngine, base: Path, folders: dict[str, Path]) -> None:
    rows = [GenRow(ASK), GenRow(ASK, "run-0")]
    seen = list(engine.generate(source(base), rows, folders, replace(GREEDY, max_new_tokens=60)))
    for pane in range(2):
        counts = [updates[pane].tokens for updates in seen]
        assert counts == sorted(counts)
        final = seen[-1][pane]
        assert final.done
        assert final.tokens_per_second > 0
        assert final.note == ("Cut after 60 tokens." if final.tokens == 60 else "")
    assert seen[-1][0].verified is True
    assert seen[-1][1].verified is None


def test_a_tokenizer_without_template_ends_at_the_next_turn(tmp_path: Path) -> None:
    import torch

    make_tokenizer(tmp_path, None)
    tokenizer = load_tokenizer(tmp_path)
    ended = [False]
    streamer = RowStreamer(tokenizer, ended, {1}, lambda: None, "\n###")
    streamer.put(torch.zeros(1, 5, dtype=torch.long))
    for token in tokenizer("Yes.\n\n### User:\nMore", add_special_tokens=False)["input_ids"]:
        streamer._last = 0.0
        streamer.put(torch.tensor([token]))
    assert ended == [True]
    assert streamer.text(0) == "Yes."


# -- stopping ---------------------------------------------------------------------------------------------------------


def endless(base: Path, folder: Path) -> Path:
    """The base with a long context and an end that greedy answers do not reach."""
    made = make_base(folder, max_position_embeddings=100_000)
    return made


def test_stop_keeps_what_was_said_and_the_engine_works_on(
    engine: ChatEngine, tmp_path: Path, folders: dict[str, Path], base: Path
) -> None:
    one = source(endless(base, tmp_path / "long"))
    cancel = threading.Event()
    seen: list[list[PaneUpdate]] = []
    for updates in engine.generate(
        one, [GenRow(ASK), GenRow(ASK, "run-0")], folders, replace(GREEDY, max_new_tokens=20_000), cancel
    ):
        seen.append(updates)
        if updates[0].tokens:
            cancel.set()
    assert seen[-1][0].note == "Stopped."
    assert seen[-1][0].done
    assert 0 < seen[-1][0].tokens < 20_000
    assert texts(engine, one, [GenRow(ASK)], {}, GREEDY)[0]


def test_closing_the_iterator_stops_the_work(engine: ChatEngine, tmp_path: Path, base: Path) -> None:
    one = source(endless(base, tmp_path / "long"))
    stream = engine.generate(one, [GenRow(ASK)], {}, replace(GREEDY, max_new_tokens=20_000))
    while not next(stream)[0].tokens:
        pass
    stream.close()
    done = threading.Event()

    def ask() -> None:
        texts(engine, one, [GenRow(ASK)], {}, GREEDY)
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    assert done.wait(60)


def test_many_threads_share_the_engine(engine: ChatEngine, base: Path, folders: dict[str, Path]) -> None:
    one = source(base)
    names = [BASE, "run-0", "run-1", "run-2"]
    wanted = {name: texts(engine, one, [GenRow(ASK, name)], folders, GREEDY)[0] for name in names}
    wrong: list[str] = []

    def ask(offset: int) -> None:
        for turn in range(3):
            panes = [names[(offset + turn + i) % 4] for i in range(3)]
            got = texts(engine, one, [GenRow(ASK, pane) for pane in panes], folders, GREEDY)
            wrong.extend(pane for pane, text in zip(panes, got, strict=True) if text != wanted[pane])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_base_that_fails_to_load_leaves_the_engine_working(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    broken = BaseSource(source(base).ref, tmp_path / "bad")
    with pytest.raises(ModelLoadError):
        last(engine.generate(broken, [GenRow(ASK)], {}, GREEDY))
    assert texts(engine, source(base), [GenRow(ASK)], {}, GREEDY)


def test_a_prompt_too_long_is_refused_and_old_turns_are_left_out(engine: ChatEngine, base: Path) -> None:
    with pytest.raises(InputError, match="tokens"):
        last(engine.generate(source(base), [GenRow((Message("user", "x" * 400),))], {}, GREEDY))
    turns = [Message(role, "y" * 40) for _ in range(5) for role in ("user", "assistant")]
    chat = (Message("system", "Be kind."), *turns, Message("user", "Last"))  # type: ignore[arg-type]
    updates = list(engine.generate(source(base), [GenRow(chat)], {}, GREEDY))
    shortened = (chat[0], *chat[-5:])
    assert updates[-1][0].text == texts(engine, source(base), [GenRow(shortened)], {}, GREEDY)[0]
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
    engine: ChatEngine, base: Path, folders: dict[str, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    odd = shutil.copytree(folders["run-0"], tmp_path / "odd")
    config = json.loads((odd / "adapter_config.json").read_text())
    (odd / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelLoadError, match=message):
        engine.ensure_adapter(source(base), "odd", odd)


def test_adapters_that_do_not_fit_are_refused(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    wide = make_adapter(tmp_path / "wide", make_base(tmp_path / "wide-base", hidden_size=64))
    deep = make_adapter(tmp_path / "deep", make_base(tmp_path / "deep-base", num_hidden_layers=3))
    for path in (wide, deep):
        with pytest.raises(ModelLoadError, match="does not fit this base"):
            engine.ensure_adapter(source(base), path.name, path)
    with pytest.raises(ModelLoadError, match="no adapter yet"):
        engine.ensure_adapter(source(base), "none", tmp_path)
    (wide / "adapter_model.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        engine.ensure_adapter(source(base), "wide", wide)
    with pytest.raises(InputError):
        last(engine.generate(source(base), [GenRow(ASK, "unknown")], {}, GREEDY))


def test_an_adapter_of_broken_numbers_is_an_error_and_not_an_answer(
    engine: ChatEngine, base: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    nan = shutil.copytree(folders["run-0"], tmp_path / "nan")
    weights = load_file(nan / "adapter_model.safetensors")
    save_file({k: torch.full_like(v, float("nan")) for k, v in weights.items()}, nan / "adapter_model.safetensors")
    with pytest.raises(ModelLoadError, match="NaN"):
        last(engine.generate(source(base), [GenRow(ASK), GenRow(ASK, "nan")], {"nan": nan}, GREEDY))
    assert texts(engine, source(base), [GenRow(ASK)], {}, GREEDY)


# -- memory and identity ----------------------------------------------------------------------------------------------


def test_adapters_unused_for_longest_leave_first(engine: ChatEngine, base: Path, folders: dict[str, Path]) -> None:
    one = source(base)
    for i in range(MAX_ADAPTERS):
        engine.ensure_adapter(one, f"copy-{i}", folders["run-0"])
    engine.ensure_adapter(one, "copy-0", folders["run-0"])
    engine.ensure_adapter(one, "new", folders["run-1"])
    assert len(engine.adapters) == MAX_ADAPTERS
    assert engine.adapters[-2:] == ("copy-0", "new")
    assert "copy-1" not in engine.adapters
    for name in engine.adapters:
        engine.release(name)
    wait_until(lambda: not engine.adapters)
    assert texts(engine, one, [GenRow(ASK)], {}, GREEDY)


def test_an_adapter_trained_further_is_read_anew(
    engine: ChatEngine, base: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(folders["run-0"], tmp_path / "run")
    rows = [GenRow(ASK, "run")]
    before = texts(engine, source(base), rows, {"run": run}, GREEDY)
    make_adapter(run, base, seed=9)
    after = texts(engine, source(base), rows, {"run": run}, GREEDY)
    assert before != after == [peft_greedy(base, run, ASK, GREEDY.max_new_tokens)]


def test_switching_base_frees_the_old_one(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    import gc
    import weakref

    other = make_base(tmp_path / "other", seed=5)
    engine.load(source(base))
    assert engine._loaded is not None
    old = weakref.ref(engine._loaded.model)
    engine.load(source(other))
    gc.collect()
    assert old() is None
    assert engine.base == source(other)
    engine.unload()
    assert engine.base is None


def test_base_check_passes_beside_adapters_and_catches_a_changed_base(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    import torch

    one = source(base)
    rows = [GenRow(ASK, "run-0"), GenRow(ASK), GenRow(ASK, "run-1")]
    assert last(engine.generate(one, rows, folders, GREEDY))[1].verified
    check = engine.base_check()
    assert check is not None
    assert check.ok
    assert check.difference <= check.tolerance
    assert [name for name, _ in check.moved] == ["run-0", "run-1"]
    assert all(moved > 100 * check.tolerance for _, moved in check.moved)
    # somebody folds an adapter into the base's own weights: what the check is there for
    assert engine._loaded is not None
    layer = engine._loaded.model.model.layers[0].mlp.down_proj
    with torch.no_grad():
        layer.weight += 0.05 * torch.randn_like(layer.weight)
    assert last(engine.generate(one, [GenRow(ASK)], folders, GREEDY))[0].verified is False
    assert not engine.base_check().ok  # type: ignore[union-attr]


def test_building_an_engine_imports_no_torch() -> None:
    import subprocess
    import sys

    from studio.config import ROOT

    code = "import sys; from studio.ml.engine import ChatEngine; ChatEngine(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
