"""Adapters made elsewhere: in the folders and zips that other programs leave, of every kind that plain LoRA has, on bases of other
machines. What is taken answers as in plain PEFT; what is not is refused by its name."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import main
from studio.config import Settings
from studio.domain.runs import BaseModelRef
from studio.errors import InputError
from studio.ml.chat.engine import BaseSource, ChatEngine, GenRow
from studio.ml.models.loading import fingerprint, load_model, load_tokenizer, render_chat
from studio.services.library.service import LibraryService
from tests.helpers.chat_models import make_adapter, make_base
from tests.helpers.engine import ASK, GREEDY, texts
from tests.helpers.library import config_with, make_library, nothing_kept, zip_of

# -- every kind answers as in plain PEFT ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose embedded base can be talked to."""
    folder = tmp_path_factory.mktemp("elsewhere") / "data"
    make_base(folder / "embedded", num_hidden_layers=3)
    return folder


@pytest.fixture
def talking(settings: Settings, data: Path) -> LibraryService:
    return make_library(dataclasses.replace(settings, data_dir=data))


@pytest.fixture(scope="module")
def engine() -> Iterator[ChatEngine]:
    made = ChatEngine("cpu", lambda: 1, dtype="float32")
    yield made
    made.close()


def of_peft(base: Path, adapter: Path) -> str:
    """The greedy answer of plain transformers and PEFT."""
    from peft import PeftModel

    model: Any = PeftModel.from_pretrained(load_model(base, device="cpu", dtype="float32"), adapter).eval()
    tokenizer = load_tokenizer(base)
    inputs = tokenizer(render_chat(tokenizer, ASK), add_special_tokens=False, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=GREEDY.max_new_tokens, do_sample=False)
    return (
        str(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).rstrip("\ufffd").strip()
    )


def of_studio(engine: ChatEngine, base: Path, folder: Path) -> str:
    source = BaseSource(BaseModelRef(str(base), fingerprint=fingerprint(base)), base)
    return texts(engine, source, [GenRow(ASK, folder.name)], {folder.name: folder}, GREEDY)[0].rstrip("\ufffd").strip()


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "expression": {"target_modules": r".*layers\.(0|2)\..*(q|v)_proj"},
    "some-layers": {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1, 2]},
    "one-layer": {"target_modules": ["q_proj"], "layers_to_transform": 0},
    "left-out": {"target_modules": ["q_proj", "up_proj"], "exclude_modules": r".*layers\.1\..*"},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "rslora": {"r": 8, "use_rslora": True},
    "ranks": {"rank_pattern": {r".*\.layers\.1\..*q_proj": 8, "v_proj": 2}},
    "alphas": {"alpha_pattern": {r"layers\.(0|2)\.mlp\..*": 64, "model.layers.1.self_attn.q_proj": 1}},
    "both": {
        "rank_pattern": {r".*\.layers\.1\..*q_proj": 8},
        "alpha_pattern": {r"^model\.layers\.1\..*q_proj": 64, r".*q_proj": 3},
    },
    "ranks-rslora": {"rank_pattern": {r"layers\.[12]\..*": 6}, "alpha_pattern": {"down_proj": 5}, "use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian", "lora_dropout": 0.1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_answers_as_in_peft(
    talking: LibraryService, data: Path, engine: ChatEngine, tmp_path: Path, kind: str
) -> None:
    base = data / "embedded"
    made = make_adapter(tmp_path / kind, base, std=0.4, **KINDS[kind])
    if kind == "head":
        from safetensors import safe_open

        with safe_open(made / "adapter_model.safetensors", framework="numpy") as file:
            assert "base_model.model.lm_head.base_layer.weight" in file.keys()  # noqa: SIM118 - no mapping
    done = talking.import_folder(made, base="embedded")
    taken = talking.get(done.run_id).folder
    answer = of_peft(base, made)
    assert of_studio(engine, base, taken) == answer
    assert of_peft(base, taken) == answer
    again = talking.import_zip(talking.zip(done.run_id))
    assert of_studio(engine, base, talking.get(again.run_id).folder) == answer


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_of_other_formats_answer_as_in_peft(
    talking: LibraryService, data: Path, engine: ChatEngine, tmp_path: Path, dtype: str
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    made = make_adapter(tmp_path / "made", data / "embedded", std=0.4)
    path = made / "adapter_model.safetensors"
    save_file({name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(path).items()}, path)
    taken = talking.get(talking.import_folder(made, base="embedded").run_id).folder
    assert of_studio(engine, data / "embedded", taken) == of_peft(data / "embedded", made)


def test_layers_that_hold_their_weights_the_other_way_answer_as_in_peft(
    settings: Settings, engine: ChatEngine, tmp_path: Path
) -> None:
    base = make_base(
        tmp_path / "data" / "embedded", "gpt2", n_embd=32, n_layer=2, n_head=4, n_positions=256, n_inner=64
    )
    made = make_adapter(tmp_path / "made", base, std=0.3, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    library = make_library(dataclasses.replace(settings, data_dir=tmp_path / "data"))
    taken = library.get(library.import_folder(made, base="embedded").run_id).folder
    assert of_studio(engine, base, taken) == of_peft(base, made)


# -- what is more than plain LoRA is refused by its name --------------------------------------------------------------


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, "modules_to_save: embed_tokens, lm_head"),
        ({"trainable_token_indices": [1, 2]}, "trained embeddings of single tokens"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "LoRA on its embeddings"),
        ({"target_modules": ["q_proj"], "bias": "lora_only"}, "bias terms"),
        ({"lora_bias": True}, "bias terms"),
        ({"target_modules": ["q_proj"], "layer_replication": [[0, 2], [1, 3]]}, "replicated layers"),
    ],
)
def test_other_kinds_are_refused_by_name(
    settings: Settings, talking: LibraryService, data: Path, tmp_path: Path, lora: dict[str, Any], says: str
) -> None:
    made = make_adapter(tmp_path / "made", data / "embedded", **lora)
    with pytest.raises(InputError, match=says):
        talking.import_folder(made, base="embedded")
    config = json.loads((made / "adapter_config.json").read_text())
    for key in lora:  # the tensors tell it as well
        if key not in ("target_modules", "bias", "layer_replication"):
            config[key] = None
    (made / "adapter_config.json").write_text(json.dumps({**config, "bias": "none"}))
    if not {"layer_replication", "bias", "modules_to_save"} & lora.keys():  # untrained copies are no fault
        with pytest.raises(InputError, match=r"DoRA|trained|embeddings"):
            talking.import_folder(made, base="embedded")
    assert nothing_kept(settings)


