"""Encoder-decoder bases: told from their config, answering beside their adapters like causal ones, refused where they cannot
be trained."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, PaneUpdate, Sampling
from studio.domain.data import Message
from studio.errors import InputError, RecipeError
from studio.ml.chat.engine import BaseSource, ChatEngine, GenRow
from studio.ml.measure.answers import greedy_answers, sample_answers
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.models.prompts import fit_prompt
from studio.ml.models.seq2seq import encoder_text, is_encoder_decoder
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.compare.panes import PaneChat
from studio.services.reward.service import RewardForm
from tests.helpers.chat_models import make_base, source
from tests.helpers.services import opened
from tests.helpers.t5 import make_adapter, make_t5

GREEDY = Sampling(temperature=0, max_new_tokens=12)
SAMPLED = Sampling(temperature=1, max_new_tokens=12, seed=7)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_t5(tmp_path_factory.mktemp("t5") / "t5", steps=250)


@pytest.fixture(scope="module")
def adapters(base: Path) -> dict[str, Path]:
    return {f"run-{seed}": make_adapter(base.parent / f"run-{seed}", base, seed) for seed in (1, 2)}


@pytest.fixture
def engine() -> Iterator[ChatEngine]:
    made = ChatEngine("cpu", lambda: 1, dtype="float32")
    yield made
    made.close()


def ask(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def answers(
    engine: ChatEngine, base: BaseSource, rows: list[GenRow], folders: Any, sampling: Sampling
) -> list[PaneUpdate]:
    return list(engine.generate(base, rows, folders, sampling))[-1]


def plain_answer(base: Path, adapter: Path | None, text: str) -> str:
    """The greedy answer of plain transformers and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model: Any = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    out = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=GREEDY.max_new_tokens, do_sample=False)
    return str(tokenizer.decode(out[0], skip_special_tokens=True)).strip()


# -- told and loaded --------------------------------------------------------------------------------------------------


def test_told_by_its_config_and_loaded_as_what_it_is(base: Path, tmp_path: Path) -> None:
    assert is_encoder_decoder(base)
    causal = make_base(tmp_path / "causal")
    assert not is_encoder_decoder(causal)
    assert not is_encoder_decoder(tmp_path)
    assert type(load_model(base, device="cpu", dtype="float32")).__name__ == "T5ForConditionalGeneration"
    assert type(load_model(causal, device="cpu", dtype="float32")).__name__ == "LlamaForCausalLM"


def test_a_pickle_is_no_encoder_decoder(base: Path, tmp_path: Path) -> None:
    import torch

    from studio.errors import ModelLoadError

    pickled = shutil.copytree(base, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelLoadError):
        load_model(pickled, device="cpu")


# -- what the encoder reads -------------------------------------------------------------------------------------------


def test_a_single_question_reaches_the_encoder_word_for_word() -> None:
    assert encoder_text(ask(" Summarize: a\n\nb ")) == "Summarize: a\n\nb"


def test_earlier_turns_and_system_prompt_go_before_the_question() -> None:
    chat = (Message("system", "Be brief."), *ask("One?"), Message("assistant", "Yes."), *ask("Two?"))
    assert encoder_text(chat) == "Be brief.\n\nUser: One?\nAssistant: Yes.\n\nTwo?"
    assert encoder_text((Message("system", "  "), *ask("Two?"))) == "Two?"
    with pytest.raises(InputError, match="empty"):
        encoder_text((Message("system", "Be brief."),))


def test_the_oldest_turns_go_where_the_encoder_is_full(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    chat = (*ask("red red red"), Message("assistant", "blue blue"), *ask("repeat : sun"))
    whole, note = fit_prompt(tokenizer, chat, 64, 60, seq2seq=True)
    assert note == ""  # the answer takes nothing from the encoder's room
    assert tokenizer.decode(whole) == "User : red red red Assistant : blue blue repeat : sun </s>"
    short, note = fit_prompt(tokenizer, chat, 8, 60, seq2seq=True)
    assert tokenizer.decode(short) == "repeat : sun </s>"
    assert "oldest 2 messages" in note
    with pytest.raises(InputError, match="this model reads 3 at most"):
        fit_prompt(tokenizer, ask("repeat : sun"), 3, 60, seq2seq=True)


# -- answers ----------------------------------------------------------------------------------------------------------


def test_base_and_adapters_answer_in_one_batch_as_plain_peft_does(
    engine: ChatEngine, base: Path, adapters: dict[str, Path]
) -> None:
    texts = ("repeat : tea rain", "repeat : good sun gold")
    rows = [GenRow(ask(text), name) for text in texts for name in ("run-2", BASE, "run-1")]
    shown = answers(engine, source(base), rows, adapters, GREEDY)
    for row, update in zip(rows, shown, strict=True):
        assert update.text == plain_answer(base, adapters.get(row.adapter), row.messages[0].content)
        assert update.done
        assert update.verified is (True if row.adapter == BASE else None)
    assert [shown[1].text, shown[4].text] == ["tea rain", "good sun gold"]
    assert len({update.text for update in shown[:3]}) == 3
    check = engine.base_check()
    assert check is not None
    assert check.ok
    assert all(moved > check.tolerance for _, moved in check.moved)


def test_it_streams_repeats_by_seed_and_does_not_depend_on_its_neighbours(
    engine: ChatEngine, base: Path, adapters: dict[str, Path]
) -> None:
    one, question = source(base), ask("red blue green")
    alone = {
        n: answers(engine, one, [GenRow(question, n)], adapters, SAMPLED)[0].text for n in (BASE, "run-1", "run-2")
    }
    rows = [GenRow(question, n) for n in ("run-2", BASE, "run-1", BASE)]
    together = [update.text for update in answers(engine, one, rows, adapters, SAMPLED)]
    assert together == [alone["run-2"], alone[BASE], alone["run-1"], alone[BASE]]
    other = {answers(engine, one, [GenRow(question, seed=seed)], {}, SAMPLED)[0].text for seed in range(6)}
    assert len(other) > 1


def test_an_answer_can_be_stopped_and_cut(engine: ChatEngine, base: Path, tmp_path: Path) -> None:
    endless = shutil.copytree(base, tmp_path / "endless")
    config = json.loads((endless / "tokenizer_config.json").read_text())
    (endless / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "<unk>"}))
    for name in ("config.json", "generation_config.json"):
        kept = json.loads((endless / name).read_text())
        (endless / name).write_text(json.dumps({**kept, "eos_token_id": 2}))
    cancel = threading.Event()
    seen: list[list[PaneUpdate]] = []
    for updates in engine.generate(
        source(endless), [GenRow(ask("sun"))], {}, replace(GREEDY, max_new_tokens=60), cancel
    ):
        seen.append(updates)
        if updates[0].tokens:
            cancel.set()
    assert seen[-1][0].note == "Stopped."
    assert 0 < seen[-1][0].tokens < 60
    cut = answers(engine, source(endless), [GenRow(ask("sun"))], {}, replace(GREEDY, max_new_tokens=4))[0]
    assert cut.note == "Cut after 4 tokens."


