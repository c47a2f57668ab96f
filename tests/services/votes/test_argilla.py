"""Argilla 2 datasets on disk: ours are read by Argilla, theirs by us.

Records here have the shape that argilla 2.8 itself writes; a test lets Argilla read ours and write them back, where
ARGILLA_PYTHON names a Python that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from studio.domain.votes import Ballots
from studio.errors import DatasetError, InputError
from studio.services.votes.argilla_export import user_of, write_argilla
from studio.services.votes.export import argilla_zip
from studio.services.votes.read_export import read_records, read_votes
from studio.services.votes.restore import restore
from studio.services.votes.rows import judge_of
from tests.helpers.votes import new_pair, rated, store

LIMIT = 10_000_000
USERS = [f"{n:08d}-0000-4000-8000-000000000000" for n in range(1, 5)]


def record(number: int, *values: Any, question: str = "preference", **fields: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "fields": {"prompt": f"Question {number}?", "response-1": "One.", "response-2": "Two.", **fields},
        "metadata": {},
        "suggestions": {},
        "responses": {question: [{"value": v, "user_id": u} for v, u in zip(values, USERS, strict=False)]},
        "vectors": {},
        "status": "completed",
        "_server_id": "x",
    }


def read(tmp_path: Path, records: Any, settings: Any = None) -> Any:
    (tmp_path / "records.json").write_text(json.dumps(records))
    if settings:
        (tmp_path / "settings.json").write_text(json.dumps(settings))
    return read_records(tmp_path / "records.json", tmp_path / "settings.json" if settings else None, LIMIT)


def label(name: str, options: dict[str, str], kind: str = "label_selection") -> dict[str, Any]:
    return {"name": name, "settings": {"type": kind, "options": [{"value": v, "text": t} for v, t in options.items()]}}


def test_ours_come_back_with_every_vote(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    argilla_zip(ballots, tmp_path / "argilla.zip")
    with zipfile.ZipFile(tmp_path / "argilla.zip") as archive:
        assert set(archive.namelist()) == {
            f"argilla/{name}" for name in (".argilla/dataset.json", ".argilla/settings.json", "records.json")
        }
    brought = read_votes(tmp_path / "argilla.zip", LIMIT)
    assert brought.warnings == ()
    there = store(tmp_path / "there")
    done = restore(there, brought)
    assert (done.pairs, done.votes, done.raters) == (9, 27, 3)
    choices = [sorted((vote.pair_id, vote.choice) for vote in each.votes) for each in (ballots, there.ballots())]
    assert choices[0] == choices[1]
    texts = [
        {(p.id, p.prompt, p.answer_1, p.answer_2, p.history, p.system_prompt, p.origin_1.label) for p in each.pairs}
        for each in (ballots, there.ballots())
    ]
    assert texts[0] == texts[1]
    again = restore(there, read_votes(tmp_path / "argilla.zip", LIMIT))
    assert (again.pairs, again.votes, again.known, again.raters) == (0, 0, 27, 0)


def test_ours_come_home_to_the_raters_they_are_of(tmp_path: Path) -> None:
    rating, ballots = rated(tmp_path / "here")
    argilla_zip(ballots, tmp_path / "argilla.zip")
    done = restore(rating, read_votes(tmp_path / "argilla.zip", LIMIT))
    assert (done.pairs, done.votes, done.changed, done.raters, done.known) == (0, 0, 0, 0, 27)


def test_labels_rankings_and_ties_are_understood(tmp_path: Path) -> None:
    for settings, value, wanted in (
        (None, "response-1", "1"),
        (None, "response-2", "2"),
        (None, "Response 2", "2"),
        (None, "tie", "tie"),
        (None, "Both bad", "both_bad"),
        (label("preference", {"x": "Response 1 is better", "y": "No preference"}), "x", "1"),
        (label("preference", {"x": "Response 1 is better", "y": "No preference"}), "y", "tie"),
        (label("preference", {"1": "1", "2": "2"}), "2", "2"),
        (label("preference", {"a": "A", "b": "B"}, "ranking"), ["response-2", "response-1"], "2"),
        (
            label("preference", {}, "ranking"),
            [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}],
            "tie",
        ),
        (
            label("preference", {}, "ranking"),
            [{"value": "response-2", "rank": 2}, {"value": "response-1", "rank": 1}],
            "1",
        ),
    ):
        done = read(tmp_path, [record(1, value)], {"questions": [settings]} if settings else None)
        assert [vote.choice for vote in done.votes] == [wanted], value
        assert done.votes[0].user == USERS[0]
        assert done.warnings == ()


def test_what_has_no_place_here_is_counted(tmp_path: Path) -> None:
    rows = [record(1, "response-1", "purple"), record(2)]
    rows[0]["responses"]["preference"] += [
        {"value": "response-2", "user_id": USERS[2], "status": "draft"},
        {"value": None, "user_id": USERS[3], "status": "discarded"},
    ]
    rows[0]["responses"]["comment"] = [{"value": "nice", "user_id": USERS[0]}]
    rows[1]["suggestions"] = {"preference": {"value": "response-1", "score": None, "agent": "gpt"}}
    rows[1]["fields"]["source"] = "web"
    done = read(tmp_path, rows)
    assert [vote.choice for vote in done.votes] == ["1", "skip"]
    said = " ".join(done.warnings)
    for part in (
        "1 answers to other questions (comment)",
        "1 responses that name",
        "1 drafts",
        "1 suggestions",
        "1 further",
    ):
        assert part in said


def test_chats_and_other_names_of_fields(tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    row = record(1, "chosen")
    row["fields"] = {"chat": chat, "chosen": [{"role": "assistant", "content": "Yes."}], "rejected": "No."}
    row["metadata"] = {"model-1": " a  model ", "model-2": 7}
    (pair,) = read(tmp_path, [row]).pairs
    assert (pair.prompt, pair.answer_a, pair.answer_b, pair.preferred) == ("And now?", "Yes.", "No.", "a")
    assert [turn.content for turn in pair.history] == ["Hello", "Hi."]
    assert pair.system_prompt == "Be kind."
    assert (pair.origin_a.label, pair.origin_b.label) == ("a model", "rejected")


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ({"a": 1}, "one object|fields"),
        ([], "no records"),
        ([{"text": "x"}], "row 1: fields are missing"),
        ([{"fields": {"text": "x", "label": "y"}}], "has the fields text, label"),
        ([record(1, **{"response-1": 3})], "row 1: response-1 is a number"),
        ([record(1, **{"prompt": [{"role": "boss", "content": "x"}]})], "role is 'boss'"),
        ([record(1, **{"prompt": [{"role": "assistant", "content": "x"}]})], "turn of the user"),
        (
            [{**record(1), "responses": {"preference": [{"value": "tie", "user_id": "Ada"}]}}],
            "'Ada'; it must be a UUID",
        ),
        ([{**record(1), "responses": {"preference": [{"value": "tie"}]}}], "no user_id"),
        ([{**record(1), "responses": {"preference": "tie"}}], "where a list belongs"),
    ],
)
def test_broken_ones_are_refused_by_record_and_field(tmp_path: Path, records: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path, records)


def test_a_records_file_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text(json.dumps([record(1, "response-1", "response-1", "response-2")]))
    there = store(tmp_path / "there")
    done = restore(there, read_votes(tmp_path / "records.json", LIMIT))
    assert (done.pairs, done.votes, done.raters) == (1, 3, 3)
    (decision,) = there.decisions()
    winner = decision.pair.answer_1 if decision.winner == "1" else decision.pair.answer_2
    assert winner == "One."
    assert all(rater.name.startswith("judge-") for rater in there.ballots().raters)
    (tmp_path / "records.jsonl").write_text("{}")
    with pytest.raises(DatasetError, match="fields are missing"):
        read_votes(tmp_path / "records.jsonl", LIMIT)


_CHECK = """
import json, sys, pathlib, warnings
warnings.simplefilter("ignore")
from unittest.mock import MagicMock
from argilla import Argilla, Settings
Argilla._get_default = classmethod(lambda cls: MagicMock())  # no server to talk to
from argilla._models import DatasetModel
from argilla.records._io import JsonIO
folder = pathlib.Path(sys.argv[1])
settings = Settings.from_json(folder / ".argilla" / "settings.json")
settings.validate()
written = json.loads((folder / ".argilla" / "settings.json").read_text())
assert settings.serialize() == written, (settings.serialize(), written)
model = DatasetModel(**json.loads((folder / ".argilla" / "dataset.json").read_text()))
left, right = model.model_dump(mode="json"), json.loads((folder / ".argilla" / "dataset.json").read_text())
assert left == right, (left, right)
records = JsonIO._records_from_json(folder / "records.json")
JsonIO.to_json(records, folder / "theirs.json")
print(json.dumps({
    "fields": [field.name for field in settings.fields],
    "labels": settings.questions["preference"].labels,
    "records": len(records),
    "responses": sum(len(record.responses) for record in records),
    "statuses": sorted({response.status.value for record in records for response in record.responses}),
    "name": model.name, "overlap": settings.distribution.to_dict(),
}))
"""


def check_with_argilla(ballots: Ballots, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    write_argilla(ballots, folder)
    done = subprocess.run(
        [os.environ["ARGILLA_PYTHON"], "-c", _CHECK, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif("ARGILLA_PYTHON" not in os.environ, reason="ARGILLA_PYTHON names no Python that has argilla")
def test_argilla_itself_reads_ours_and_we_read_what_it_writes_back(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    found = check_with_argilla(ballots, tmp_path / "chats")
    assert found["fields"] == ["prompt", "response-1", "response-2"]
    assert found["labels"] == ["response-1", "response-2", "tie", "both-bad"]
    assert (found["records"], found["responses"], found["statuses"]) == (9, 27, ["discarded", "submitted"])
    assert found["overlap"] == {"strategy": "overlap", "min_submitted": 3}
    # Argilla's own files hold no statuses: what we wrote as discarded comes back without a value
    settings = tmp_path / "chats" / ".argilla" / "settings.json"
    theirs = read_records(tmp_path / "chats" / "theirs.json", settings, LIMIT)
    assert len(theirs.pairs) == 9
    assert len(theirs.votes) == 26
    plain = store(tmp_path / "plain")
    plain.add_pairs([new_pair(1)])
    assert check_with_argilla(plain.ballots(), tmp_path / "texts")["records"] == 1


def test_a_user_is_the_same_in_every_file(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    users = {user_of(judge_of(rater)) for rater in ballots.raters}
    assert len(users) == 3
    folder = tmp_path / "out"
    folder.mkdir()
    write_argilla(ballots, folder)
    text = (folder / "records.json").read_text()
    assert all(user in text for user in users)
