"""What comes into the studio: sound LoRA adapters of a known base, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import main
from studio.config import Settings
from studio.domain.runs import ImportedRecipe
from studio.errors import InputError
from studio.services.files.records import write_record
from studio.services.library.service import LibraryService
from studio.ui.training import run_view
from tests.helpers.library import config_with, make_library, make_run, nothing_kept, zip_of

# -- in: what is accepted ---------------------------------------------------------------------------------------------


def test_a_plain_peft_adapter_is_taken_in_with_its_base_chosen(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    from peft import PeftConfig

    source = zip_of(adapter, tmp_path / "My Adapter.zip", {"tokenizer.json": b"{}", ".gitattributes": b""})
    done = library.import_zip(source, base="embedded")
    assert done.run_id == "upload-my-adapter"
    assert done.base.fingerprint
    assert done.left_out == ("tokenizer.json", ".gitattributes")
    view = library.get(done.run_id)
    assert view.method == "unknown"
    assert isinstance(view.recipe, ImportedRecipe)
    assert view.recipe.lora.rank == 4
    assert view.has_adapter
    assert view.status.state == "done"
    card = library.card(done.run_id)
    assert "uploaded without a record of its training" in card
    assert "Not measured." in card
    assert "nan" not in card.lower()
    assert (view.folder / "ORIGINAL_README.md").read_text() == (adapter / "README.md").read_text()
    assert "nan" not in run_view.header(view) + str(run_view.history_row(view))
    config = PeftConfig.from_pretrained(str(view.folder))
    assert config.base_model_name_or_path == "embedded"
    again = library.import_zip(library.zip(done.run_id))
    assert library.get(again.run_id).method == "unknown"


def test_a_folder_is_taken_in_without_its_checkpoint(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    folder = make_run(settings, adapter)
    moved = tmp_path / "moved"
    folder.rename(moved)
    done = library.import_folder(moved)
    assert done.run_id == "toy-r50"
    assert "checkpoint" in done.left_out
    assert not (library.get("toy-r50").folder / "checkpoint").exists()


def test_the_command_line_takes_an_adapter_in(
    settings: Settings,
    library: LibraryService,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("adapters_dir", "data_dir", "cache_dir", "models_dir"):
        monkeypatch.setenv(f"STUDIO_{name.upper()}", str(getattr(settings, name)))
    source = config_with(adapter, tmp_path, base_model_name_or_path=None)
    assert main(["import", str(source)]) == 2
    assert "does not say which base" in capsys.readouterr().err
    assert main(["import", str(source), "--base", "embedded"]) == 0
    assert capsys.readouterr().out == "upload-changed: adapter of embedded\n"
    assert main(["import", str(adapter)]) == 0
    assert {view.run_id for view in library.list()} == {"upload-changed", "upload-my-adapter"}


def test_the_base_is_found_by_its_fingerprint_under_another_name(
    settings: Settings, library: LibraryService, adapter: Path, embedded: Path, tmp_path: Path
) -> None:
    folder = make_run(settings, adapter)
    recipe = library.get("toy-r50").recipe
    write_record(
        folder / "run.json", dataclasses.replace(recipe, base=dataclasses.replace(recipe.base, id="their-copy"))
    )
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert library.import_folder(moved).base.id == "embedded"


def test_a_hub_base_that_is_not_here_is_accepted_with_a_warning(
    library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    done = library.import_zip(config_with(adapter, tmp_path, base_model_name_or_path="some-org/some-model"))
    assert done.base.id == "some-org/some-model"
    assert "not on this machine yet" in done.warnings[0]


def test_patterns_and_module_names_in_a_config_do_not_survive(
    library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    source = config_with(
        adapter,
        tmp_path,
        target_modules=r"(a+)+$",
        auto_mapping={"parent_library": "os", "base_model_class": "x"},
        megatron_core="this.would.be.imported",
    )
    done = library.import_zip(source, base="embedded")
    config = json.loads((library.get(done.run_id).folder / "adapter_config.json").read_text())
    assert "model.layers.0.self_attn.q_proj" in config["target_modules"]
    assert "auto_mapping" not in config
    assert "megatron_core" not in config


# -- in: what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil.json", "leads out"),
        ("/etc/passwd", "leads out"),
        ("a/../../run.json", "leads out"),
        ("..\\run.json", "leads out"),
        ("C:run.json", "leads out"),
    ],
)
def test_paths_that_lead_out_are_refused(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path, name: str, says: str
) -> None:
    source = zip_of(adapter, tmp_path / "bad.zip", {name: b"{}"})
    with pytest.raises(InputError, match=says):
        library.import_zip(source, base="embedded")
    assert nothing_kept(settings)
    assert not (tmp_path / "evil.json").exists()


def test_links_in_a_zip_or_folder_are_refused(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    link = zipfile.ZipInfo("run.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    source = zip_of(adapter, tmp_path / "link.zip")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        library.import_zip(source, base="embedded")
    folder = tmp_path / "folder"
    shutil.copytree(adapter, folder)
    (folder / "run.json").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="link"):
        library.import_folder(folder, base="embedded")
    (tmp_path / "whole").symlink_to(adapter)
    with pytest.raises(InputError, match="not a folder"):
        library.import_folder(tmp_path / "whole", base="embedded")
    assert nothing_kept(settings)


def test_a_zip_bomb_is_stopped_while_unpacking(settings: Settings, adapter: Path, tmp_path: Path) -> None:
    small = make_library(dataclasses.replace(settings, max_upload_mb=2))
    source = tmp_path / "bomb.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(adapter / "adapter_config.json", "adapter_config.json")
        archive.writestr("adapter_model.safetensors", bytes(50_000_000))
    assert source.stat().st_size < 100_000
    with pytest.raises(InputError, match="more than 2 MB"):
        small.import_zip(source, base="embedded")
    assert nothing_kept(settings)
    # The same with a directory that lies about the size: what is read counts, not what is declared.
    data = source.read_bytes()
    lie = data.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lie != data
    source.write_bytes(lie)
    with pytest.raises(InputError):
        small.import_zip(source, base="embedded")
    assert nothing_kept(settings)
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(adapter / "adapter_model.safetensors", "adapter_model.safetensors")
        archive.writestr("adapter_config.json", b" " * 1_500_000)
    with pytest.raises(InputError, match="larger than 1 MB"):
        small.import_zip(source, base="embedded")


def test_a_zip_with_a_huge_table_of_contents_is_refused_before_it_is_read(
    library: LibraryService, tmp_path: Path
) -> None:
    end = b"PK\x05\x06" + b"\0" * 8 + (500_000_000).to_bytes(4, "little") + b"\0" * 6
    (tmp_path / "long.zip").write_bytes(b"x" * 100 + end)
    with pytest.raises(InputError, match="table of contents"):
        library.import_zip(tmp_path / "long.zip")


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "not a zip"), (b"hello", "not a zip"), (b"PK\x05\x06" + b"\0" * 18, "is missing")],
)
def test_files_that_are_no_adapter_zip(library: LibraryService, tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match=says):
        library.import_zip(tmp_path / "x.zip")
    with pytest.raises(InputError, match="no file"):
        library.import_zip(tmp_path / "absent.zip")


def test_a_damaged_zip_is_refused(settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path) -> None:
    source = zip_of(adapter, tmp_path / "damaged.zip")
    data = bytearray(source.read_bytes())
    at = data.find(b"lora_A")
    data[at : at + 6] = b"lora_Z"
    source.write_bytes(data)
    with pytest.raises(InputError, match="not a zip file that can be read"):
        library.import_zip(source, base="embedded")
    assert nothing_kept(settings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"task_type": "TOKEN_CLS"}, "only CAUSAL_LM"),
        ({"task_type": "SEQ_CLS"}, "no head with one output"),
        ({"bias": "all"}, "bias"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "changes the base model"),
        ({"r": 8}, "do not belong together"),
        ({"r": "many"}, "must be a number"),
        ({"lora_alpha": 10**400}, "not JSON|beyond any sense"),
        ({"something_new": True}, "something_new"),
        ({"base_model_name_or_path": ["x"]}, "not a name"),
    ],
)
def test_configs_that_are_more_or_less_than_plain_lora(
    settings: Settings,
    library: LibraryService,
    adapter: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(InputError, match=says):
        library.import_zip(config_with(adapter, tmp_path, **changes), base="embedded")
    assert nothing_kept(settings)


def test_weights_that_are_no_lora_are_refused(library: LibraryService, adapter: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    def source(tensors: dict[str, Any] | bytes) -> Path:
        data = tensors if isinstance(tensors, bytes) else save(tensors)
        return zip_of(
            adapter,
            tmp_path / "w.zip",
            {"adapter_model.safetensors": data},
            without=("adapter_model.safetensors",),
        )

    key = "base_model.model.model.layers.0.self_attn.q_proj"
    with pytest.raises(InputError, match="not a sound safetensors"):
        library.import_zip(source(b"\x80\x04pickle"), base="embedded")
    with pytest.raises(InputError, match="only LoRA on linear layers"):
        library.import_zip(source({"model.embed.weight": torch.zeros(2, 2)}), base="embedded")
    with pytest.raises(InputError, match="two halves"):
        library.import_zip(source({f"{key}.lora_A.weight": torch.zeros(4, 16)}), base="embedded")
    wrong = {f"{key}.lora_A.weight": torch.zeros(4, 17), f"{key}.lora_B.weight": torch.zeros(16, 4)}
    with pytest.raises(InputError, match=r"expects .* 16 × 17"):
        library.import_zip(source(wrong), base="embedded")
    strange = {name.replace("q_proj", "c_attn"): tensor for name, tensor in wrong.items()}
    with pytest.raises(InputError, match="not one of its 1 layers"):
        library.import_zip(source(strange), base="embedded")


def test_adapters_of_another_base_are_refused(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not among the bases"):
        library.import_zip(config_with(adapter, tmp_path, base_model_name_or_path="/content/llama"))
    with pytest.raises(InputError, match="does not say which base"):
        library.import_zip(config_with(adapter, tmp_path, base_model_name_or_path=None))
    folder = make_run(settings, adapter)
    recipe = library.get("toy-r50").recipe
    write_record(
        folder / "run.json", dataclasses.replace(recipe, base=dataclasses.replace(recipe.base, fingerprint="f" * 64))
    )
    folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="another version of the base 'embedded'"):
        library.import_folder(tmp_path / "moved")


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("run.json", "{}", "run.json"),
        ("run.json", "not json", "not JSON"),
        ("status.json", '{"state": "flying"}', "state"),
        ("events.jsonl", '{"type": "step"}', "events.jsonl, line 1"),
        ("events.jsonl", '{"type": "exec"}', "not a record"),
        ("samples.jsonl", "[1]", "not a record"),
        ("dataset.json", "{}", "dataset.json"),
    ],
)
def test_broken_records_are_refused(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path, file: str, text: str, says: str
) -> None:
    folder = make_run(settings, adapter)
    (folder / file).write_text(text)
    folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=says):
        library.import_folder(tmp_path / "moved")
    assert nothing_kept(settings)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("support_ratio", 7.0, "between 0 and 1"),
        ("rows_support", [True], "lists 4 rows and 1 sides"),
        ("created", 10**30, "beyond any sense"),
    ],
)
def test_recipes_beyond_reason_are_refused(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path, field: str, value: Any, says: str
) -> None:
    folder = make_run(settings, adapter)
    recipe = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**recipe, field: value}))
    folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=says):
        library.import_folder(tmp_path / "moved")


def test_dates_and_ids_of_an_upload_cannot_hurt(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    folder = make_run(settings, adapter)
    recipe = json.loads((folder / "run.json").read_text())
    hostile = {"run_id": "../../outside", "created": 1e14, "title": "x" * 5000}
    (folder / "run.json").write_text(json.dumps({**recipe, **hostile}))
    folder.rename(tmp_path / "moved dir")
    done = library.import_folder(tmp_path / "moved dir")
    assert done.run_id == "upload-moved-dir"
    assert "'../../outside', which is no run id" in done.warnings[0]
    assert "is here already" not in str(done.warnings)
    view = library.get(done.run_id)
    assert view.recipe.created < 1e11
    assert len(view.title) == 120
    assert not (settings.adapters_dir.parent.parent / "outside").exists()
