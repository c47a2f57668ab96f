"""Blends of two adapters: against PEFT's ``add_weighted_adapter``, and saved against live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.errors import ModelLoadError
from studio.ml.lora.blend import blended, write_blend
from studio.ml.lora.mixed import RowGroup, attached, read_adapter
from studio.ml.models.loading import load_model
from tests.helpers.chat_models import make_adapter


def test_a_blend_equals_pefts_exact_one_live_and_saved(base: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    # other ranks, another scaling, and layers that only one of them changes
    upper = make_adapter(
        tmp_path / "b", base, seed=9, r=6, target_modules=["q_proj"], layers_to_transform=[1], use_rslora=True
    )
    ids, weight = torch.randint(5, 264, (3, 9)), 0.3
    model = load_model(base, device="cpu", dtype="float32")
    first, second = (read_adapter(name, folder, model) for name, folder in (("a", folders["run-1"]), ("b", upper)))
    saved = tmp_path / "saved"
    saved.mkdir()
    assert write_blend(folders["run-1"], upper, weight, saved) == 3 + 6
    with torch.inference_mode():
        with attached(model, [RowGroup(blended("mix", first, second, weight), 1, 2)]):
            live = model(ids).logits
        with attached(model, [RowGroup(read_adapter("saved", saved, model), 1, 2)]):
            read = model(ids).logits
        plain = model(ids).logits
        peft: Any = PeftModel.from_pretrained(load_model(base, device="cpu", dtype="float32"), saved).eval()
        own = peft(ids).logits
        tuned: Any = PeftModel.from_pretrained(
            load_model(base, device="cpu", dtype="float32"), folders["run-0"], "x"
        ).eval()
        tuned.load_adapter(folders["run-1"], "y")
        tuned.add_weighted_adapter(["x", "y"], [weight, 1 - weight], "both", combination_type="cat")
        tuned.set_adapter("both")
        wanted = tuned(ids).logits
        alike = read_adapter("x", folders["run-0"], model), first
        with attached(model, [RowGroup(blended("both", *alike, weight), 0, 3)]):
            got = model(ids).logits
    assert torch.equal(live[0], plain[0])
    assert not torch.allclose(live[1], plain[1], atol=1e-2)
    assert torch.allclose(live[1], read[1], atol=1e-4)
    assert torch.allclose(live[1], own[1], atol=1e-4)
    assert torch.allclose(got, wanted, atol=1e-4)


def test_half_an_adapter_is_not_blended(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    half = tmp_path / "half"
    half.mkdir()
    weights = load_file(folders["run-1"] / "adapter_model.safetensors")
    save_file({k: t for k, t in weights.items() if "lora_A" in k}, half / "adapter_model.safetensors")
    (half / "adapter_config.json").write_text((folders["run-1"] / "adapter_config.json").read_text())
    with pytest.raises(ModelLoadError, match="one factor"):
        write_blend(half, folders["run-1"], 0.5, tmp_path)
