"""Dialogues to summarise (the format of DialogSum) become prompts without answers: lengths, counts, what they are refused for."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.errors import DatasetError
from studio.services import Services, build_services
from studio.services.align.form import AlignForm
from studio.services.data.datasets import DatasetService, ImportParts, counted
from studio.services.data.dialogues import split_prompts, summary_prompt
from studio.services.data.formats import RawRow
from studio.services.data.preference_rows import parse_rows
from studio.services.data.row_reader import ReadOptions
from studio.services.reward.service import RewardForm


def dialogue(number: int, length: int) -> str:
    """A dialogue of exactly so many characters, lines broken as in DialogSum."""
    start = f"#Person1#: Good morning, I am caller {number}.\n#Person2#: The line is bad, say it again. "
    return (start + "The water is cold and the door is shut. " * 40)[: length - 1].replace('"', "'") + "."


def row(number: int, length: int = 300) -> dict[str, str]:
    return {"id": f"train_{number}", "dialogue": dialogue(number, length), "summary": "A call.", "topic": "a call"}


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "dialogue", "summary", "topic"])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def datasets(settings: Settings) -> DatasetService:
    return DatasetService(settings)


def test_a_csv_becomes_prompts_and_says_what_it_left_out(datasets: DatasetService, tmp_path: Path) -> None:
    lengths = [199, 200, 1000, 1001, 300, 400, 500, 600, 700, 800, 1500]
    rows = [row(number, length) for number, length in enumerate(lengths)]
    done = datasets.import_file(write_csv(tmp_path / "train.csv", [*rows, row(4)]))
    data = done.dataset
    assert data.pairs == data.heldout == ()
    assert (len(data.prompts), len(data.test_prompts)) == (6, 2)  # a fifth of the 8 that fit
    assert set(data.prompts) | set(data.test_prompts) == {
        summary_prompt(rows[n]["dialogue"]) for n in (1, 2, *range(4, 10))
    }
    assert data.prompts[0].startswith("Summarize the following conversation.\n\n#Person1#: Good morning")
    assert data.prompts[0].endswith(".\n\nSummary:")
    assert data.language == "en"
    assert done.warnings == (
        "train.csv: 8 of 12 dialogues became prompts; left out: 1 under 200 characters, 2 over 1000 characters, 1 repeated.",
        "2 of the prompts were kept aside for before/after answers.",
    )
    assert counted(data) == "6 prompts without answers, 2 test prompts"
    (info,) = [info for info in datasets.list() if info.id == data.id]
    assert (info.n_pairs, info.n_prompts, info.n_test) == (0, 6, 2)


def test_it_is_kept_as_it_was_read(settings: Settings, datasets: DatasetService, tmp_path: Path) -> None:
    path = tmp_path / "dialogsum.train.jsonl"
    lines = [{"fname": f"train_{n}", "dialogue": dialogue(n, 300), "summary": "s", "topic": "t"} for n in range(10)]
    path.write_text("\n".join(map(json.dumps, lines)))
    data = datasets.import_file(path, ImportParts(heldout_share=0.3, seed=3)).dataset
    assert (len(data.prompts), len(data.test_prompts)) == (7, 3)
    again = DatasetService(settings).get(data.id)
    assert again == data
    tests = tmp_path / "tests.txt"
    tests.write_text("Say hello.\nSay goodbye.\n")
    given = datasets.import_file(path, ImportParts(test_prompts=tests)).dataset
    assert given.test_prompts == ("Say hello.", "Say goodbye.")
    assert len(given.prompts) == 10
    assert given.content_hash != data.content_hash


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"dialogue": "short"}], "none of its 1 dialogues has 200 to 1000 characters .1 are shorter, 0 longer"),
        ([row(1), {"id": "x", "dialogue": None}], "row 2: dialogue is missing .null."),
        ([row(1), {"id": "x"}], "row 2: dialogue is missing"),
        ([row(1), "text"], "row 2 is of type str; it must be an object"),
        ([row(1), {"dialogue": 7}], "row 2: dialogue is a number .7.; it must be text"),
    ],
)
def test_bad_rows_are_named(rows: list[object], words: str) -> None:
    raw = [RawRow(f"row {number}", value) for number, value in enumerate(rows, 1)]
    with pytest.raises(DatasetError, match=f"^file.*{words}"):
        parse_rows(raw, "file")
    if len(rows) > 1:
        kept = parse_rows(raw, "file", options=ReadOptions(skip_broken=True))
        assert len(kept.prompts) == 1
        assert "1 broken rows left out: row 2" in kept.warnings[1]


def test_a_file_of_pairs_with_a_dialogue_column_is_still_pairs() -> None:
    rows = [RawRow("row 1", {"prompt": "a?", "chosen": "b", "rejected": "c", "dialogue": "d"})]
    assert len(parse_rows(rows, "file").pairs) == 1


def test_prompts_are_split_and_never_stand_on_both_sides() -> None:
    prompts = [f"prompt {number}" for number in range(1000)]
    trained, asked = split_prompts(prompts, 0, 0)
    assert (len(trained), len(asked)) == (940, 60)
    assert not set(trained) & set(asked)
    assert sorted([*trained, *asked], key=prompts.index) == prompts
    assert split_prompts(prompts, 0.5, 1) != split_prompts(prompts, 0.5, 2)
    assert len(split_prompts(prompts, 0.5, 1)[1]) == 500
    assert [len(part) for part in split_prompts(prompts[:2], 0, 0)] == [1, 1]
    with pytest.raises(DatasetError, match="only one prompt"):
        split_prompts(prompts[:1], 0, 0)
    with pytest.raises(DatasetError, match="heldout_fraction is 1"):
        split_prompts(prompts, 1, 0)


def test_runs_on_pairs_refuse_them_in_a_sentence(settings: Settings, tmp_path: Path) -> None:
    services: Services = build_services(settings)
    data = services.datasets.import_file(write_csv(tmp_path / "d.csv", [row(n) for n in range(5)])).dataset
    with pytest.raises(DatasetError, match="d holds prompts without answers and DPO needs pairs"):
        services.align.start(
            AlignForm.from_preset("embedded", "embedded", dataset_id=data.id, support_ratio=0.9, data_size=4)
        )
    with pytest.raises(DatasetError, match="holds prompts without answers and a reward run needs pairs"):
        services.reward.start(replace(RewardForm.from_preset("embedded", "embedded"), dataset_id=data.id, data_size=4))
    assert services.runs.ids() == []


def test_their_test_prompts_are_offered_before_and_after(settings: Settings, tmp_path: Path) -> None:
    import gradio as gr

    from studio.ui.evaluations.form import EvaluationFormBox, form_from

    services: Services = build_services(settings)
    data = services.datasets.import_file(write_csv(tmp_path / "d.csv", [row(n) for n in range(5)])).dataset
    with gr.Blocks():
        form = EvaluationFormBox(services)
    offered = form.offer("embedded", None, None, None, None, "embedded")[form.prompts].choices
    assert ("d (1)", f"dataset:{data.id}") in offered
    assert not any("live-action" in value for _, value in offered)
    made = form_from(
        services, "embedded", "__base__", ["run-1"], f"dataset:{data.id}", "", "embedded", 1, 0, 1.0, 64, "", 1.0, ""
    )
    assert made.prompt_set == "d"
    assert tuple(prompt.text for prompt in made.prompts) == data.test_prompts


def test_the_hubs_splits_are_read_by_the_real_library(
    datasets: DatasetService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets as library
    import huggingface_hub

    parts = {"train": range(20), "test": range(20, 30)}
    files = {name: str(write_csv(tmp_path / f"{name}.csv", [row(n) for n in part])) for name, part in parts.items()}
    load = library.load_dataset

    def local(dataset_id: str, name: str | None, split: str, streaming: bool) -> Any:
        return load("csv", data_files=files, split=split, streaming=streaming)

    monkeypatch.setattr(library, "load_dataset", local)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, dataset_id, timeout: None)
    trained = datasets.import_hub("knkarthick/dialogsum", limit=12).dataset
    assert (trained.title, trained.source) == ("knkarthick/dialogsum", "hub:knkarthick/dialogsum")
    assert (len(trained.prompts), len(trained.test_prompts)) == (10, 2)
    tested = datasets.import_hub("knkarthick/dialogsum", "test", parts=ImportParts(heldout_share=0.5)).dataset
    assert (len(tested.prompts), len(tested.test_prompts)) == (5, 5)
    assert summary_prompt(dialogue(25, 300)) in {*tested.prompts, *tested.test_prompts}