@pytest.mark.parametrize("changed", [False, True])
def test_embeddings_saved_beside_the_adapter_are_dropped_as_copies_or_refused_as_trained(
    talking: LibraryService, data: Path, engine: ChatEngine, tmp_path: Path, changed: bool
) -> None:
    from safetensors.torch import load_file, save_file

    base, made = data / "embedded", make_adapter(tmp_path / "made", data / "embedded", std=0.4)
    answer = of_peft(base, made)
    embeddings = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    tensors = load_file(made / "adapter_model.safetensors")
    for name in ("model.embed_tokens", "lm_head"):
        tensors[f"base_model.model.{name}.weight"] = embeddings + 1 if changed else embeddings.clone()
    save_file(tensors, made / "adapter_model.safetensors")
    if changed:
        with pytest.raises(InputError, match=r"trained embeddings \(.*lm_head"):
            talking.import_folder(made, base="embedded")
        return
    taken = talking.get(talking.import_folder(made, base="embedded").run_id).folder
    assert of_studio(engine, base, taken) == answer
    with pytest.raises(InputError, match="only be told with its base"):
        talking.import_folder(made, base="some-org/not-here")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_are_refused(
    settings: Settings, library: LibraryService, adapter: Path, tmp_path: Path, value: str
) -> None:
    from safetensors.torch import load_file, save

    tensors = load_file(adapter / "adapter_model.safetensors")
    name = sorted(tensors)[-1]
    tensors[name][0, 1] = float(value)
    source = zip_of(
        adapter,
        tmp_path / "w.zip",
        {"adapter_model.safetensors": save(tensors)},
        without=("adapter_model.safetensors",),
    )
    with pytest.raises(InputError, match="NaN or infinity"):
        library.import_zip(source, base="embedded")
    assert nothing_kept(settings)


