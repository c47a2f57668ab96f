"""Data of more rows than are held in memory: read row by row, kept as Parquet, and read of it what is asked for."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pytest

from studio.config import Settings
from studio.domain.data import Message
from studio.errors import DatasetError
from studio.services.data.annotated.rated import chosen_rows, count_thumbs, pairs_of
from studio.services.data.datasets import DatasetService, ImportParts, ImportReport
from studio.services.data.dial import build_preferences
from studio.services.data.formats import HEAD, RawRow
from studio.services.data.hub_rows import hub_limits, hub_rows
from studio.services.data.kept import rows as kept_rows
from studio.services.data.preference_rows import parse_rows
from studio.services.data.row_reader import COMPLAINTS, ReadOptions
from studio.services.runs import folder
from studio.services.runs.folder import SNAPSHOT_PAIRS
from studio.services.runs.job import read_job
from studio.services.runs.store import RunStore
from tests.helpers.datasets import as_parquet
from tests.helpers.runs import make_recipe

Put = Callable[[str, Any], Path]
COUNT = 2_300
#: Every tenth row asks what the one before asks; two say the same word for word.
ROWS = [
    {"prompt": f"Question {n - (n % 10 == 9)}?", "chosen": f"Yes, {n}.", "rejected": "No."} for n in range(COUNT - 1)
] + [{"prompt": "Question 5?", "chosen": "Yes, 5.", "rejected": "No."}]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_sheet(rows: list[dict[str, Any]]) -> bytes:
    book, out = openpyxl.Workbook(write_only=True), io.BytesIO()
    sheet = book.create_sheet()
    for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
        sheet.append(cells)
    book.save(out)
    return out.getvalue()


FILES: dict[str, Callable[[], Any]] = {
    "many.jsonl": lambda: lines(ROWS),
    "many.jsonl.gz": lambda: gzip.compress(lines(ROWS).encode()),
    "many.json": lambda: ROWS,
    "many.csv": lambda: as_csv(ROWS),
    "many.tsv": lambda: as_csv(ROWS, "\t"),
    "many.parquet": lambda: as_parquet(ROWS),
    "many.xlsx": lambda: as_sheet(ROWS),
}

#: A liked and a disliked answer to each prompt.
RATED = [{"prompt": f"Question {n // 2}?", "completion": f"Yes, {n}.", "label": n % 2 == 0} for n in range(COUNT)]
#: Dialogues, some too short, some said again.
SAID = [
    {"id": str(n), "dialogue": f"#Person1#: Call {n - (n % 10 == 9)}. " + "So? " * (20 if n % 7 == 3 else 60)}
    for n in range(COUNT)
]
OTHERS: dict[str, Callable[[], Any]] = {
    "rated.jsonl": lambda: lines(RATED),
    "rated.xlsx": lambda: as_sheet(RATED),
    "said.csv": lambda: as_csv(SAID),
    "said.parquet": lambda: as_parquet(SAID),
}


class Row(dict[str, Any]):
    """A row that counts how many of them are there, and the most that ever were."""

    now = most = 0

    def __init__(self, value: dict[str, Any]) -> None:
        super().__init__(value)
        Row.now += 1
        Row.most = max(Row.most, Row.now)

    def __del__(self) -> None:
        Row.now -= 1


def hold_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a thousand rows are many, and a hundred are read at once."""
    monkeypatch.setattr(kept_rows, "HELD", 1_000)
    monkeypatch.setattr(kept_rows, "_GROUP", 100)


@pytest.fixture
def few_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """See :func:`hold_few`."""
    hold_few(monkeypatch)


def imported_twice(
    service: DatasetService, path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, *parts: str
) -> tuple[ImportReport, ImportReport]:
    """A file as it is held in memory, and kept as Parquet: the same in these ``parts`` of the data and all that is said of it."""
    asked = ImportParts(heldout_share=0.1, seed=3)
    held = service.import_file(path, asked)
    hold_few(monkeypatch)
    many = service.import_file(path, asked)
    assert (settings.imported_dir / f"{many.dataset.id}.parquet").is_file()
    for part in parts:
        assert tuple(getattr(many.dataset, part)) == getattr(held.dataset, part)
    same = ("kind", "language", "source", "notes", "test_prompts", "content_hash", "title")
    assert [getattr(many.dataset, field) for field in same] == [getattr(held.dataset, field) for field in same]
    assert (many.warnings, many.seen) == (held.warnings, held.seen)
    assert DatasetService(settings).list()[-2:] == service.list()[-2:]
    return held, many


