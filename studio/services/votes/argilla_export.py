"""Votes as an Argilla 2 dataset on disk: the folder that ``argilla.Dataset.to_disk`` writes and ``from_disk`` reads
(``.argilla/dataset.json``, ``.argilla/settings.json``, ``records.json``; argilla 2.8). No Argilla needed. Such a folder is read
by ``services/data/annotated/argilla.py``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.domain.votes import Ballots, Choice
from studio.services.data.annotated.argilla import QUESTION
from studio.services.votes.rows import chat, conversation, judge_of

DATASET, SETTINGS, RECORDS = ".argilla/dataset.json", ".argilla/settings.json", "records.json"
#: A choice as a label's value and as its text.
LABELS: Mapping[Choice, tuple[str, str]] = {
    "1": ("response-1", "Response 1 is better"),
    "2": ("response-2", "Response 2 is better"),
    "tie": ("tie", "Tie"),
    "both_bad": ("both-bad", "Both are bad"),
}


def write_argilla(ballots: Ballots, folder: Path, name: str = "studio-votes") -> None:
    """Write pairs and votes into the empty folder ``folder``. A skip is a discarded response; who voted is a UUID made of
    their pseudonym. Sides and times have no place there.

    Raises:
        OSError: the disk is full.
    """
    (folder / ".argilla").mkdir(parents=True)
    chats = any(len(conversation(pair)) > 1 for pair in ballots.pairs)
    _dump(folder / DATASET, _dataset(ballots, name))
    _dump(folder / SETTINGS, _settings(ballots, chats))
    _dump(folder / RECORDS, _records(ballots, chats))


def user_of(judge: str) -> str:
    """The UUID under which a pseudonym stands in Argilla files."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, judge))


def _dump(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _resource(**fields: Any) -> dict[str, Any]:
    return {"id": None, "inserted_at": None, "updated_at": None, **fields}


def _dataset(ballots: Ballots, name: str) -> dict[str, Any]:
    return _resource(
        name=name,
        status="draft",
        guidelines=ballots.rules.guidelines.strip() or None,
        allow_extra_metadata=True,
        distribution=_distribution(ballots),
        workspace_id=None,
        last_activity_at=None,
    )


def _distribution(ballots: Ballots) -> dict[str, Any]:
    return {"strategy": "overlap", "min_submitted": ballots.min_votes}


def _settings(ballots: Ballots, chats: bool) -> dict[str, Any]:
    text = {"type": "text", "use_markdown": False}
    prompt = {"type": "chat", "use_markdown": False} if chats else text
    fields = [("prompt", "Prompt", prompt), ("response-1", "Response 1", text), ("response-2", "Response 2", text)]
    options = [{"value": value, "text": label} for value, label in LABELS.values()]
    question = {"type": "label_selection", "options": options, "visible_options": len(options)}
    terms = {"visible_for_annotators": False, "type": "terms", "values": None}
    return {
        "guidelines": ballots.rules.guidelines.strip() or None,
        "questions": [
            {
                **_resource(name=QUESTION, settings=question, title="Which response is better?", description=None),
                "required": True,
                "dataset_id": None,
                "type": "label_selection",
            }
        ],
        "fields": [
            {
                **_resource(name=name, settings=settings, title=title, required=True, description=None),
                "dataset_id": None,
                "type": settings["type"],
            }
            for name, title, settings in fields
        ],
        "vectors": [],
        "metadata": [
            {
                **_resource(name=name, settings=terms, title=title, visible_for_annotators=False),
                "dataset_id": None,
            }
            for name, title in (("model-1", "Model of response 1"), ("model-2", "Model of response 2"))
        ],
        "allow_extra_metadata": True,
        "distribution": _distribution(ballots),
        "mapping": None,
    }


def _records(ballots: Ballots, chats: bool) -> list[dict[str, Any]]:
    users = {rater.id: user_of(judge_of(rater)) for rater in ballots.raters}
    responses: dict[str, list[dict[str, Any]]] = {}
    for vote in ballots.votes:
        skipped = vote.choice == "skip"
        responses.setdefault(vote.pair_id, []).append(
            {
                "value": None if skipped else LABELS[vote.choice][0],
                "user_id": users[vote.rater_id],
                "status": "discarded" if skipped else "submitted",
            }
        )
    records = []
    for pair in ballots.pairs:
        given = responses.get(pair.id, [])
        submitted = sum(response["status"] == "submitted" for response in given)
        turns = conversation(pair)
        records.append(
            {
                "id": pair.id,
                "fields": {
                    "prompt": chat(turns) if chats else pair.prompt,
                    "response-1": pair.answer_1,
                    "response-2": pair.answer_2,
                },
                "metadata": {
                    "model-1": pair.origin_1.label,
                    "model-2": pair.origin_2.label,
                    "source": pair.source,
                    "calibration": str(pair.calibration).lower(),
                },
                "suggestions": {},
                "responses": {QUESTION: given} if given else {},
                "vectors": {},
                "status": "completed" if submitted >= ballots.min_votes else "pending",
                "_server_id": None,
            }
        )
    return records
