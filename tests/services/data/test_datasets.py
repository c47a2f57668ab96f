"""Preference data in the catalogue: shipped sets, what is kept of an import, the Hub, test prompts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.data import PreferencePair
from studio.errors import ConflictError, DatasetError, NotFoundError
from studio.services.data import hub_rows
from studio.services.data.datasets import DatasetService, ImportParts
from studio.services.data.formats import PromptFile, read_prompts
from studio.services.data.prompt_key import normalised
from tests.helpers.datasets import BAD, SHIPPED, SIDES, TWO_SIDED, USER, imported

# -- shipped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset_id", TWO_SIDED)
def test_shipped_sets_are_what_they_promise(service: DatasetService, dataset_id: str) -> None:
    data = service.get(dataset_id)
    assert (len(data.pairs), len(data.heldout), data.kind, data.source) == (60, 20, "sides", "shipped")
    assert data.test_prompts == tuple(pair.prompt for pair in data.heldout)
    everything = data.pairs + data.heldout
    for field in ("id", "prompt", "support", "oppose"):
        assert len({normalised(getattr(pair, field)) for pair in everything}) == 80
    lengths = [(len(pair.support), len(pair.oppose)) for pair in everything]
    # length must not give the side away
    assert 0.98 < sum(a for a, _ in lengths) / sum(b for _, b in lengths) < 1.02
    assert all(0.85 < a / b < 1.18 for a, b in lengths)


def test_list_begins_with_the_shipped(service: DatasetService) -> None:
    assert [info.id for info in service.list()] == SHIPPED
    english = service.list()[0]
    assert (english.n_pairs, english.n_heldout, english.n_test, english.language) == (60, 20, 20, "en")


def test_shipped_stay(service: DatasetService) -> None:
    with pytest.raises(ConflictError, match="shipped"):
        service.delete("live-action-en")


@pytest.mark.parametrize("dataset_id", ["nope", "", "../secrets", "embedded/config", "LIVE-ACTION-EN", "a.b", "x" * 99])
def test_unknown_and_hostile_ids(service: DatasetService, dataset_id: str) -> None:
    with pytest.raises(NotFoundError):
        service.get(dataset_id)
    with pytest.raises(NotFoundError):
        service.delete(dataset_id)


# -- keeping ---------------------------------------------------------------------------------------------------------


def test_held_out_fraction_splits_by_prompt(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [
        {"prompt": f"Q  {n // 2}" if n % 2 else f"q {n // 2}", "support": f"y{n}", "oppose": f"n{n}"} for n in range(40)
    ]
    path = put("a.json", rows)
    data = service.import_file(path, ImportParts(heldout_share=0.2, seed=3)).dataset
    assert (len(data.pairs), len(data.heldout)) == (32, 8)  # 4 of 20 distinct prompts, both rows of each
    trained = {normalised(pair.prompt) for pair in data.pairs}
    assert not trained & {normalised(pair.prompt) for pair in data.heldout}
    assert data.test_prompts == tuple(pair.prompt for pair in data.heldout)
    assert service.import_file(path, ImportParts(heldout_share=0.2, seed=3)).dataset.content_hash == data.content_hash
    assert service.import_file(path, ImportParts(heldout_share=0.2, seed=4)).dataset.content_hash != data.content_hash


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), True])
def test_held_out_fraction_out_of_range(
    service: DatasetService, put: Callable[[str, Any], Path], fraction: float
) -> None:
    with pytest.raises(DatasetError, match="heldout_fraction is"):
        service.import_file(put("a.json", SIDES), ImportParts(heldout_share=fraction))


def test_one_prompt_cannot_be_split(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    with pytest.raises(DatasetError, match="same prompt"):
        service.import_file(put("a.json", SIDES[:1]), ImportParts(heldout_share=0.5))


def test_own_format_comes_back_whole(service: DatasetService, settings: Settings) -> None:
    original = service.get("live-action-zh")
    report = service.import_file(
        settings.data_dir / "live-action-zh.json", ImportParts(title="live action zh", heldout_share=0.2)
    )
    copy = report.dataset
    assert copy.id == "live-action-zh-2"  # the shipped one keeps its name
    assert (copy.pairs, copy.heldout, copy.content_hash) == (original.pairs, original.heldout, original.content_hash)
    assert "held-out part of its own" in report.warnings[0]


def test_names_clash_politely(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    path = put("動漫.json", SIDES)
    ids = [service.import_file(path).dataset.id for _ in range(3)]
    assert ids == ["dataset", "dataset-2", "dataset-3"]
    assert service.get("dataset").title == "動漫"
    service.delete("dataset-2")
    with pytest.raises(NotFoundError):
        service.get("dataset-2")
    assert sorted(info.id for info in service.list()) == ["dataset", "dataset-3", *SHIPPED]
    service.restore("dataset-2")
    assert service.get("dataset-2").title == "動漫"
    with pytest.raises(NotFoundError, match="The bin holds no dataset"):
        service.restore("dataset-2")
    service.delete("dataset-2")
    assert service.import_file(path).dataset.id == "dataset-2"
    with pytest.raises(ConflictError, match="There is a dataset dataset-2 already"):
        service.restore("dataset-2")
    for name in ("../dataset", ".bin", ""):
        with pytest.raises(NotFoundError):
            service.restore(name)


def test_imports_at_the_same_time_all_land(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    path = put("a.json", SIDES)
    threads = [threading.Thread(target=service.import_file, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.list()) == len(SHIPPED) + 8


def test_row_ids_are_made_unique(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [{**SIDES[0], "id": "x"}, {**SIDES[1], "id": "x"}, {**SIDES[2], "id": "x-2"}, {**SIDES[3], "id": None}]
    report = service.import_file(put("a.json", rows))
    assert [pair.id for pair in report.dataset.pairs] == ["x", "x-2", "x-2-2", "4"]
    assert "id occurs before" in report.warnings[0]


def test_repeated_rows_are_kept_and_told(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    report = service.import_file(put("a.json", [*SIDES, SIDES[0]]))
    assert len(report.dataset.pairs) == 11
    assert any("1 rows repeat" in warning for warning in report.warnings)


def test_full_disk_leaves_nothing_behind(
    service: DatasetService, settings: Settings, put: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("studio.services.data.kept.file.os.fsync", full)
    with pytest.raises(DatasetError, match=r"No space left on device.*nothing was imported"):
        service.import_file(put("a.json", SIDES))
    assert imported(settings) == []


def test_a_broken_kept_file_hides_only_itself(service: DatasetService, settings: Settings) -> None:
    settings.imported_dir.mkdir()
    (settings.imported_dir / "half.json").write_text('{"pairs": [{"prompt": "a"')
    (settings.imported_dir / "list.json").write_text("[]")
    assert [info.id for info in service.list()] == SHIPPED
    with pytest.raises(DatasetError):
        service.get("half")


def test_a_changed_file_is_read_again(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    data = service.import_file(put("a.json", SIDES)).dataset
    path = service._imported_dir / f"{data.id}.json"
    path.write_text(json.dumps({"pairs": SIDES[:4]}))
    assert len(service.get(data.id).pairs) == 4
    assert service.list()[-1].n_pairs == 4


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("動漫應該真人化嗎", "zh"),
        ("アニメの実写化は良いか", "ja"),
        ("애니메이션을 영화로", "ko"),
        ("the end of it is to be and not", "en"),
        ("¿qué tal?", ""),
    ],
)
def test_language_is_a_guess_or_nothing(
    service: DatasetService, put: Callable[[str, Any], Path], text: str, language: str
) -> None:
    row = {"prompt": text, "support": f"{text} +", "oppose": f"{text} -"}
    assert service.import_file(put("a.json", [row])).dataset.language == language


# -- the Hub ---------------------------------------------------------------------------------------------------------


def test_no_hub_is_said_plainly(service: DatasetService, settings: Settings) -> None:
    with pytest.raises(
        DatasetError, match=r"owner/name could not be fetched: the Hub is not reachable.*import the file"
    ):
        service.import_hub("owner/name")
    assert imported(settings) == []


@pytest.mark.parametrize("dataset_id", ["json", "../x", "/etc/passwd", "a/b/c", "a b/c", "", "data/corpus"])
def test_what_is_no_hub_id(service: DatasetService, dataset_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(service._shipped_dir.parent)  # where data/corpus is a folder, which the library would read
    with pytest.raises(DatasetError, match="not a dataset id of the Hub"):
        service.import_hub(dataset_id)


def test_hub_arguments_are_checked(service: DatasetService) -> None:
    with pytest.raises(DatasetError, match="limit is 0"):
        service.import_hub("a/b", limit=0)
    with pytest.raises(DatasetError, match="split is"):
        service.import_hub("a/b", split="train[:3]")


@pytest.fixture
def hub(on_hub: Callable[[Any], None]) -> None:
    """A hub with nine pairs."""
    on_hub({"chosen": [USER, {"role": "assistant", "content": f"yes {n}"}], "rejected": [USER, BAD]} for n in range(9))


@pytest.mark.usefixtures("hub")
def test_hub_rows_are_streamed_and_limited(service: DatasetService) -> None:
    data = service.import_hub("owner/some-name", limit=4).dataset
    assert (data.id, data.source, data.kind, len(data.pairs)) == ("owner-some-name", "hub:owner/some-name", "labels", 4)
    assert data.pairs[3] == PreferencePair("4", "why?", "yes 3", "no idea")


@pytest.mark.usefixtures("hub")
def test_hub_unknown_split_and_size(service: DatasetService) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        service.import_hub("owner/some-name", split="nowhere")
    with pytest.raises(DatasetError, match="at row 2; give a limit"):
        list(hub_rows.hub_rows("owner/some-name", "train", None, None, hub_rows.hub_limits(3_000)))


# -- test prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "ids", "warned"),
    [
        ([{"id": 7, "prompt": "a"}, {"id": "q-2", "prompt": "b"}], ("7", "q-2"), ()),
        (["a", "b"], (), ()),
        ([{"id": 7, "prompt": "a"}, {"prompt": "b"}], (), ("t.json: 1 of 2 prompts have an id, so all are numbered.",)),
    ],
)
def test_prompts_keep_their_files_own_ids(
    put: Callable[[str, Any], Path], rows: Any, ids: tuple[str, ...], warned: tuple[str, ...]
) -> None:
    assert read_prompts(put("t.json", rows), 1_000_000) == PromptFile(("a", "b"), ids, warned)


def test_an_id_that_is_no_name_is_named(put: Callable[[str, Any], Path]) -> None:
    with pytest.raises(DatasetError, match=r"t\.json, row 1: id is .*; it must be text or a whole number"):
        read_prompts(put("t.json", [{"id": [1], "prompt": "a"}]), 1_000_000)
