"""An adapter on disk: a folder that has its weights is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.ml.training.trainer import ADAPTER_FILE, CONFIG_FILE, write_adapter


def write(folder: Path) -> None:
    import torch
    from peft import LoraConfig

    write_adapter({"lora_A.weight": torch.ones(2, 3)}, LoraConfig(r=2, target_modules=["q_proj"]), folder, "embedded")


def test_the_weights_come_last(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).mkdir()  # the config cannot take its name, as if the writer ended here
    with pytest.raises(OSError, match=CONFIG_FILE):
        write(tmp_path)
    assert not (tmp_path / ADAPTER_FILE).exists()


def test_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / ".adapter").mkdir()
    (tmp_path / ".adapter" / ADAPTER_FILE).write_bytes(b"half of a killed writer's")
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_FILE, ADAPTER_FILE]
