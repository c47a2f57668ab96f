"""One base and many adapters: arithmetic, what goes wrong, memory and identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message
from studio.errors import InputError, ModelLoadError
from studio.ml.chat import bases
from studio.ml.chat.bases import MAX_BASES
from studio.ml.chat.engine import BaseSource, ChatEngine, GenRow
from studio.ml.lora.mixed import RowGroup, attached, read_adapter
from studio.ml.models.loading import load_model
from tests.helpers.chat_models import make_adapter, make_base, source
from tests.helpers.engine import ASK, GREEDY, LONG, last, peft_greedy, texts
from tests.helpers.waiting import wait_until

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


def test_a_strength_multiplies_the_update_of_each_row(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    base = make_base(tmp_path / "base")
    folder = make_adapter(tmp_path / "a", base)
    ids = torch.randint(5, 264, (1, 9)).expand(5, -1)
    model = load_model(base, device="cpu", dtype="float32")
    adapter = read_adapter("a", folder, model)
    with torch.inference_mode():
        plain = model(ids).logits
        with attached(model, [RowGroup(adapter, 0, 5)]):
            whole = model(ids).logits
        groups = [RowGroup(adapter, row, row + 1, strength) for row, strength in ((1, 1.0), (2, 0.5), (3, -1), (4, 2))]
        with attached(model, groups):
            got = model(ids).logits
    assert torch.equal(got[0], plain[0])
    assert torch.allclose(got[1], whole[0], atol=1e-5)
    for row, strength in ((2, 0.5), (3, -1.0), (4, 2.0)):
        tuned: Any = PeftModel.from_pretrained(load_model(base, device="cpu", dtype="float32"), folder).eval()
        for layer in tuned.modules():
            if isinstance(layer, LoraLayer):
                layer.scaling = {name: scaling * strength for name, scaling in layer.scaling.items()}
        assert torch.allclose(got[row], tuned(ids[:1]).logits[0], atol=1e-4)


def test_rows_of_one_adapter_at_several_strengths_answer_in_one_batch(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    strengths = (1.0, 0.0, 2.0, 1.0, -1.0)
    rows = [GenRow(ASK, "run-1", strength=strength) for strength in strengths]
    got = texts(engine, source(base), [GenRow(LONG), *rows, GenRow(ASK)], folders, GREEDY)[1:]
    assert got[0] == got[3] == peft_greedy(base, folders["run-1"], ASK, GREEDY.max_new_tokens)
    assert got[1] == got[5] == peft_greedy(base, None, ASK, GREEDY.max_new_tokens)
    assert len({*got}) == 4
    # the next turn finds what was computed at its own strength
    turns = [(*ASK, Message("assistant", text), Message("user", "And?")) for text in got[:5]]
    again = [GenRow(turn, "run-1", strength=s) for turn, s in zip(turns, strengths, strict=True)]
    kept = texts(engine, source(base), again, folders, GREEDY)
    fresh = ChatEngine("cpu", lambda: 1, dtype="float32")
    assert kept == [texts(fresh, source(base), [row], folders, GREEDY)[0] for row in again]
    fresh.close()


def test_nothing_stays_attached_when_the_forward_fails(base: Path, folders: dict[str, Path]) -> None:
    model = load_model(base, device="cpu", dtype="float32")
    with (
        pytest.raises(RuntimeError),
        attached(model, [RowGroup(read_adapter("a", folders["run-0"], model), 0, 1)]),
    ):
        raise RuntimeError
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_nf4_base_takes_adapters(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", hidden_size=64)
    adapter = make_adapter(tmp_path / "run", base)
    engine = ChatEngine("cpu", lambda: 1)
    rows = [GenRow(ASK), GenRow(ASK, "run"), GenRow(ASK, "run")]
    a, b, c = last(engine.generate(source(base, load_in_4bit=True), rows, {"run": adapter}, GREEDY))
    assert b.text == c.text != a.text
    assert a.verified
    engine.close()


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_base_that_fails_to_load_leaves_the_engine_working(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    broken = BaseSource(source(base).ref, tmp_path / "bad")
    with pytest.raises(ModelLoadError):
        last(engine.generate(broken, [GenRow(ASK)], {}, GREEDY))
    assert texts(engine, source(base), [GenRow(ASK)], {}, GREEDY)


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


# -- memory and identity ----------------------------------------------------------------------------------------------


def test_adapters_unused_for_longest_leave_first(
    engine: ChatEngine, base: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.ml.chat.bases.MAX_ADAPTERS", 3)
    one = source(base)
    for i in range(3):
        engine.ensure_adapter(one, f"copy-{i}", folders["run-0"])
    engine.ensure_adapter(one, "copy-0", folders["run-0"])
    engine.ensure_adapter(one, "new", folders["run-1"])
    assert len(engine.adapters) == 3
    assert engine.adapters[-2:] == ("copy-0", "new")
    assert "copy-1" not in engine.adapters
    for name in engine.adapters:
        engine.release(name)
    wait_until(lambda: not engine.adapters)
    assert texts(engine, one, [GenRow(ASK)], {}, GREEDY)


def test_the_base_unused_for_longest_leaves_and_is_freed(
    engine: ChatEngine, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc
    import weakref

    first, *others = sources = [
        source(base),
        *(source(make_base(tmp_path / str(seed), seed=seed)) for seed in range(MAX_BASES)),
    ]
    for one in sources[:MAX_BASES]:
        engine.load(one)
    engine.load(first)
    old = weakref.ref(dict(engine._bases.now())[others[0]].model)
    engine.load(others[-1])
    gc.collect()
    assert old() is None
    assert engine.bases == (*others[1:-1], first, others[-1])
    # where memory is short, those unused for longest leave, and what does not fit at all puts nobody out
    assert engine.room(first) is None
    monkeypatch.setattr(bases, "base_mb", lambda *_: 100)
    monkeypatch.setattr(bases, "free_mb", lambda *_: 0)
    room = engine.room(others[0])
    assert room is not None
    assert (room.needs_mb, room.goes, room.fits) == (100, (others[1].ref.id,), True)
    monkeypatch.setattr(bases, "base_mb", lambda folder, *_: 1000 if folder == others[0].path else 100)
    with pytest.raises(ModelLoadError, match=r"takes about 1,000 MB of memory and 0 MB are free"):
        engine.load(others[0])
    assert len(engine.bases) == MAX_BASES
    engine.close()
    assert engine.bases == ()


def test_base_check_passes_beside_adapters_and_catches_a_changed_base(
    engine: ChatEngine, base: Path, folders: dict[str, Path]
) -> None:
    import torch

    one = source(base)
    rows = [GenRow(ASK, "run-0"), GenRow(ASK), GenRow(ASK, "run-1")]
    assert [update.verified for update in last(engine.generate(one, rows, folders, GREEDY))] == [None, True, None]
    check = engine.base_check()
    assert check is not None
    assert check.ok
    assert check.difference <= check.tolerance
    assert [name for name, _ in check.moved] == ["run-0", "run-1"]
    assert all(moved > 100 * check.tolerance for _, moved in check.moved)
    # somebody folds an adapter into the base's own weights: what the check is there for
    layer = dict(engine._bases.now())[one].model.model.layers[0].mlp.down_proj
    with torch.no_grad():
        layer.weight += 0.05 * torch.randn_like(layer.weight)
    assert last(engine.generate(one, [GenRow(ASK)], folders, GREEDY))[0].verified is False
    assert not engine.base_check().ok  # type: ignore[union-attr]


def test_building_an_engine_imports_no_torch() -> None:
    import subprocess
    import sys

    from studio.config import ROOT

    code = "import sys; from studio.ml.chat.engine import ChatEngine; ChatEngine(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
