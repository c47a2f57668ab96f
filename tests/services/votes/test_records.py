"""Votes from files of other tools: each is read, or refused with its name and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.errors import DatasetError
from studio.services.data.datasets import DatasetService
from studio.services.votes.export import ExportOptions, export_votes
from studio.services.votes.read_export import read_votes
from studio.services.votes.restore import restore
from tests.helpers.datasets import as_csv, lines
from tests.helpers.votes import rated, store

LIMIT = 10_000_000
ADA, BOB = "00000001-0000-4000-8000-000000000000", "00000002-0000-4000-8000-000000000000"
FIELDS = {"prompt": "why?", "response-1": "because", "response-2": "no idea"}
CHATS = [
    [{"role": "user", "content": "why?"}, {"role": "assistant", "content": text}] for text in ("because", "no idea")
]


def ranking(first: int, second: int) -> list[dict[str, Any]]:
    return [{"value": "response-1", "rank": first}, {"value": "response-2", "rank": second}]


def arena(winner: str, **more: Any) -> dict[str, Any]:
    return {
        "model_a": "m1", "model_b": "m2", "winner": winner, "judge": "ada", "conversation_a": CHATS[0],
        "conversation_b": CHATS[1], "tstamp": 7.0, **more,
    }  # fmt: skip


def task(**value: Any) -> dict[str, Any]:
    result = [{"type": "pairwise", "from_name": "which", "to_name": "answer1,answer2", "value": value}]
    data = {"prompt": "why?", "answer1": "because", "answer2": "no idea"}
    return {"id": 1, "data": data, "annotations": [{"completed_by": 1, "result": result}]}


FLAT = {
    "id": "1", "status": "completed", **FIELDS, "model-1": "m1", "model-2": "m2",
    "preference.responses": ["response-2", "response-1", None],
    "preference.responses.users": [ADA, BOB, "00000003-0000-4000-8000-000000000000"],
    "preference.responses.status": ["submitted", "submitted", "discarded"],
    "preference.suggestion": None,
}  # fmt: skip
FILES: dict[str, tuple[str, list[dict[str, Any]], list[str], str]] = {
    "Argilla 1": (
        "a.jsonl",
        [
            {
                "fields": FIELDS,
                "responses": [
                    {"user_id": ADA, "values": {"ranking": {"value": ranking(1, 2)}}, "status": "submitted"},
                    {"user_id": BOB, "values": {"ranking": {"value": ranking(1, 1)}}, "status": "submitted"},
                    {"user_id": None, "values": {}, "status": "discarded"},
                ],
            }
        ],
        ["1", "skip", "tie"],
        "Argilla",
    ),
    "Argilla 1, table": (
        "a.json",
        [
            {
                **FIELDS,
                "ranking": [
                    {"user_id": ADA, "value": {"value": ["response-1", "response-2"], "rank": [2, 1]}, "status": "submitted"}
                ],
                "ranking-suggestion": None,
                "metadata": "{}",
            }
        ],
        ["2"],
        "Argilla",
    ),
    "Argilla 2, table": ("a.jsonl", [FLAT], ["1", "2", "skip"], "Argilla"),
    "Argilla 2, table as CSV": ("a.csv", [FLAT], ["1", "2", "skip"], "Argilla"),
    "Label Studio": ("a.json", [task(selected="right")], ["2"], "Label Studio"),
    "Label Studio, choices": ("a.json", [task(choices=["Answer 1"])], ["1"], "Label Studio"),
    "Label Studio, flat": (
        "a.csv",
        [
            {
                "id": 1, "prompt": "why?", "answer1": "because", "answer2": "no idea", "which": "left", "annotator": 1,
                "annotation_id": 3, "created_at": "today", "updated_at": "today", "lead_time": 2.5,
            }
        ],
        ["1"],
        "Label Studio",
    ),
    "arena": (
        "a.jsonl",
        [arena("model_a"), arena("model_b", judge="bob"), arena("tie (bothbad)", judge="cy"), arena("tie", judge="di")],
        ["1", "2", "both_bad", "tie"],
        "arena",
    ),
    "LMSYS": (
        "a.csv",
        [
            {
                "id": 1, "model_a": "m1", "model_b": "m2", "prompt": '["why?"]', "response_a": '["because"]',
                "response_b": '["no idea"]', "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0,
            }
        ],
        ["2"],
        "arena",
    ),
    "FastChat's log": (
        "a.jsonl",
        [
            {"type": "chat", "tstamp": 1.0},
            {
                "type": "leftvote", "tstamp": 2.0, "ip": "ada",
                "states": [
                    {"model_name": "m1", "roles": ["USER", "ASSISTANT"], "messages": [["USER", "why?"], ["ASSISTANT", text]]}
                    for text in ("because", "no idea")
                ],
            },
        ],
        ["1"],
        "arena",
    ),
}  # fmt: skip


def written(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / name
    texts = {".csv": as_csv, ".jsonl": lines, ".json": json.dumps}
    path.write_text(texts[path.suffix](rows))
    return path


@pytest.mark.parametrize("tool", FILES)
def test_votes_of_other_tools_are_read(tmp_path: Path, tool: str) -> None:
    name, rows, choices, kind = FILES[tool]
    brought = read_votes(written(tmp_path, name, rows), LIMIT)
    assert kind in brought.kind
    (pair,) = brought.ballots.pairs
    assert (pair.prompt, pair.answer_1, pair.answer_2) == ("why?", "because", "no idea")
    assert sorted(vote.choice for vote in brought.ballots.votes) == sorted(choices)
    assert len({vote.rater_id for vote in brought.ballots.votes}) == len(choices)
    rating = store(tmp_path / "there")
    done = restore(rating, brought)
    assert (done.pairs, done.votes) == (1, len(choices))
    again = restore(rating, read_votes(tmp_path / name, LIMIT))
    assert (again.votes, again.known) == (0, len(choices))


def test_our_own_votes_file_comes_back_alone(tmp_path: Path) -> None:
    _, ballots = rated(tmp_path / "here")
    export_votes(ballots, tmp_path / "out", ExportOptions("jsonl", False, ""))
    there = store(tmp_path / "there")
    done = restore(there, read_votes(tmp_path / "out" / "votes" / "train.jsonl", LIMIT))
    assert (done.pairs, done.votes, done.raters) == (9, 27, 3)
    choices = [sorted((vote.pair_id, vote.choice) for vote in each.votes) for each in (ballots, there.ballots())]
    assert choices[0] == choices[1]
    times = [sorted(vote.updated for vote in each.votes) for each in (ballots, there.ballots())]
    assert times[0] == times[1]


def test_what_holds_no_votes_is_refused_by_its_name(tmp_path: Path) -> None:
    pair = {"prompt": "why?", "chosen": "because", "rejected": "no idea"}
    for rows, message in (
        ([pair], "these are TRL preference rows, which name no person's vote; import them as pairs"),
        ([{"text": "why?"}], "fields are missing.*These have text"),
        ([arena("somebody")], "winner is 'somebody'"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_votes(written(tmp_path, "a.jsonl", rows), LIMIT)


def test_records_without_votes_are_said(tmp_path: Path) -> None:
    brought = read_votes(written(tmp_path, "a.json", [{"fields": FIELDS, "responses": []}]), LIMIT)
    assert len(brought.ballots.pairs) == 1
    assert brought.warnings[0] == "no votes were found in it, only pairs."
    rated = {"user_id": ADA, "values": {"rating": {"value": 2}}, "status": "submitted"}
    for rows, message in (
        ([task(selected="up")], "comparisons of Label Studio, and none of its 1 judgements says which"),
        ([{"fields": FIELDS, "responses": [rated]}], "an Argilla dataset, and none of its 1 judgements"),
        ([arena("")], "votes of an arena, and none of its 1 judgements"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_votes(written(tmp_path, "b.json", rows), LIMIT)


def test_records_are_trained_on_by_majority(settings: Settings, tmp_path: Path) -> None:
    rows = [arena("model_b"), arena("model_b", judge="bob"), arena("model_a", judge="cy")]
    tied = arena("tie", conversation_a=[{"role": "user", "content": "how?"}, CHATS[0][1]], conversation_b=[{"role": "user", "content": "how?"}, CHATS[1][1]])  # fmt: skip
    report = DatasetService(settings).import_file(written(tmp_path, "a.jsonl", [*rows, tied]))
    assert [(pair.prompt, pair.support) for pair in report.dataset.pairs] == [("why?", "no idea")]
    assert "1 of 2 pairs have no answer that most votes prefer" in report.dataset.notes[0]