@pytest.mark.parametrize("name", FILES)
def test_many_pairs_are_what_few_would_be(
    name: str, service: DatasetService, put: Put, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    held, many = imported_twice(service, put(name, FILES[name]()), settings, monkeypatch, "pairs", "heldout")
    assert isinstance(held.dataset.pairs, tuple)
    assert "1 rows repeat an earlier one" in " ".join(many.warnings)
    asked = {pair.prompt for pair in many.dataset.pairs}
    assert not asked & {pair.prompt for pair in many.dataset.heldout}


@pytest.mark.parametrize("name", OTHERS)
def test_many_answers_and_dialogues_are_what_few_would_be(
    name: str, service: DatasetService, put: Put, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    path = put(name, OTHERS[name]())
    _, many = imported_twice(service, path, settings, monkeypatch, "rated", "prompts", "heldout")
    assert many.dataset.pairs == pairs_of(many.dataset.rated[:1_001])


@pytest.mark.parametrize("rows", [ROWS, RATED, SAID], ids=["pairs", "answers", "dialogues"])
def test_rows_are_let_go_once_they_are_read(rows: list[dict[str, Any]], few_held: None) -> None:
    before = Row.most = Row.now
    made = (RawRow(f"row {number}", Row(row)) for number, row in enumerate(rows, 1))
    parsed = parse_rows(made, "file")
    assert len(parsed.pairs) + len(parsed.rated) + len(parsed.prompts) > 1_700
    assert Row.most - before < HEAD + 10


def test_of_the_hub_a_row_group_is_in_memory_at_a_time(on_hub: Callable[[Any], None]) -> None:
    size = 5_000  # bytes of a row
    on_hub({**row, "chosen": str(number) * (size // len(str(number)))} for number, row in enumerate(ROWS[:1_500]))
    before = pyarrow.total_allocated_bytes()
    rows = hub_rows("owner/name", "train", None, None, hub_limits(20_000_000))
    taken = [pyarrow.total_allocated_bytes() - before for _ in rows]
    assert len(taken) == 1_500
    assert max(taken) < 400 * size  # a row group has 100 rows


def test_turns_and_ids_come_back(service: DatasetService, put: Put, few_held: None) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}]
    rows = [{"id": "x", "prompt": turns, "chosen": f"Yes {n}", "rejected": "No"} for n in range(1_500)]
    pairs = service.import_file(put("turns.jsonl", lines(rows))).dataset.pairs
    assert pairs[1_200].history == (Message("system", "Be brief."),)
    assert [pair.id for pair in pairs[:3]] == ["x", "x-2", "x-3"]
    assert len({pair.id for pair in pairs}) == 1_500


def test_a_bad_row_far_behind_is_named_and_nothing_is_kept(
    service: DatasetService, put: Put, settings: Settings, few_held: None
) -> None:
    rows = [*ROWS, {"prompt": "Q", "chosen": "Yes", "rejected": 7}]
    path = put("bad.jsonl", lines(rows))
    with pytest.raises(DatasetError, match=rf"bad\.jsonl, row {COUNT + 1} \(line {COUNT + 1}\): rejected is a number"):
        service.import_file(path)
    assert not list(settings.imported_dir.glob("*"))
    left = service.import_file(path, options=ReadOptions(skip_broken=True)).dataset
    assert (len(left.pairs), left.notes[0].split(":")[0]) == (COUNT, "1 broken rows left out")
    assert service.preview_file(path).broken == (
        f"row {COUNT + 1} (line {COUNT + 1}): rejected is a number (7); it must be text.",
    )


def test_of_many_complaints_all_are_counted(service: DatasetService, put: Put, few_held: None) -> None:
    bad = [{"prompt": "Q", "chosen": 1, "rejected": "x"}] * (COMPLAINTS + 500)
    with pytest.raises(DatasetError, match=rf"and {COMPLAINTS + 497:d} more rows with faults"):
        service.import_file(put("bad.jsonl", lines([*ROWS, *bad])))


def test_a_form_reads_what_it_shows(
    service: DatasetService, put: Put, monkeypatch: pytest.MonkeyPatch, few_held: None
) -> None:
    data = service.import_file(put("many.jsonl", lines(ROWS))).dataset
    read: list[int] = []
    real = kept_rows._Groups._read

    def counted(self: Any, group: int) -> Any:
        read.append(group)
        return real(self, group)

    monkeypatch.setattr(kept_rows._Groups, "_read", counted)
    rows = build_preferences(data.pairs, 0.5, COUNT, seed=1, shuffle=True)
    assert (len(rows), sum(rows.supports), read) == (COUNT, COUNT // 2, [])
    assert [row.pair_id for row in rows[:50]] == [str(n) for n in range(1, 51)]
    assert rows[COUNT - 1].pair_id == str(COUNT)
    assert read == [0, (COUNT - 1) // 100]


def test_a_runs_copy_holds_what_it_uses(service: DatasetService, put: Put, settings: Settings, few_held: None) -> None:
    data = service.import_file(put("many.jsonl", lines(ROWS)), ImportParts(heldout_share=0.1)).dataset
    used = tuple(pair.id for pair in data.pairs[1_500:1_504])
    recipe = dataclasses.replace(make_recipe("one"), row_ids=used, dataset_hash=data.content_hash)
    copy = read_job(RunStore(settings).create(recipe, data)).data
    assert len(copy.pairs) == SNAPSHOT_PAIRS + 4
    assert copy.pairs[-4:] == tuple(data.pairs[1_500:1_504])
    assert copy.heldout == tuple(data.heldout)


def test_a_deleted_one_comes_back_and_a_known_file_is_not_kept_twice(
    service: DatasetService, put: Put, few_held: None
) -> None:
    path = put("many.jsonl", lines(ROWS))
    first = service.named(str(path)).dataset
    assert service.named(str(path)).dataset.id == first.id == "many"
    service.delete("many")
    assert "many" not in [info.id for info in service.list()]
    service.restore("many")
    assert tuple(service.get("many").pairs) == tuple(first.pairs)
    assert service.import_file(put("many.jsonl", lines(ROWS[:3]))).dataset.id == "many-2"


def test_rows_read_one_by_one_may_take_more_memory_than_a_file(
    put: Put, on_hub: Callable[[Any], None], settings: Settings, few_held: None
) -> None:
    service = DatasetService(dataclasses.replace(settings, max_upload_mb=1))
    assert len(service.import_file(put("many.jsonl", lines(ROWS))).dataset.pairs) == COUNT
    assert len(service.import_file(put("rated.jsonl", lines(RATED))).dataset.rated) == COUNT
    assert len(service.import_file(put("said.csv", as_csv(SAID))).dataset.prompts) > 1_700
    on_hub(ROWS)
    assert len(service.import_hub("owner/name").dataset.pairs) == COUNT
    votes = [{"winner": "model_a", "response_a": f"Yes, {n}", "response_b": "No", "prompt": "Q"} for n in range(COUNT)]
    with pytest.raises(DatasetError, match=r"votes\.jsonl, unpacked, is over the limit of 1 MB at row \d+"):
        service.import_file(put("votes.jsonl", lines(votes)))
    heavy = [{**row, "more": [[]] * 900} for row in ROWS[:900]]
    with pytest.raises(DatasetError, match="over the limit of 1 MB"):
        service.import_file(put("heavy.json", heavy))


def test_a_shape_that_only_far_rows_show_is_still_found(service: DatasetService, put: Put) -> None:
    unlike = [{"note": f"nothing {n}"} for n in range(HEAD)]
    done = service.import_file(put("late.jsonl", lines([*unlike, *ROWS[:5]])), options=ReadOptions(skip_broken=True))
    assert (len(done.dataset.pairs), done.shape) == (5, "TRL preference rows")


def test_a_bad_answer_far_behind_is_named_and_nothing_is_kept(
    service: DatasetService, put: Put, settings: Settings, few_held: None
) -> None:
    path = put("bad.jsonl", lines([*RATED, {"prompt": "Q", "completion": "Yes", "label": "maybe"}]))
    with pytest.raises(DatasetError, match=rf"bad\.jsonl, row {COUNT + 1} \(line {COUNT + 1}\): label says neither"):
        service.import_file(path)
    said = put("said.jsonl", lines([*SAID, {"dialogue": 7}]))
    with pytest.raises(
        DatasetError, match=rf"said\.jsonl, row {COUNT + 1} .*: dialogue is a number \(7\); it must be text"
    ):
        service.import_file(said)
    assert not list(settings.imported_dir.glob("*"))


def test_runs_on_many_answers_or_prompts_read_what_they_use(
    service: DatasetService, put: Put, settings: Settings, few_held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rated = service.import_file(put("rated.jsonl", lines(RATED))).dataset
    rows = chosen_rows(rated.rated, 50, seed=1)
    assert (len(rows), count_thumbs(rows)) == (50, "50 rated answers: 25 up, 25 down")
    recipe = dataclasses.replace(make_recipe("one"), row_ids=tuple(row.id for row in rows))
    copy = read_job(RunStore(settings).create(recipe, rated)).data
    assert (len(copy.rated), set(rows) <= set(copy.rated)) == (SNAPSHOT_PAIRS + 50, True)
    said = service.import_file(put("said.jsonl", lines(SAID))).dataset
    monkeypatch.setattr(folder, "SNAPSHOT_PROMPTS", 100)
    kept = read_job(RunStore(settings).create(dataclasses.replace(make_recipe("two"), row_ids=()), said)).data
    assert kept.prompts == tuple(said.prompts[:100])


def test_a_file_that_is_no_kept_dataset_hides_only_itself(service: DatasetService, settings: Settings) -> None:
    settings.imported_dir.mkdir()
    (settings.imported_dir / "mine.parquet").write_bytes(b"PAR1 not at all")
    (settings.imported_dir / "other.parquet").write_bytes(as_parquet(ROWS[:2]))
    assert not {"mine", "other"} & {info.id for info in service.list()}
    with pytest.raises(DatasetError, match=r"other\.parquet is not a dataset of this studio"):
        service.get("other")
