"""What leaves the studio: zips, cards, merged models and Hub repositories, without a path or a secret inside."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from studio.config import Settings
from studio.errors import ConflictError, InputError, ModelLoadError, NotAllowedError, NotFoundError, StudioError
from studio.services.files.records import write_record
from studio.services.library.service import LibraryService
from studio.services.models.service import ModelService
from studio.services.runs.store import RunStore
from studio.ui.align.panel import AlignPanel
from studio.ui.page.access import Visitor
from studio.ui.training.watch import Watch
from tests.helpers.library import SHARE, FakeEngine, FakeHub, make_library, make_run
from tests.helpers.pages import make_shared
from tests.helpers.runs import make_dataset, make_recipe
from tests.helpers.services import opened

# -- out --------------------------------------------------------------------------------------------------------------


def test_list_holds_runs_with_an_adapter_only(settings: Settings, library: LibraryService, adapter: Path) -> None:
    make_run(settings, adapter, "run-one", created=1e9)
    make_run(settings, adapter, "run-two", created=2e9)
    RunStore(settings).create(make_recipe("run-waiting"), make_dataset())
    assert [view.run_id for view in library.list()] == ["run-two", "run-one"]
    with pytest.raises(NotFoundError, match="no adapter"):
        library.zip("run-waiting")
    with pytest.raises(InputError):
        library.card("../etc")


def test_zip_holds_the_adapter_and_its_record_but_no_path_and_no_checkpoint(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    make_run(settings, adapter)
    with zipfile.ZipFile(library.zip("toy-r50")) as archive:
        names = {name.removeprefix("toy-r50/") for name in archive.namelist()}
    assert names == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "run.json",
        "status.json",
        "events.jsonl",
        "samples.jsonl",
        "README.md",
    }
    with zipfile.ZipFile(library.zip("toy-r50", include_log=True, include_data=True)) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
        assert {"toy-r50/log.txt", "toy-r50/dataset.json"} < set(archive.namelist())
    for path in (tmp_path, settings.data_dir, settings.adapters_dir, Path(sys.prefix), Path.home() / "x"):
        assert str(path).encode() not in everything


def test_a_local_base_leaves_without_its_path(
    settings: Settings, library: LibraryService, adapter: Path, embedded: Path
) -> None:
    folder = make_run(settings, adapter)
    recipe = json.loads((folder / "run.json").read_text())
    recipe["base"]["id"] = str(embedded.parent / "somewhere" / "my-base")
    write_record(folder / "run.json", recipe)
    with zipfile.ZipFile(library.zip("toy-r50")) as archive:
        assert json.loads(archive.read("toy-r50/run.json"))["base"]["id"] == "my-base"
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert str(embedded.parent).encode() not in everything


def test_a_downloaded_run_is_the_same_run_in_another_studio(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    make_run(settings, adapter)
    library.rename("toy-r50", "A better name")
    library.set_note("toy-r50", "Looks good.")
    there = dataclasses.replace(settings, adapters_dir=tmp_path / "elsewhere")
    other = make_library(there)
    done = other.import_zip(library.zip("toy-r50", include_data=True))
    assert (done.run_id, done.warnings, done.left_out) == ("toy-r50", (), ())
    ours, theirs = library.get("toy-r50"), other.get("toy-r50")
    assert theirs.recipe == ours.recipe
    assert (theirs.title, theirs.note) == ("A better name", "Looks good.")
    assert theirs.adapter_share == SHARE
    assert theirs.probe == ours.probe
    assert theirs.last_step == ours.last_step
    assert theirs.adapter_hash == ours.adapter_hash
    assert theirs.status.state == "done"
    assert theirs.status.pid == 0
    assert RunStore(there).samples("toy-r50") == RunStore(settings).samples("toy-r50")
    assert RunStore(there).dataset("toy-r50") == make_dataset()


def test_a_taken_name_gets_a_number(settings: Settings, library: LibraryService, adapter: Path) -> None:
    make_run(settings, adapter)
    download = library.zip("toy-r50")
    assert library.import_zip(download).run_id == "toy-r50-2"
    done = library.import_zip(download)
    assert done.run_id == "toy-r50-3"
    assert "is here already" in done.warnings[0]
    assert library.get("toy-r50-3").recipe.run_id == "toy-r50-3"


def test_rename_and_note_reach_the_card(settings: Settings, library: LibraryService, adapter: Path) -> None:
    folder = make_run(settings, adapter)
    library.rename("toy-r50", "Name with *stars* & <tags>")
    library.set_note("toy-r50", "first line\nsecond")
    card = (folder / "README.md").read_text()
    assert r"# Name with \*stars\* &amp; &lt;tags>" in card
    assert "first line<br>second" in card
    assert library.get("toy-r50").title == "Name with *stars* & <tags>"
    with pytest.raises(InputError, match="121 characters"):
        library.rename("toy-r50", "x" * 121)


def test_delete_removes_everything_and_tells_the_engine(settings: Settings, adapter: Path) -> None:
    engine = FakeEngine()
    library = LibraryService(settings, RunStore(settings), ModelService(settings), engine)
    folder = make_run(settings, adapter)
    download = library.zip("toy-r50")
    merged = library.merge("toy-r50")
    library.delete("toy-r50")
    assert not folder.exists()
    assert not merged.exists()
    assert not download.exists()
    assert list((settings.cache_dir / "merged").iterdir()) == []
    assert engine.released == ["toy-r50"]
    with pytest.raises(NotFoundError):
        library.delete("toy-r50")


def test_deleting_in_the_run_panel_leaves_nothing_behind(settings: Settings, adapter: Path) -> None:
    with opened(settings) as services, gr.Blocks() as app:
        panel = AlignPanel(services)
        panel.bind(make_shared(gr.State(), gr.Tabs()), app, [], gr.State())
        folder = make_run(settings, adapter)
        download, merged = services.library.zip("toy-r50"), services.library.merge("toy-r50")
        watch = Watch()
        watch.open("toy-r50")
        [delete] = [event.fn for event in app.fns.values() if (panel.sure._id, "click") in event.targets]
        delete(Visitor(operator=True), watch, "step")
        assert services.runs.list() == []
        assert not folder.exists()
        assert not download.exists()
        assert list(merged.parent.iterdir()) == []


# -- the card ---------------------------------------------------------------------------------------------------------


def test_card_says_what_was_measured_with_n_and_interval(
    settings: Settings, library: LibraryService, adapter: Path
) -> None:
    make_run(settings, adapter)
    card = library.card("toy-r50")
    assert card.startswith("---\nlibrary_name: peft\n")
    assert "| **adapter** | 90% | 79% to 96% | 50 | 3 |" in card
    assert "| base | 52% | 39% to 65% | 50 | 3 |" in card
    assert "cross-validated accuracy 97% on 120 answers" in card
    assert "on 20 held-out pairs the support answer is the likelier one in 85%" in card
    assert make_dataset().content_hash in card
    assert "rank 4, alpha 8" in card
    assert r"&lt;b>answer&lt;/b> \| at 3" in card
    assert "toy of a few million parameters" in card


def test_card_of_a_hub_base_names_it_for_the_hub(settings: Settings, library: LibraryService, adapter: Path) -> None:
    from studio.domain.runs import BaseModelRef

    folder = make_run(settings, adapter)
    recipe = dataclasses.replace(library.get("toy-r50").recipe, base=BaseModelRef("Qwen/Qwen3-0.6B", "abc", ""))
    write_record(folder / "run.json", recipe)
    card = library.card("toy-r50")
    assert "base_model: Qwen/Qwen3-0.6B" in card
    assert 'from_pretrained("Qwen/Qwen3-0.6B", dtype="auto")' in card


def test_the_three_lines_of_the_card_load_the_adapter_in_plain_peft(
    settings: Settings, library: LibraryService, adapter: Path, embedded: Path, tmp_path: Path
) -> None:
    make_run(settings, adapter)
    lines = re.search(r"```python\n(.*?)\n```", library.card("toy-r50"), re.DOTALL)
    assert lines is not None
    assert len(lines[1].splitlines()) == 3
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "embedded").symlink_to(embedded)
    with zipfile.ZipFile(library.zip("toy-r50")) as archive:
        archive.extractall(tmp_path / "unzipped" / "adapters")
    (tmp_path / "unzipped" / "data").symlink_to(tmp_path / "data")
    code = (
        lines[1] + "\nassert any(p.abs().max() > 0 for n, p in model.named_parameters() if 'lora_B' in n)\nprint('ok')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "unzipped", capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip().endswith("ok"), done.stderr


# -- merged export ----------------------------------------------------------------------------------------------------


def test_merged_export_answers_like_base_plus_adapter(
    settings: Settings, library: LibraryService, adapter: Path, embedded: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_run(settings, adapter)
    said: list[float] = []
    folder = library.merge("toy-r50", progress=lambda share, text: said.append(share))
    assert said[-1] == 1.0
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert merged.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(folder)("a b c")["input_ids"]
    base = AutoModelForCausalLM.from_pretrained(embedded, dtype=torch.float32)
    tokens = torch.tensor([[3, 9, 4, 20, 7]])
    with torch.no_grad():
        plain = base(tokens).logits
        wanted = PeftModel.from_pretrained(base, str(adapter))(tokens).logits
        got = merged.float()(tokens).logits
    assert (wanted - plain).abs().max() > 0.05
    # bf16 keeps 8 bits: the merged weights are rounded once
    assert (got - wanted).abs().max() < 0.05 * (wanted - plain).abs().max()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert library.merge("toy-r50") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    with zipfile.ZipFile(library.merged_zip("toy-r50")) as archive:
        assert "toy-r50-merged/model.safetensors" in archive.namelist()


def test_an_adapter_is_saved_and_merged_at_another_strength(
    settings: Settings, library: LibraryService, adapter: Path, embedded: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM

    make_run(settings, adapter)
    whole, half = library.zip("toy-r50"), library.zip("toy-r50", strength=0.5)
    assert (whole.name, half.name) == ("toy-r50.zip", "toy-r50-at-strength-0.5.zip")
    with zipfile.ZipFile(half) as archive:
        archive.extractall(tmp_path)
    saved = tmp_path / "toy-r50-at-strength-0.5"
    assert "at strength 0.5" in (saved / "README.md").read_text(encoding="utf-8").split("## Load it")[0]
    assert "multiplied by 0.5" in (saved / "README.md").read_text(encoding="utf-8")
    merged = library.merge("toy-r50", strength=0.5)
    tokens = torch.tensor([[3, 9, 4, 20, 7]])

    def logits(folder: Path | None, scale: float = 1.0) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(embedded, dtype=torch.float32)
        if folder is not None:
            model = PeftModel.from_pretrained(model, str(folder))
            for layer in model.modules():
                if isinstance(layer, LoraLayer):
                    layer.scaling = {name: value * scale for name, value in layer.scaling.items()}
        with torch.no_grad():
            return model(tokens).logits

    plain, wanted = logits(None), logits(adapter, 0.5)
    assert torch.allclose(logits(saved), wanted, atol=1e-5)
    with torch.no_grad():
        got = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(tokens).logits
    assert (got - wanted).abs().max() < 0.05 * (wanted - plain).abs().max()
    # at another strength it is made anew
    assert library.merged_zip("toy-r50").name == "toy-r50-merged.zip"
    assert library.merged_zip("toy-r50", strength=-1).name == "toy-r50-merged-at-strength--1.zip"
    # elsewhere it is an adapter of its own
    done = library.import_zip(half)
    assert library.get(done.run_id).title.endswith("at strength 0.5")
    assert library.get(done.run_id).adapter_hash != library.get("toy-r50").adapter_hash
    for wrong in (float("nan"), 1e9, "abc"):
        with pytest.raises(InputError, match="it must be a number from -1 to 2"):
            library.zip("toy-r50", strength=wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="it must be a number from -1 to 2"):
            library.merge("toy-r50", strength=wrong)  # type: ignore[arg-type]


def test_merged_export_is_refused_where_it_would_be_wrong(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    folder = make_run(settings, adapter)
    with pytest.raises(ConflictError, match="exists already"):
        library.merge("toy-r50", tmp_path)
    recipe = library.get("toy-r50").recipe
    write_record(
        folder / "run.json", dataclasses.replace(recipe, base=dataclasses.replace(recipe.base, fingerprint="f" * 64))
    )
    with pytest.raises(ModelLoadError, match="files changed"):
        library.merge("toy-r50")
    write_record(
        folder / "run.json",
        dataclasses.replace(recipe, settings=dataclasses.replace(recipe.settings, load_in_4bit=True)),
    )
    with pytest.raises(ConflictError, match="4 bit"):
        library.merge("toy-r50")


# -- the Hub ----------------------------------------------------------------------------------------------------------


def test_push_is_private_and_holds_only_what_is_meant(
    settings: Settings, library: LibraryService, hub: FakeHub, adapter: Path
) -> None:
    make_run(settings, adapter)
    library.set_note("toy-r50", "mine")
    library.push("toy-r50", "my-adapter", "hf_secret")
    assert hub.calls[0] == ("create_repo", {"repo_id": "my-adapter", "private": True, "exist_ok": True})
    assert set(hub.files) == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "README.md",
        "run.json",
        "events.jsonl",
        "samples.jsonl",
    }
    assert b'from_pretrained(base, "someone/my-adapter")' in hub.files["README.md"]
    assert b"hf_secret" not in b"".join(hub.files.values())


def test_push_does_not_make_private_things_public(settings: Settings, adapter: Path) -> None:
    hub = FakeHub(private=False)
    library = make_library(settings, hub)
    make_run(settings, adapter)
    with pytest.raises(ConflictError, match="is public"):
        library.push("toy-r50", "me/known", "hf_secret")
    assert hub.files == {}
    library.push("toy-r50", "me/known", "hf_secret", private=False)
    assert hub.files


def test_push_fails_in_clear_sentences_without_the_token(
    settings: Settings, adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    def answer(status: int) -> HfHubHTTPError:
        response = SimpleNamespace(status_code=status, headers={}, request=None)
        return HfHubHTTPError("bearer hf_secret refused", response=response)  # type: ignore[arg-type]

    make_run(settings, adapter)
    cases: list[tuple[Exception, type[StudioError], str]] = [
        (OfflineModeIsEnabled("hf_secret"), StudioError, "offline"),
        (httpx.ConnectError("hf_secret"), StudioError, "could not be reached"),
        (answer(401), NotAllowedError, "token is wrong"),
        (answer(403), NotAllowedError, "token is wrong"),
        (answer(422), StudioError, "status 422"),
        (answer(503), StudioError, "trouble of its own"),
        (RuntimeError("hf_secret"), StudioError, "could not be reached"),
    ]
    for error, kind, says in cases:
        with pytest.raises(kind, match=says) as caught:
            make_library(settings, FakeHub(error=error)).push("toy-r50", "me/mine", "hf_secret")
        assert "hf_secret" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert "hf_secret" not in caplog.text
    library = make_library(settings)
    with pytest.raises(InputError, match="not a repository name"):
        library.push("toy-r50", "a/b/c", "hf_secret")
    with pytest.raises(InputError, match="token is missing"):
        library.push("toy-r50", "me/mine", " ")


def test_push_offline_with_the_real_client(settings: Settings, adapter: Path) -> None:
    make_run(settings, adapter)
    library = LibraryService(settings, RunStore(settings), ModelService(settings), FakeEngine())
    with pytest.raises(StudioError, match=r"offline|could not be reached"):
        library.push("toy-r50", "me/mine", "hf_secret")


def test_services_of_the_library_import_no_torch() -> None:
    code = "import sys, studio.services.library.service; assert 'torch' not in sys.modules and 'huggingface_hub' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
