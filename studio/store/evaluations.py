"""Queries about before/after evaluations: made, owned by a process while it works on them, filled row by row, listed, kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from studio.domain.chat import Sampling
from studio.domain.evaluations import Evaluation, EvaluationRow, EvaluationSpec, EvaluationState
from studio.domain.runs import BaseModelRef
from studio.domain.toxicity import ScorerInfo, TestPrompt, TextScore
from studio.store.tables import evaluation_rows, evaluations
from studio.store.upsert import insert_new

#: The states in which somebody works on an evaluation, or will by himself.
MOVING: tuple[EvaluationState, ...] = ("queued", "running")


@dataclass(frozen=True)
class EvaluationSummary:
    """An evaluation without its rows, ``done`` of ``total`` of which are there. ``spec`` has no prompts.

    ``owner`` is the process that works on it (see ``studio.services.evaluations.service``), empty for nobody.
    """

    id: str
    created: float
    updated: float
    state: EvaluationState
    message: str
    kept: bool
    done: int
    total: int
    spec: EvaluationSpec
    owner: str = ""

    @property
    def moving(self) -> bool:
        """Whether it waits for its turn or is at work."""
        return self.state in MOVING


def add_evaluation(connection: Connection, evaluation: Evaluation, owner: str) -> None:
    """Store a new evaluation, its rows too where it has some."""
    spec = dataclasses.asdict(evaluation.spec)
    prompts = spec.pop("prompts")
    connection.execute(
        insert(evaluations),
        {
            "id": evaluation.id,
            "created": evaluation.created,
            "updated": evaluation.updated,
            "state": evaluation.state,
            "message": evaluation.message,
            "kept": evaluation.kept,
            "total": evaluation.total,
            "owner": owner,
            "title": spec.pop("title"),
            "spec": spec,
            "prompts": prompts,
        },
    )
    add_rows(connection, evaluation.id, evaluation.rows)


def add_rows(connection: Connection, evaluation_id: str, rows: Sequence[EvaluationRow]) -> int:
    """Store rows that are not there yet; returns how many were new."""
    return insert_new(
        connection,
        evaluation_rows,
        [
            {
                "evaluation_id": evaluation_id,
                "adapter": row.adapter,
                "prompt_id": row.prompt_id,
                "sample": row.sample,
                "query": row.query,
                "response_before": row.response_before,
                "response_after": row.response_after,
                "score_before": dataclasses.asdict(row.before),
                "score_after": dataclasses.asdict(row.after),
            }
            for row in rows
        ],
    )


def find_evaluation(connection: Connection, evaluation_id: str) -> Evaluation | None:
    """The evaluation of that id with all its rows, in the order of its prompts, samples and adapters."""
    row = connection.execute(select(evaluations).where(evaluations.c.id == evaluation_id)).mappings().one_or_none()
    if row is None:
        return None
    spec = _spec(row, row["prompts"])
    stored = connection.execute(
        select(evaluation_rows).where(evaluation_rows.c.evaluation_id == evaluation_id)
    ).mappings()
    adapters = {name: place for place, name in enumerate(spec.adapters)}
    prompts = {prompt.id: place for place, prompt in enumerate(spec.prompts)}
    rows = sorted(
        map(_row, stored), key=lambda row: (prompts.get(row.prompt_id, -1), row.sample, adapters.get(row.adapter, -1))
    )
    return Evaluation(
        id=row["id"],
        created=row["created"],
        updated=row["updated"],
        state=row["state"],
        message=row["message"],
        kept=row["kept"],
        total=row["total"],
        spec=spec,
        rows=tuple(rows),
    )


def find_summary(connection: Connection, evaluation_id: str) -> EvaluationSummary | None:
    """The evaluation of that id without its rows."""
    summaries = _summaries(connection, evaluations.c.id == evaluation_id)
    return summaries[0] if summaries else None


def all_summaries(connection: Connection) -> tuple[EvaluationSummary, ...]:
    """Every evaluation without its rows, newest first."""
    return _summaries(connection)


def rows_there(connection: Connection, evaluation_id: str) -> frozenset[tuple[str, str, int]]:
    """Adapter, prompt id and sample of every row there is."""
    query = select(evaluation_rows.c.adapter, evaluation_rows.c.prompt_id, evaluation_rows.c.sample).where(
        evaluation_rows.c.evaluation_id == evaluation_id
    )
    return frozenset((row[0], row[1], row[2]) for row in connection.execute(query))


def change(
    connection: Connection,
    evaluation_id: str,
    *,
    was: Iterable[EvaluationState] = (),
    owned_by: str | None = None,
    **new: Any,
) -> bool:
    """Set columns of an evaluation; only where its state is one of ``was`` and its owner ``owned_by``, if these are given.
    Returns whether it was."""
    query = update(evaluations).where(evaluations.c.id == evaluation_id)
    if states := tuple(was):
        query = query.where(evaluations.c.state.in_(states))
    if owned_by is not None:
        query = query.where(evaluations.c.owner == owned_by)
    return connection.execute(query.values(**new)).rowcount > 0


def remove(connection: Connection, evaluation_ids: Sequence[str]) -> int:
    """Delete evaluations with their rows; returns how many there were."""
    ids = sorted(evaluation_ids)
    # Locked first: whoever adds rows locks it, too, and finds it gone afterwards.
    connection.execute(
        select(evaluations.c.id).where(evaluations.c.id.in_(ids)).order_by(evaluations.c.id).with_for_update()
    )
    connection.execute(delete(evaluation_rows).where(evaluation_rows.c.evaluation_id.in_(ids)))
    return connection.execute(delete(evaluations).where(evaluations.c.id.in_(ids))).rowcount


def _summaries(connection: Connection, *only: Any) -> tuple[EvaluationSummary, ...]:
    done = (
        select(func.count())
        .select_from(evaluation_rows)
        .where(evaluation_rows.c.evaluation_id == evaluations.c.id)
        .scalar_subquery()
    )
    wanted = [column for column in evaluations.c if column.name != "prompts"]
    query = select(*wanted, done.label("done")).where(*only)
    rows = connection.execute(query.order_by(evaluations.c.created.desc(), evaluations.c.id)).mappings()
    return tuple(
        EvaluationSummary(
            id=row["id"],
            created=row["created"],
            updated=row["updated"],
            state=row["state"],
            message=row["message"],
            kept=row["kept"],
            done=row["done"],
            total=row["total"],
            spec=_spec(row, ()),
            owner=row["owner"],
        )
        for row in rows
    )


def _spec(row: RowMapping, prompts: Iterable[Mapping[str, Any]]) -> EvaluationSpec:
    spec = row["spec"]
    scorer: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec["scorer"].items()
    }
    return EvaluationSpec(
        title=row["title"],
        base=BaseModelRef(**spec["base"]),
        before=spec["before"],
        adapters=tuple(spec["adapters"]),
        hashes=tuple(spec["hashes"]),
        scorer=ScorerInfo(**scorer),
        prompt_set=spec["prompt_set"],
        prompts=tuple(TestPrompt(**prompt) for prompt in prompts),
        samples=spec["samples"],
        sampling=Sampling(**spec["sampling"]),
        system_prompt=spec["system_prompt"],
    )


def _row(row: RowMapping) -> EvaluationRow:
    return EvaluationRow(
        adapter=row["adapter"],
        prompt_id=row["prompt_id"],
        sample=row["sample"],
        query=row["query"],
        response_before=row["response_before"],
        response_after=row["response_after"],
        before=_score(row["score_before"]),
        after=_score(row["score_after"]),
    )


def _score(record: Mapping[str, Any]) -> TextScore:
    return TextScore(**{**record, "logits": tuple(record["logits"])})
