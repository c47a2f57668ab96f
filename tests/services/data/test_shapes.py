"""Preference data as other tools write it: what it is read as, what comes out, what is refused and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.data import Message, PreferencePair
from studio.errors import DatasetError
from studio.services.data.annotated.rated import kto_file
from studio.services.data.datasets import DatasetService, ImportParts
from studio.services.data.row_reader import ReadOptions, UnknownShapeError
from tests.helpers.datasets import BAD, GOOD, SIDES, USER, as_csv, lines

SYSTEM = Message("system", "You are a gardener.")
TALK = [{"from": "human", "value": "why?"}]
GPT_GOOD, GPT_BAD = {"from": "gpt", "value": "because"}, {"from": "gpt", "value": "no idea"}
PAIR = PreferencePair("1", "why?", "because", "no idea")
LED = PreferencePair("1", "why?", "because", "no idea", (SYSTEM,))
LONGER = PreferencePair("1", "why?", "because", "no idea", (Message("user", "hi"), Message("assistant", "hello")))
SHAPES: dict[str, tuple[dict[str, Any], str, PreferencePair]] = {
    "sharegpt": ({"conversations": TALK, "chosen": GPT_GOOD, "rejected": GPT_BAD}, "LLaMA-Factory sharegpt", PAIR),
    "sharegpt, system": (
        {"conversations": TALK, "chosen": GPT_GOOD, "rejected": GPT_BAD, "system": "You are a gardener."},
        "LLaMA-Factory sharegpt",
        LED,
    ),
    "alpaca": ({"instruction": "why?", "input": "", "chosen": "because", "rejected": "no idea"}, "alpaca ranking", PAIR),
    "alpaca, history": (
        {"instruction": "why?", "history": [["hi", "hello"]], "chosen": "because", "rejected": "no idea"},
        "alpaca ranking",
        LONGER,
    ),
    "alpaca, input": (
        {"instruction": "why?", "input": "rain", "chosen": "because", "rejected": "no idea"},
        "alpaca ranking",
        PreferencePair("1", "why?\n\nrain", "because", "no idea"),
    ),
    "list of outputs": ({"instruction": "why?", "output": ["because", "no idea"]}, "list of outputs", PAIR),
    "axolotl": ({"messages": [USER], "chosen": GOOD, "rejected": BAD}, "a chosen and a rejected turn", PAIR),
    "axolotl, input": ({"system": "You are a gardener.", "input": "why?", "chosen": "because", "rejected": "no idea"}, "axolotl", LED),
    "ms-swift": ({"messages": [USER, GOOD], "rejected_response": "no idea"}, "ms-swift", PAIR),
    "ms-swift, messages": ({"messages": [USER, GOOD], "rejected_messages": [USER, BAD]}, "ms-swift", PAIR),
    "ms-swift, query": ({"query": "why?", "response": "because", "rejected_response": "no idea"}, "ms-swift", PAIR),
    "OpenAI": (
        {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
        "OpenAI preference rows",
        PAIR,
    ),
    "Orca": (
        {"system": "You are a gardener.", "question": "why?", "chosen": "because", "rejected": "no idea"},
        "Orca-style",
        LED,
    ),
    "TRL with system": (
        {"system": "You are a gardener.", "prompt": "why?", "chosen": "because", "rejected": "no idea"},
        "TRL preference rows",
        LED,
    ),
    "distilabel": ({"instruction": "why?", "chosen_response": "because", "rejected_response": "no idea"}, "distilabel", PAIR),
    "generations": (
        {"instruction": "why?", "generations": ["so so", "because", "no idea"], "ratings": [3, 5.0, 1]},
        "distilabel generations",
        PAIR,
    ),
    "completions": (
        {
            "instruction": "why?",
            "completions": [{"response": "no idea", "overall_score": 2}, {"response": "because", "overall_score": 8.5}],
        },
        "UltraFeedback",
        PAIR,
    ),
    "ranks": (
        {"prompt": "why?", "answers": [{"answer": "no idea", "rank": 7}, {"answer": "because", "rank": 1}]},
        "ranked answers",
        PAIR,
    ),
    "summaries": (
        {"info": {"id": "t3", "post": "why?"}, "summaries": [{"text": "no idea"}, {"text": "because"}], "choice": 1, "worker": "w"},
        "summarize-from-feedback",
        PAIR,
    ),
    "SHP": ({"history": "why?", "human_ref_A": "no idea", "human_ref_B": "because", "labels": 0}, "SHP", PAIR),
    "stack-exchange": ({"qid": 3, "question": "why?", "response_j": "because", "response_k": "no idea"}, "stack-exchange", PAIR),
    "SafeRLHF": (
        {"prompt": "why?", "response_0": "no idea", "response_1": "because", "better_response_id": 1, "safer_response_id": 0},
        "SafeRLHF",
        PAIR,
    ),
    "safer alone": (
        {"prompt": "why?", "response_0": "because", "response_1": "no idea", "safer_response_id": 0},
        "SafeRLHF",
        PAIR,
    ),
    "nested": ({"prompt": {"text": "why?", "score": 0.1}, "chosen": {"text": "because"}, "rejected": {"text": "no idea"}}, "TRL", PAIR),
    "one name for a path": ({"prompt.text": "why?", "chosen": "because", "rejected": "no idea"}, "", PAIR),
    "HelpSteer": (
        {"context": [USER], "response1": "no idea", "response2": "because", "overall_preference": 2},
        "two answers side by side",
        PAIR,
    ),
    "words for it": ({"question": "why?", "Better": "because", "Worse": "no idea"}, "better and worse", PAIR),
    "other capitals": ({"Prompt": "why?", "CHOSEN": "because", "Rejected": "no idea"}, "TRL", PAIR),
    "whole conversation beside": (
        {"messages": [USER, GOOD], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        "a chosen and a rejected turn",
        PAIR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_recognised_told_and_read(
    service: DatasetService, put: Callable[[str, Any], Path], shape: str
) -> None:
    row, name, expected = SHAPES[shape]
    path = put("rows.jsonl", lines([row]))
    seen = service.preview_file(path)
    assert name in str(seen)
    assert str(seen).endswith(", 1 pair.")
    assert (seen.prompt, *(text for _, text in seen.answers)) == (expected.prompt, expected.support, expected.oppose)
    assert {info.source for info in service.list()} == {"shipped"}  # looking keeps nothing
    report = service.import_file(path)
    assert (report.dataset.kind, report.dataset.pairs, report.shape) == ("labels", (expected,), seen.shape)


def test_the_instruction_is_the_prompt_however_the_answers_begin(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    row = {"instruction": "why?", "input": "", "chosen": "I think, because", "rejected": "I think, no idea"}
    (pair,) = service.import_file(put("a.json", [row])).dataset.pairs
    assert (pair.prompt, pair.support) == ("why?", "I think, because")


def test_a_prompt_is_not_guessed_while_a_field_could_be_it(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    row = {"subject": "why is it so?", "category": "a b", "chosen": "It is good", "rejected": "It is bad"}
    path = put("a.json", [row])
    with pytest.raises(DatasetError, match=r"row 1: prompt is missing, and subject could be it.*--map prompt=subject"):
        service.import_file(path)
    (pair,) = service.import_file(path, options=ReadOptions({"prompt": "subject"})).dataset.pairs
    assert (pair.prompt, pair.support) == ("why is it so?", "It is good")
    (pair,) = service.import_file(path, options=ReadOptions({"prompt": ""})).dataset.pairs
    assert (pair.prompt, pair.support) == ("It is", "good")


def test_fields_are_mapped_by_hand(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    row = {"q": {"text": "why?"}, "good": "because", "bad": "no idea", "role": "You are a gardener."}
    path = put("a.json", [row])
    with pytest.raises(UnknownShapeError, match=r"it has q, q\.text, good, bad, role\. Map them by hand") as caught:
        service.import_file(path)
    assert caught.value.fields == ("q", "q.text", "good", "bad", "role")
    mapping = {"prompt": "q.text", "chosen": "good", "rejected": "bad", "system": "role"}
    report = service.import_file(path, options=ReadOptions(mapping))
    assert report.dataset.pairs == (LED,)
    assert "mapped by hand (prompt = q.text" in report.shape
    for given, message in (
        (
            {"prompt": "nowhere", "chosen": "good", "rejected": "bad"},
            "prompt is mapped to 'nowhere'; no row has that field",
        ),
        ({"prompt": "q", "chosen": "good"}, "map both chosen and rejected"),
        ({"answer": "good"}, "'answer' cannot be mapped"),
    ):
        with pytest.raises(DatasetError, match=message):
            service.import_file(path, options=ReadOptions(given))


@pytest.mark.parametrize("written", ["python", "json", "numpy"])
def test_conversations_written_as_text_are_read_as_conversations(
    service: DatasetService, put: Callable[[str, Any], Path], written: str
) -> None:
    it_s = {"role": "assistant", "content": 'it\'s "so" {and} [so]\n'}

    def cell(*turns: dict[str, str]) -> str:
        if written == "json":
            return json.dumps(turns)
        return repr(list(turns)) if written == "python" else f"[{' '.join(map(repr, turns))}]"

    rows = [{"prompt": "why?", "chosen": cell(USER, it_s), "rejected": cell(USER, BAD)}]
    for path in (put("a.csv", as_csv(rows)), put("a.jsonl", lines(rows))):
        (pair,) = service.import_file(path).dataset.pairs
        assert (pair.prompt, pair.support, pair.oppose) == ("why?", 'it\'s "so" {and} [so]', "no idea")


def test_lists_as_text_are_never_answers(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    for text, message in (
        ("[{'role': 'assistant', 'content': open('x')}]", "looks like a list of turns written as text"),
        ("[{'role': 'assistant', 'content': 'cut off]", "looks like a list of turns written as text"),
        ("['because']", "chosen is a list, rejected is text"),
        ("{'a': 'because'}", "chosen is an object; it must be text"),
    ):
        with pytest.raises(DatasetError, match=message):
            service.import_file(put("a.json", [{"prompt": "why?", "chosen": text, "rejected": "no idea"}]))
    # what only looks a little like one is what somebody said
    for text in ("[1]", "[INST", "{so}", '{"colour": "red"}', "[because]"):
        row = {"prompt": "why?", "chosen": text, "rejected": "no idea"}
        assert service.import_file(put("b.json", [row])).dataset.pairs[0].support == text


CHATML = "<|im_start|>system\nYou are a gardener.<|im_end|>\n<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n"
TEMPLATES: dict[str, tuple[str, str, PreferencePair]] = {
    "ChatML": (CHATML, "{}<|im_end|>", LED),
    "ChatML, whole": ("", CHATML + "{}<|im_end|>\n", LED),
    "Zephyr": ("<|system|>\n</s>\n<|user|>\nwhy?</s>\n", "<|assistant|>\n{}</s>", PAIR),
    "Llama 2": ("<s>[INST] <<SYS>>\nYou are a gardener.\n<</SYS>>\n\nwhy? [/INST]", " {} </s>", LED),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nwhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "{}<|eot_id|>",
        PAIR,
    ),
    "Gemma": ("<bos><start_of_turn>user\nwhy?<end_of_turn>\n<start_of_turn>model\n", "{}<end_of_turn>", PAIR),
    "Alpaca": ("### Instruction:\nwhy?\n\n### Response:\n", "{}", PAIR),
    "Vicuna": ("USER: why? ASSISTANT:", "{}</s>", PAIR),
    "Mistral, earlier turn": ("<s>[INST] hi [/INST] hello</s>[INST] why? [/INST]", "{}</s>", LONGER),
}


@pytest.mark.parametrize("family", TEMPLATES)
def test_chat_templates_in_texts_are_told_and_stripped_on_request(
    service: DatasetService, put: Callable[[str, Any], Path], family: str
) -> None:
    prompt, answer, expected = TEMPLATES[family]
    row = {"prompt": prompt, "chosen": answer.format("because"), "rejected": answer.format("no idea")}
    path = put("a.jsonl", lines([row if prompt else {key: row[key] for key in ("chosen", "rejected")}]))
    told = service.preview_file(path).warnings
    assert any("already hold a chat template or special tokens" in warning for warning in told)
    report = service.import_file(path, options=ReadOptions(strip_templates=True))
    assert report.dataset.pairs == (expected,)
    assert not any("chat template" in warning for warning in report.warnings)


def test_plain_texts_are_no_templates(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [
        {"prompt": "Is <b>this</b> a < b | c > d?", "chosen": "## Input: so [1]", "rejected": "USER: is a name"},
        {"prompt": "What is a system?", "chosen": "A user's view of the assistant.", "rejected": "[x] | {y}"},
    ]
    path = put("a.json", rows)
    assert service.preview_file(path).warnings == ()
    plain = service.import_file(path).dataset.pairs
    assert service.import_file(path, options=ReadOptions(strip_templates=True)).dataset.pairs == plain


def test_answers_with_a_thumb_are_kept_one_by_one_and_make_pairs(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    rows = [
        {"prompt": "why?", "completion": "no idea", "label": False},
        {"prompt": "why?", "completion": "because", "label": True},
        {"prompt": "how?", "completion": "so", "label": True},
    ]
    path = put("kto.jsonl", lines(rows))
    assert str(service.preview_file(path)) == "Read as answers with a thumb (KTO), 3 rated answers."
    assert service.preview_file(path).answers == (("Thumb down", "no idea"),)
    data = service.import_file(path).dataset
    assert (data.kind, data.pairs) == ("rated", (PAIR,))
    assert [(answer.prompt, answer.completion, answer.liked) for answer in data.rated] == [
        tuple(r.values()) for r in rows
    ]
    # out in TRL's format, in again: the same rows
    for kind in ("jsonl", "csv"):
        again = service.import_file(put(f"again.{kind}", kto_file(data.rated, kind).decode())).dataset
        assert again.content_hash == data.content_hash
    turns = [{"role": "system", "content": "Be short."}, USER]
    chats = [
        {"messages": [*turns, GOOD], "label": 1},
        {"prompt": turns, "completion": [BAD], "label": 0},
        {"prompt": "why?", "system": "Be short.", "completion": "because", "label": "thumbs_up"},
    ]
    said = service.import_file(put("chats.json", chats)).dataset
    assert said.pairs == (replace(PAIR, history=(Message("system", "Be short."),)),)
    assert {(answer.prompt, answer.history) for answer in said.rated} == {(PAIR.prompt, said.pairs[0].history)}
    again = service.import_file(put("chats.csv", kto_file(said.rated, "csv").decode())).dataset
    assert again.rated == said.rated
    held = service.import_file(path, ImportParts(heldout_share=0.5)).dataset
    assert {answer.prompt for answer in held.rated}.isdisjoint(held.test_prompts)
    assert len(held.test_prompts) == 1
    broken = [
        *rows,
        {"prompt": "when?", "completion": "", "label": True},
        {"prompt": "who?", "completion": "I", "label": "maybe"},
    ]
    with pytest.raises(DatasetError, match=r"line 4\): completion is empty.*line 5\): label says neither"):
        service.import_file(put("broken.jsonl", lines(broken)))
    kept = service.import_file(put("broken.jsonl", lines(broken)), options=ReadOptions(skip_broken=True)).dataset
    assert len(kept.rated) == 3
    assert "2 broken rows left out" in kept.notes[0]


def test_rows_that_prefer_neither_say_so(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    row = {"prompt": "why?", "response_1": "because", "response_2": "no idea"}
    with pytest.raises(DatasetError, match=r"nothing says which answer is preferred.*under Rate"):
        service.import_file(put("a.json", [row]))
    mapping = {"chosen": "response_1", "rejected": "response_2"}
    assert service.import_file(put("a.json", [row]), options=ReadOptions(mapping)).dataset.pairs == (PAIR,)
    tied = {"instruction": "why?", "generations": ["a", "b"], "ratings": [2, 2]}
    good = {"instruction": "why?", "generations": ["because", "no idea"], "ratings": [2, 1]}
    report = service.import_file(put("b.json", [tied, good]))
    assert "1 rows prefer nothing and were left out" in report.warnings[0]


def test_a_choice_that_names_neither_answer_is_refused(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    row = {"info": {"post": "why?"}, "summaries": [{"text": "because"}, {"text": "no idea"}]}
    for choice in (2, -1, True, "0"):
        with pytest.raises(DatasetError, match=r"row 1: choice is .*; it must be 0 or 1"):
            service.import_file(put("a.json", [{**row, "choice": choice}]))
    with pytest.raises(DatasetError, match="summaries holds 1 answers; it must hold two"):
        service.import_file(put("a.json", [{**row, "summaries": row["summaries"][:1], "choice": 0}]))


@pytest.mark.parametrize(("given", "ids"), [([0.0, 1.0], ("0", "1")), ([7, "x"], ("7", "x"))])
def test_ids_counted_in_floats(
    service: DatasetService, put: Callable[[str, Any], Path], given: list[Any], ids: tuple[str, ...]
) -> None:
    rows = [{**row, "id": value} for row, value in zip(SIDES, given, strict=False)]
    assert tuple(pair.id for pair in service.import_file(put("a.json", rows)).dataset.pairs) == ids


def test_what_was_left_out_stays_with_the_dataset(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [
        {"prompt": "why?", "chosen": "because", "rejected": "no idea"},
        {"prompt": "why?", "chosen": "", "rejected": "x"},
    ]
    path = put("a.json", rows)
    seen = service.preview_file(path)
    assert seen.broken == ("row 2: chosen is empty.",)
    with pytest.raises(DatasetError, match="--skip-broken"):
        service.import_file(path)
    data = service.import_file(path, options=ReadOptions(skip_broken=True)).dataset
    again = DatasetService(service_settings(service)).get(data.id)
    assert again.notes == data.notes == ("1 broken rows left out: row 2: chosen is empty.",)
    assert again.content_hash == data.content_hash


def service_settings(service: DatasetService) -> Any:
    from studio.config import Settings

    return Settings(data_dir=service._shipped_dir, imported_dir=service._imported_dir)


def test_a_file_of_held_out_pairs(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    held = put("held.csv", as_csv([{"prompt": "how?", "support": "so", "oppose": "not so"}]))
    data = service.import_file(put("a.json", SIDES), ImportParts(heldout_file=held)).dataset
    assert ([pair.prompt for pair in data.heldout], len(data.pairs)) == (["how?"], len(SIDES))
    with pytest.raises(DatasetError, match="a held-out prompt must not be trained on"):
        service.import_file(put("a.json", SIDES), ImportParts(heldout_file=put("b.json", SIDES[:1])))


def test_a_file_named_as_data_is_imported_once(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    path = put("mine.json", SIDES)
    first, second = service.named(str(path)), service.named(str(path))
    assert first.dataset.id == second.dataset.id
    assert service.named(first.dataset.id).dataset == first.dataset
    path.write_text(json.dumps(SIDES[:3]))
    assert service.named(str(path)).dataset.id != first.dataset.id