def test_answers_during_a_training_are_the_same(base: Path) -> None:
    model: Any = load_model(base, device="cpu", dtype="float32")
    tokenizer = load_tokenizer(base)
    model.train()
    told = greedy_answers(model, tokenizer, ["repeat : tea rain", "repeat : good sun gold"], "", 12)
    assert told == ["tea rain", "good sun gold"]
    assert model.training
    drawn = sample_answers(model, tokenizer, ["sun"] * 8, "", seed=1, max_new_tokens=6)
    assert len(set(drawn)) > 1
    assert drawn == sample_answers(model, tokenizer, ["sun"] * 8, "", seed=1, max_new_tokens=6)


# -- the catalogue, what is refused, the library ----------------------------------------------------------------------


@pytest.fixture
def services(settings: Settings, base: Path) -> Iterator[Services]:
    with opened(replace(settings, models_dir=base.parent)) as made:
        yield made


def test_the_catalogue_knows_encoder_decoders(services: Services, base: Path) -> None:
    listed = {info.id: info for info in services.models.catalogue()}
    assert listed["google/flan-t5-base"].seq2seq
    assert not listed["embedded"].seq2seq
    info = services.models.info(str(base))
    assert info.seq2seq
    assert info.cached
    assert "google/flan-t5-base" not in {base_id for _, base_id in services.reward.bases()}


@pytest.mark.parametrize("model", ["local", "google/flan-t5-base"])
def test_dpo_and_reward_runs_refuse_them_before_anything_is_written(
    services: Services, settings: Settings, base: Path, model: str
) -> None:
    model_id = str(base) if model == "local" else model
    with pytest.raises(RecipeError, match="is an encoder-decoder model; DPO and KTO here are for causal models"):
        services.align.start(
            AlignForm.from_preset(model_id, "hub-small", dataset_id="live-action-en", support_ratio=0.9, data_size=20)
        )
    form = replace(RewardForm.from_preset(model_id, "hub-small"), dataset_id="live-action-en", data_size=20)
    with pytest.raises(RecipeError, match="is an encoder-decoder model; a reward model grows from"):
        services.reward.start(form)
    assert services.runs.ids() == []


def test_compare_and_tables_take_their_adapters(services: Services, base: Path, adapters: dict[str, Path]) -> None:
    run = services.library.import_folder(adapters["run-1"], base=str(base)).run_id
    chats = [PaneChat(pane, ask("repeat : tea rain")) for pane in (BASE, run)]
    shown = list(services.compare.stream(chats, GREEDY))[-1]
    assert [update.text for update in shown] == ["tea rain", plain_answer(base, adapters["run-1"], "repeat : tea rain")]
    check = services.compare.base_check()
    assert check is not None
    assert check.ok
    prompts = ["repeat : tea rain", "repeat : good sun gold"]
    *_, table = services.compare.table(prompts, [BASE, run], GREEDY)
    assert [row.answers[0] for row in table.rows] == ["tea rain", "good sun gold"]
    assert table.finished


def test_the_library_hands_them_out_and_takes_them_in(
    services: Services, base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    run = services.library.import_folder(adapters["run-1"], base=str(base)).run_id
    card = services.library.card(run)
    assert "transformers.AutoModelForSeq2SeqLM.from_pretrained" in card
    packed = services.library.zip(run)
    again = services.library.import_zip(packed, base=str(base)).run_id
    folder = services.runs.folder(again)
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "SEQ_2_SEQ_LM"
    tuned = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), folder)
    assert type(tuned).__name__ == "PeftModelForSeq2SeqLM"
    merged = services.library.merge(run, tmp_path / "merged")
    text = "repeat : tea rain"
    assert plain_answer(merged, None, text) == plain_answer(base, adapters["run-1"], text)
    with pytest.raises(InputError, match="does not fit"):
        services.library.import_zip(packed, base="embedded")