def test_number_formats_that_lora_is_not_computed_in_are_refused(
    library: LibraryService, adapter: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save

    tensors = {n: t.to(torch.float8_e4m3fn) for n, t in load_file(adapter / "adapter_model.safetensors").items()}
    source = zip_of(
        adapter,
        tmp_path / "w.zip",
        {"adapter_model.safetensors": save(tensors)},
        without=("adapter_model.safetensors",),
    )
    with pytest.raises(InputError, match="format F8_E4M3"):
        library.import_zip(source, base="embedded")


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        ({"(([a-z]|[a-z_.0-9])+)+[A-Z]": 2}, "more than 1 second"),
        ({"(": 2}, "no regular expression"),
        ({"x" * 501: 2}, "up to 500 characters"),
        ({"q_proj": "many"}, "positive numbers"),
        ({r".*layers\.1\..*": 2}, "do not belong together"),
    ],
)
def test_patterns_that_cannot_be_used(
    library: LibraryService, adapter: Path, tmp_path: Path, patterns: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        library.import_zip(config_with(adapter, tmp_path, rank_pattern=patterns), base="embedded")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 56312\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page"),
    ],
)
def test_what_stands_for_a_file_is_named(
    library: LibraryService, adapter: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    with pytest.raises(InputError, match=f"{name} is a {says}"):
        library.import_zip(zip_of(adapter, tmp_path / "x.zip", {name: content}, without=(name,)), base="embedded")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["adapter_config.json", "adapter_model.bin"], "a pickle, which is never opened"),
        (["adapter_config.json", "adapters.safetensors"], "MLX"),
        (["config.json", "model.safetensors"], "a whole model"),
        (["adapter_model.safetensors"], "adapter_config.json is missing"),
        (["a/adapter_model.safetensors", "b/adapter_config.json"], "different folders"),
    ],
)
def test_uploads_without_an_adapter_say_what_they_are(
    library: LibraryService, tmp_path: Path, files: list[str], says: str
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in files:
            archive.writestr(name, b"{}")
    with pytest.raises(InputError, match=says):
        library.import_zip(tmp_path / "x.zip", base="embedded")


# -- folders and zips -------------------------------------------------------------------------------------------------

BESIDE = {
    "training_args.bin": b"\x80\x04pickle",
    "optimizer.pt": b"PK\x03\x04",
    "trainer_state.json": b"{not json",
    "all_results.json": b"{}",
    "training_loss.png": b"\x89PNG",
    "setup.py": b"import os",
    "job.json": b"{}",
    "status.json": b"{of another program",
    "events.jsonl": b"x",
    "logs/events.out.tfevents": b"x",
    "global_step3/mp_rank_00.pt": b"\x80",
    "__MACOSX/._adapter_model.safetensors": b"x",
}


def beside(adapter: Path, folder: Path) -> Path:
    """The adapter's folder as a trainer leaves it."""
    shutil.copytree(adapter, folder)
    for name, content in BESIDE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("top", ["", "out/", "content/drive/MyDrive/adapter/", "out\\"])
def test_what_a_trainer_leaves_is_taken_and_the_rest_left_out_and_listed(
    library: LibraryService, adapter: Path, tmp_path: Path, top: str
) -> None:
    folder = beside(adapter, tmp_path / "llama factory")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo("x")
            info.filename = top + path.relative_to(folder).as_posix()
            archive.writestr(info, path.read_bytes())
    left_out = {name.split("/")[0] for name in BESIDE}
    for done in (
        library.import_zip(tmp_path / "x.zip", base="embedded"),
        library.import_folder(folder, base="embedded"),
    ):
        assert set(done.left_out) == left_out
        kept = {path.name for path in library.get(done.run_id).folder.iterdir()}
        assert kept == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "ORIGINAL_README.md",
            "README.md",
            "run.json",
            "status.json",
        }


