"""Loading bases of several architectures, 4-bit included, offline messages, chat as text, the catalogue."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.parse
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from studio.config import ROOT, Settings
from studio.domain.data import Message
from studio.errors import InputError, ModelLoadError
from studio.ml.models.frames import HEADED, QUESTION_ANSWER
from studio.ml.models.loading import (
    choose_dtype,
    fingerprint,
    four_bit_reason,
    load_model,
    load_tokenizer,
    render_chat,
    resolve_device,
)
from studio.ml.models.prompts import StopAtTurn, before_turn, chat_ids, end_tokens, next_turn
from studio.services.models.service import ModelService
from tests.helpers.chat_models import EMBEDDED, make_adapter, make_base, make_tokenizer

ASK = (Message("system", "Be brief."), Message("user", "Hi"))


def test_a_thread_that_comes_while_transformers_is_imported_waits_for_it() -> None:
    code = f"""
import sys, threading
from studio.ml.models.loading import load_tokenizer, prepare_torch

first = threading.Thread(target=prepare_torch)
first.start()
while "transformers" not in sys.modules:
    pass
assert first.is_alive()
print(load_tokenizer({str(EMBEDDED)!r}).pad_token_id)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().isdigit(), done.stderr


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("in_4bit", [False, True])
def test_architectures_load_and_answer(tmp_path: Path, kind: str, in_4bit: bool) -> None:
    base = make_base(tmp_path / "base", kind, hidden_size=64, head_dim=16)
    said: list[str] = []
    model = load_model(base, device="cpu", load_in_4bit=in_4bit, progress=lambda _, text: said.append(text))
    tokenizer = load_tokenizer(base)
    inputs = tokenizer(render_chat(tokenizer, ASK), add_special_tokens=False, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert out.shape[1] == inputs["input_ids"].shape[1] + 4
    assert not model.training
    assert type(model.model.layers[0].mlp.down_proj).__name__ == ("Linear4bit" if in_4bit else "Linear")
    assert said[0].startswith("Reading")
    assert said[-1] == "Ready"


def test_the_output_layer_of_a_prompt_is_multiplied_once_for_all_rows(tmp_path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    model = load_model(make_base(tmp_path / "base", "llama", hidden_size=64, head_dim=16), device="cpu")
    model.requires_grad_(False)  # as under an adapter: torch multiplies otherwise where it needs a gradient
    layer = model.get_output_embeddings()
    shapes: list[list[int]] = []
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        model.generate(layer.weight.new_ones((3, 5)).long(), max_new_tokens=2, do_sample=False)
    for event in seen.events():
        if event.name in ("aten::mm", "aten::bmm", "aten::addmm"):
            shapes += [list(shape) for shape in event.input_shapes if layer.out_features in shape]
    assert shapes
    assert all(shape == [layer.in_features, layer.out_features] for shape in shapes), (
        "the weight was copied for each row"
    )


def test_dtype_can_be_chosen_and_is_chosen(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    assert str(load_model(base, device="cpu", dtype="float32").dtype) == "torch.float32"
    assert str(load_model(base, device="cpu").dtype) == f"torch.{choose_dtype('cpu')}"


def test_devices_that_are_not_here_are_named() -> None:
    assert resolve_device("cpu") == "cpu"
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(ModelLoadError, match="'cuda'"):
            resolve_device("cuda")
    assert "CUDA" in four_bit_reason("cpu", training=True)
    assert four_bit_reason("cpu") == ""
    assert four_bit_reason("cuda", training=True) == ""
    assert "Metal" in four_bit_reason("mps")


def test_what_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for where in ("nobody/nothing", str(tmp_path / "empty"), str(tmp_path / "missing")):
        with pytest.raises(ModelLoadError) as caught:
            load_model(where, device="cpu")
        assert "\n" not in str(caught.value)
        assert where in str(caught.value)
        with pytest.raises(ModelLoadError):
            load_tokenizer(where)


def test_pickles_and_adapters_are_no_bases(tmp_path: Path) -> None:
    import torch

    base = make_base(tmp_path / "base")
    pickled = shutil.copytree(base, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelLoadError):
        load_model(pickled, device="cpu")
    adapter = make_adapter(tmp_path / "adapter", base)
    with pytest.raises(ModelLoadError, match="is an adapter"):
        load_model(adapter, device="cpu")


def test_code_of_a_model_does_not_run_unless_allowed(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    text = (base / "config.json").read_text()
    text = text.replace(
        '"model_type": "llama"',
        '"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}',
    )
    (base / "config.json").write_text(text)
    (base / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(ModelLoadError, match="STUDIO_TRUST_REMOTE_CODE"):
        load_model(base, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_fingerprint_follows_contents_not_place(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    copy = shutil.copytree(base, tmp_path / "copy")
    assert fingerprint(base) == fingerprint(copy)
    other = make_base(tmp_path / "other", seed=1)
    assert fingerprint(base) != fingerprint(other)
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert fingerprint(base) != fingerprint(copy)


def test_fingerprint_of_a_hub_snapshot_equals_that_of_its_files(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for name in ("config.json", "model.safetensors"):
        digest = hashlib.sha256((base / name).read_bytes()).hexdigest()
        shutil.copy(base / name, blobs / digest)
        (snapshot / name).symlink_to(blobs / digest)
    assert fingerprint(snapshot) == fingerprint(base)


def test_chat_is_written_by_the_template(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert render_chat(tokenizer, ASK) == "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"
    closed = (*ASK, Message("assistant", "Yes"))
    assert render_chat(tokenizer, closed, add_generation_prompt=False).endswith("<|assistant|>Yes<|end|>")
    assert render_chat(tokenizer, (Message("system", " "), Message("user", "Hi"))) == "<|user|>Hi<|end|><|assistant|>"
    with pytest.raises(InputError):
        render_chat(tokenizer, ())


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}",
    ],
    ids=["refuses", "drops"],
)
def test_templates_without_a_system_role_get_it_in_the_question(tmp_path: Path, template: str) -> None:
    make_tokenizer(tmp_path, template)
    assert render_chat(load_tokenizer(tmp_path), ASK) == "[user]Be brief.\n\nHi"


def test_a_template_that_refuses_is_an_input_error(tmp_path: Path) -> None:
    make_tokenizer(tmp_path, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InputError, match="roles must alternate"):
        render_chat(load_tokenizer(tmp_path), (Message("user", "Hi"),))


def test_a_tokenizer_without_template_gets_questions_and_answers(tmp_path: Path) -> None:
    make_tokenizer(tmp_path, None)
    tokenizer = load_tokenizer(tmp_path)
    assert render_chat(tokenizer, ASK) == "Be brief.\n\nQuestion: Hi\nAnswer:"
    talk = (*ASK, Message("assistant", " Yes "), Message("user", "Why?"), Message("assistant", "So."))
    told = "Be brief.\n\nQuestion: Hi\nAnswer: Yes\n\nQuestion: Why?\nAnswer:"
    assert render_chat(tokenizer, talk[:-1]) == told
    assert render_chat(tokenizer, talk, add_generation_prompt=False) == f"{told} So."
    assert render_chat(tokenizer, ASK, frame=HEADED) == "### System:\nBe brief.\n\n### User:\nHi\n\n### Assistant:\n"


def test_a_tokenizer_that_adds_its_own_start_is_given_one(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    make_tokenizer(tmp_path, None)
    tokenizer = load_tokenizer(tmp_path)
    start = tokenizer.convert_tokens_to_ids("<|user|>")
    tokenizer.bos_token = "<|user|>"
    tokenizer._tokenizer.post_processor = TemplateProcessing(single="<|user|> $A", special_tokens=[("<|user|>", start)])
    assert tokenizer("a")["input_ids"][0] == start
    for template in (None, "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"):
        tokenizer.chat_template = template
        assert chat_ids(tokenizer, ASK).count(start) == 1


def test_an_answer_ends_where_the_template_ends_a_turn(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    model, tokenizer = load_model(base, device="cpu"), load_tokenizer(base)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert end_tokens(model, tokenizer) == {end}
    # as Qwen's: text ends with one token, a turn of the template with another
    tokenizer.eos_token = "<|pad|>"
    model.generation_config.eos_token_id = None
    assert end_tokens(model, tokenizer) == {tokenizer.pad_token_id, end}
    tokenizer.chat_template = None
    assert end_tokens(model, tokenizer) == {tokenizer.pad_token_id}


def test_a_measured_answer_stops_before_the_next_question(tmp_path: Path) -> None:
    make_tokenizer(tmp_path, None)
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer(" Yes.\n\nQuestion: More?\nAnswer: No", add_special_tokens=False)["input_ids"]
    assert next_turn(tokenizer) == "\nQuestion:"
    assert tokenizer.decode(before_turn(tokenizer, ids, next_turn(tokenizer))) == " Yes."
    assert before_turn(tokenizer, ids[:5], next_turn(tokenizer)) == ids[:5]
    import torch

    rows = torch.tensor([ids[:24], ids[:24]])
    rows[1, 10] = ids[0]
    stop = StopAtTurn(tokenizer, next_turn(tokenizer), 0)
    assert stop(rows, None).tolist() == [True, False]
    # what an export wrote into the tokenizer is still the studio's frame
    tokenizer.chat_template = QUESTION_ANSWER
    assert next_turn(tokenizer) == "\nQuestion:"
    make_tokenizer(tmp_path)
    assert next_turn(load_tokenizer(tmp_path)) == ""


# -- the catalogue ----------------------------------------------------------------------------------------------------


def test_catalogue_needs_no_network_and_says_what_each_needs(settings: Settings, tmp_path: Path) -> None:
    base = make_base(tmp_path / "models" / "mine")
    make_base(tmp_path / "data" / "embedded")
    service = ModelService(replace(settings, models_dir=tmp_path / "models", data_dir=tmp_path / "data"))
    listed = {info.id: info for info in service.catalogue()}
    assert listed["embedded"].kind == "embedded"
    assert listed["embedded"].cached
    assert next(iter(listed)) == "embedded"
    assert listed[str(base.resolve())].kind == "local"
    breeze = listed["MediaTek-Research/Breeze-7B-Instruct-v0_1"]
    assert breeze.load_in_4bit
    assert breeze.preset == "course"
    assert not breeze.cached
    assert "download 14,986 MB" in breeze.needs
    assert 5000 < breeze.memory_mb < 8000
    sizes = [info.download_mb for info in listed.values() if info.kind == "hub"]
    assert sizes == sorted(sizes)
    assert all(sizes)


def test_weights_are_counted_from_the_header(settings: Settings, tmp_path: Path) -> None:
    base = make_base(tmp_path / "mine")
    model = load_model(base, device="cpu")
    assert ModelService(settings).info(str(base)).params == sum(p.numel() for p in model.parameters())
    (base / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelLoadError, match="not a safetensors file"):
        ModelService(settings).info(str(base))


def test_resolve_gives_what_a_run_remembers(settings: Settings, tmp_path: Path) -> None:
    base = make_base(tmp_path / "mine")
    service = ModelService(settings)
    ref, path = service.resolve(str(base))
    assert (ref.id, ref.fingerprint, path) == (str(base), fingerprint(base), base)
    make_base(base, seed=3)
    assert service.resolve(str(base)).ref.fingerprint == fingerprint(base) != ref.fingerprint


def test_no_hub_is_a_clear_message(settings: Settings, tmp_path: Path) -> None:
    service = ModelService(settings)
    with pytest.raises(ModelLoadError, match="embedded base works without it"):
        service.resolve("Qwen/Qwen3-0.6B")
    with pytest.raises(ModelLoadError, match="cannot be reached"):
        service.ask_hub("nobody/nothing")
    for bad in ("", "x", "a/b/c", "../up/there", "a b/c", str(tmp_path / "missing")):
        with pytest.raises((InputError, ModelLoadError)):
            service.resolve(bad)


# -- downloading, from a hub on this machine --------------------------------------------------------------------------


class FakeHub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as its client needs to fetch one repository; ``files`` is set by the test."""

    files: ClassVar[dict[str, bytes]] = {}
    commit = "a" * 40

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        if path.startswith("/api/models/org/name/tree/"):
            tree = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in self.files.items()]
            self.reply(json.dumps(tree).encode())
        elif path in ("/api/models/org/name", "/api/models/org/name/revision/main"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            self.reply(json.dumps({"id": "org/name", "sha": self.commit, "siblings": siblings}).encode())
        elif (name := path.rpartition("/")[2]) in self.files and "/resolve/" in path:
            self.reply(self.files[name])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


DOWNLOAD = """
import sys
from pathlib import Path
from studio.config import ROOT, Settings
from studio.errors import ModelLoadError
from studio.ml.models.loading import load_model
from studio.services.models.service import ModelService
service = ModelService(Settings(data_dir=Path(sys.argv[1])))
asked = service.ask_hub("org/name")
assert asked.download_mb >= 0 and not asked.cached and "download" in asked.needs, asked
said = []
ref, path = service.resolve("org/name", lambda share, text: said.append((share, text)))
assert (ref.id, ref.revision) == ("org/name", "a" * 40), ref
assert not (path / "pytorch_model.bin").exists() and not (path / "own.py").exists()
assert all(0 <= share <= 1 and "org/name" in text for share, text in said)
load_model(path, device="cpu")
assert service.info("org/name").cached
try:
    service.resolve("org/missing")
except ModelLoadError as error:
    print(error, end="")
print("|", ref.fingerprint, end="")
"""


def test_a_hub_model_is_downloaded_once_without_pickles_or_code(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    FakeHub.files = {path.name: path.read_bytes() for path in base.iterdir()}
    FakeHub.files |= {"pytorch_model.bin": b"pickle", "own.py": b"boom", "README.md": b"# hi"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", DOWNLOAD, str(tmp_path)],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=150,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    message, _, found = done.stdout.partition("| ")
    assert "knows no such model" in message
    assert found == fingerprint(base)
