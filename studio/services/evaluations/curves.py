"""How figures are spread before and after, as the charts of an evaluation draw them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from studio.domain.evaluations import EvaluationRow
from studio.domain.toxicity import TextScore
from studio.i18n import Named, _


@dataclass(frozen=True)
class Curve:
    """Sorted values of some answers, at least one; ``before`` tells those of the side that all adapters are compared with."""

    name: str
    values: tuple[float, ...]
    before: bool = False


def curves(
    rows: Sequence[EvaluationRow], adapters: Mapping[str, str], value: Callable[[TextScore], float | None]
) -> list[Curve]:
    """One curve for what stands before and one for each of ``adapters`` (titles by run id), of the pairs that have a value on both
    sides; none where no pair has.

    What stands before is there once: all adapters are compared with the same answers, but for those not covered.
    """
    known = [
        (row, before, after)
        for row in rows
        if (before := value(row.before)) is not None and (after := value(row.after)) is not None
    ]
    if not known:
        return []
    first = {(row.prompt_id, row.sample): before for row, before, _ in known}
    lines = [Curve(_("before"), tuple(sorted(first.values())), before=True)]
    for adapter, name in adapters.items():
        values = sorted(after for row, _, after in known if row.adapter == adapter)
        if values:
            lines.append(
                Curve(_("after") if len(adapters) == 1 else Named(_("after: {name}", name=name)), tuple(values))
            )
    return lines