def checkpoints(adapter: Path, folder: Path, ranks: dict[str, int]) -> Path:
    """A folder with several adapters, told apart by their dropout."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name, number in ranks.items():
        shutil.copytree(adapter, folder / name, dirs_exist_ok=True)
        (folder / name / "adapter_config.json").write_text(json.dumps({**config, "lora_dropout": number / 100}))
        (folder / name / "optimizer.pt").write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("folders", "order"),
    [
        (["checkpoint-9", "checkpoint-100", "checkpoint-20"], ["checkpoint-100", "checkpoint-20", "checkpoint-9"]),
        (["checkpoint-9", "", "checkpoint-10"], [".", "checkpoint-10", "checkpoint-9"]),
        (["v1/epoch_1", "v1/epoch_2", "v1"], ["v1", "v1/epoch_2", "v1/epoch_1"]),
        (["checkpoint-5", "final"], ["final", "checkpoint-5"]),
    ],
)
def test_of_several_checkpoints_the_newest_is_offered_and_any_can_be_chosen(
    library: LibraryService, adapter: Path, tmp_path: Path, folders: list[str], order: list[str]
) -> None:
    numbers = {name: number for number, name in enumerate(folders, 1)}
    folder = checkpoints(adapter, tmp_path / "many", numbers)
    packed = Path(shutil.make_archive(str(tmp_path / "many"), "zip", folder))
    assert list(library.adapters_in(folder)) == list(library.adapters_in(packed)) == order

    def taken(checkpoint: str, source: Path) -> float:
        take = library.import_zip if source.suffix else library.import_folder
        done = take(source, "embedded", checkpoint)
        assert "adapters: " in done.warnings[0]
        assert "optimizer.pt" in done.left_out
        return library.get(done.run_id).recipe.lora.dropout * 100

    for source in (folder, packed):
        assert taken("", source) == numbers[order[0].strip(".")]
        for name in order:
            assert taken(name, source) == numbers[name.strip(".")]
        assert taken(order[1].rsplit("/", 1)[-1], source) == numbers[order[1]]
    with pytest.raises(InputError, match=r"checkpoint is 'checkpoint-7', but no adapter"):
        library.import_folder(folder, "embedded", "checkpoint-7")


def test_the_command_line_chooses_a_checkpoint_and_lists_what_it_left_out(
    settings: Settings,
    library: LibraryService,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("adapters_dir", "data_dir", "cache_dir", "models_dir"):
        monkeypatch.setenv(f"STUDIO_{name.upper()}", str(getattr(settings, name)))
    folder = checkpoints(adapter, tmp_path / "many", {"checkpoint-1": 1, "checkpoint-2": 2})
    assert main(["import", str(folder), "--base", "embedded", "--checkpoint", "checkpoint-1"]) == 0
    out = capsys.readouterr()
    assert out.out == "upload-many: adapter of embedded\n"
    assert "checkpoint-1 was taken; the others are checkpoint-2" in out.err
    assert "left out: optimizer.pt, checkpoint-2" in out.err
    assert library.get("upload-many").recipe.lora.dropout == 0.01


def test_a_zip_within_a_zip_and_the_format_for_large_zips_are_read(
    library: LibraryService, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = zip_of(adapter, tmp_path / "inner.zip").read_bytes()
    with monkeypatch.context() as patch:  # as a zip of many files ends
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
        large = zip_of(adapter, tmp_path / "large.zip", {"training_args.bin": inner})
        ending = zip_of(adapter, tmp_path / "ending.zip").read_bytes()
    assert b"PK\x06\x06" in large.read_bytes()
    assert library.import_zip(large, base="embedded").left_out == ("training_args.bin",)
    # stored, and last: its end lies among what is searched for the zip's own
    source = zip_of(adapter, tmp_path / "outer.zip", {"training_args.bin": ending})
    assert library.import_zip(source, base="embedded").left_out == ("training_args.bin",)


def test_a_table_of_contents_of_the_large_format_is_bounded_as_well(library: LibraryService, tmp_path: Path) -> None:
    size = 500_000_000
    table = size.to_bytes(8, "little")
    record = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12) + bytes(16) + table + bytes(8)
    locator = b"PK\x06\x07" + bytes(4) + size.to_bytes(8, "little") + (1).to_bytes(4, "little")
    source = tmp_path / "long.zip"
    with open(source, "wb") as file:
        file.truncate(size)  # sparse: takes no room
        file.seek(size)
        file.write(record + locator + b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2))
    with pytest.raises(InputError, match="table of contents is far too long"):
        library.import_zip(source)


def test_links_that_are_not_needed_are_left_out(library: LibraryService, adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(adapter, folder)
    (folder / "latest").symlink_to("/etc")
    (folder / "merges.txt").symlink_to("/etc/hostname")
    done = library.import_folder(folder, base="embedded")
    assert set(done.left_out) == {"latest", "merges.txt"}


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_chat_template_other_than_the_bases_is_said(
    talking: LibraryService, data: Path, tmp_path: Path, file: str
) -> None:
    made = make_adapter(tmp_path / "made", data / "embedded")
    template = (data / "embedded" / "chat_template.jinja").read_text()
    for text, other in ((template, False), ("[INST] {{ messages }} [/INST]", True), ("", False)):
        content = text if file.endswith("jinja") else json.dumps({"chat_template": text})
        (made / file).write_text(content)
        done = talking.import_folder(made, base="embedded")
        assert any("chat template that is not its base's" in line for line in done.warnings) == other
        assert done.left_out == (file,)
    (made / file).write_bytes(b"\xff{[")
    talking.import_folder(made, base="embedded")


# -- bases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        r"C:\Users\student\models\embedded",
        "D:\\Models\\Embedded\\",
        "/content/drive/MyDrive/embedded",
        "../models/embedded",
        "models/embedded",
        "/root/.cache/huggingface/hub/models--some-org--embedded/snapshots/0123456789abcdef0123456789abcdef01234567",
        "unsloth/embedded-bnb-4bit",
        "unsloth/embedded-unsloth-bnb-4bit",
        "/workspace/Embedded-GPTQ-Int4",
    ],
)
def test_a_base_is_found_by_the_last_part_of_its_name(
    library: LibraryService, adapter: Path, tmp_path: Path, name: str
) -> None:
    done = library.import_zip(config_with(adapter, tmp_path, base_model_name_or_path=name))
    assert done.base.id == "embedded"
    assert "embedded was taken for it" in done.warnings[0]
    assert ("quantised" in done.warnings[0]) == name.endswith(("4bit", "Int4"))


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("unsloth/Qwen2.5-1.5B-Instruct-bnb-4bit", "Qwen/Qwen2.5-1.5B-Instruct"),
        ("unsloth/SmolLM2-135M-Instruct-unsloth-bnb-4bit", "smollm2-135m"),
        ("some-org/Some-Model-bnb-4bit", "some-org/Some-Model"),
    ],
)
def test_a_quantised_base_that_is_not_here_is_matched_to_the_plain_one(
    library: LibraryService, adapter: Path, tmp_path: Path, name: str, base: str
) -> None:
    done = library.import_zip(config_with(adapter, tmp_path, base_model_name_or_path=name))
    assert done.base.id == base
    assert "quantised" in done.warnings[0]
    assert "not on this machine yet" in done.warnings[1]


def test_a_base_of_the_same_name_whose_layers_do_not_fit_is_not_taken(
    library: LibraryService, data: Path, tmp_path: Path
) -> None:
    made = make_adapter(tmp_path / "made", data / "embedded")
    for name in ("some-org/embedded", "some-org/embedded-bnb-4bit", "/somewhere/embedded"):
        config = json.loads((made / "adapter_config.json").read_text())
        (made / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
        if name != "some-org/embedded":
            with pytest.raises(InputError, match="does not fit embedded"):
                library.import_folder(made)
        else:
            assert library.import_folder(made).base.id == name


def test_an_adapter_of_a_deeper_model_is_refused(
    talking: LibraryService, settings: Settings, data: Path, tmp_path: Path
) -> None:
    deeper = make_base(tmp_path / "deeper", num_hidden_layers=4)
    with pytest.raises(InputError, match="fewer layers"):
        talking.import_folder(make_adapter(tmp_path / "made", deeper), base="embedded")
    assert nothing_kept(settings)


def test_a_merged_head_leaves_the_embeddings_it_shared_weights_with_alone(
    talking: LibraryService, data: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel

    base = data / "embedded"
    made = make_adapter(tmp_path / "made", base, std=0.4, target_modules=["q_proj", "lm_head"])
    merged = talking.merge(talking.import_folder(made, base="embedded").run_id)
    ids = torch.arange(5, 20)[None]
    tuned: Any = PeftModel.from_pretrained(load_model(base, device="cpu", dtype="float32"), made).eval()
    with torch.inference_mode():
        assert torch.allclose(
            load_model(merged, device="cpu", dtype="float32")(ids).logits, tuned(ids).logits, atol=1e-4
        )
