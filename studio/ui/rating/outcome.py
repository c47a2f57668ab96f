"""How a vote ended, as the plain pages show it: who is preferred, what each pair got, which model wrote which answer."""

from __future__ import annotations

from typing import Any

from studio.i18n import _, said
from studio.services.votes import reading
from studio.services.votes.result import VoteResult
from studio.ui.votes.view import MAX_SENTENCES

#: Pairs on the presenter's page, and on the voting page; the Rate tab lists all.
MAX_PAIRS, MAX_TO_RATE = 60, 20


def outcome(result: VoteResult) -> dict[str, Any]:
    """Sentences, and the counts of every two models that met in votes, those with most votes first."""
    matches = [match for match in result.report.matches if match.votes][:MAX_SENTENCES]
    return {
        "headline": said(reading.headline(matches[0])) if matches else "",
        "ahead": [said(reading.read_match(match)) for match in matches]
        or [_("No vote says which model is preferred.")],
        "matches": [
            {
                "a": match.a.label,
                "b": match.b.label,
                "wins": match.wins,
                "even": match.ties + match.both_bad,
                "losses": match.losses,
            }
            for match in matches
        ],
        "reasons": said(reading.read_reasons(result.report.reasons)),
        "decided": said(reading.read_decisions(result.decided, result.min_votes)),
    }


def written_by(result: VoteResult) -> list[dict[str, Any]]:
    """The pairs with votes, those with most first: who wrote each answer, and how many chose it."""
    return [
        {
            "pair": one.pair.id,
            "prompt": one.pair.prompt,
            "answers": [
                {
                    "answer": side,
                    "text": text,
                    "model": origin.label,
                    "votes": votes,
                    "won": one.winner == side,
                }
                for side, text, origin, votes in (
                    ("1", one.pair.answer_1, one.pair.origin_1, one.for_1),
                    ("2", one.pair.answer_2, one.pair.origin_2, one.for_2),
                )
            ],
            "even": one.ties + one.both_bad,
        }
        for one in result.pairs[:MAX_PAIRS]
    ]
