"""What the votes say, as numbers: pure functions on :class:`studio.domain.votes.Ballots`, frozen results.

    Ballots ──filtered()──▶ Ballots ──▶ matches (who is preferred to whom, with an interval over prompts)
                                    ──▶ standings (Bradley-Terry, three and more players)
                                    ──▶ agreement, side bias, raters, pace

``reading.py`` puts them into sentences, ``ui/votes/charts.py`` into pictures.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from studio.domain.votes import AnswerPair, Ballots, Origin, Reason, Vote
from studio.services.data.prompt_key import normalised
from studio.services.statistics.agreement import Agreement, measure_agreement
from studio.services.statistics.bradley_terry import Standings, rate_players
from studio.services.statistics.intervals import Interval, Method, Z, cluster_share
from studio.services.votes.filters import LeftOut, VoteFilters, filtered
from studio.services.votes.quality import Pace, RaterShare, SideBias, measure_pace, measure_raters, measure_sides, timed

#: The normal's .8 quantile: with as many votes as are promised, four of five such studies would settle.
_POWER_Z = 0.8416212335729143
#: Beyond these, "a great many": a rate this close to one half, or this many further votes.
_CLOSE, _MANY = 0.02, 10_000

Verdict = Literal["a", "b", "open", "none"]


@dataclass(frozen=True)
class Player:
    """Who votes are counted for: ``id`` is ``Origin.player``, ``label`` what a person reads, distinct among the players
    of one report."""

    id: str
    label: str


@dataclass(frozen=True)
class Match:
    """What the votes say of player A against player B. Counts are of votes unless the name says otherwise.

    Attributes:
        wins, losses, ties, both_bad: of A; together ``votes``. ``skips`` are no votes and count nowhere else.
        pairs, prompts, raters: how many had at least one vote.
        rate: (wins + half of ties and "both bad") / votes; None without votes.
        interval: 95 % over prompts; None where ``method`` says why.
        method: how the interval came about, see ``intervals.cluster_share``.
        verdict: the side that is preferred, ``open`` while the interval holds one half (or there is none), ``none``
            without votes.
        more: while open, roughly how many more votes would settle it; None where nobody can say or it is a great many.
        many: while open, whether it would take a great many.
    """

    a: Player
    b: Player
    wins: int
    losses: int
    ties: int
    both_bad: int
    skips: int
    pairs: int
    prompts: int
    raters: int
    rate: float | None
    interval: Interval | None
    method: Method
    verdict: Verdict
    more: int | None
    many: bool

    @property
    def votes(self) -> int:
        """Votes that count."""
        return self.wins + self.losses + self.ties + self.both_bad


@dataclass(frozen=True)
class VoteReport:
    """Everything said of a set of ballots under one set of filters.

    Attributes:
        total: votes in the ballots, before filters; ``left_out`` where those went that are not ``votes`` or ``skips``.
        same_player: votes on pairs whose two answers are of one player (two samples): they say nothing of who is
            preferred and are in no match, but count for agreement, sides and pace.
        standings: None with fewer than three players.
        times: Unix seconds of every vote, sorted; ``seconds`` how long each took.
        reasons: how many of the votes that count name each reason; those that none names are left out.
    """

    filters: VoteFilters
    total: int
    left_out: tuple[LeftOut, ...]
    votes: int
    skips: int
    pairs: int
    same_player: int
    players: tuple[Player, ...]
    matches: tuple[Match, ...]
    standings: Standings | None
    agreement: Agreement
    sides: SideBias
    raters: tuple[RaterShare, ...]
    pace: Pace
    times: tuple[float, ...]
    seconds: tuple[float, ...]
    reasons: Mapping[Reason, int]


def report(ballots: Ballots, filters: VoteFilters | None = None) -> VoteReport:
    """All statistics of ``ballots`` under ``filters`` (none: everything counts)."""
    filters = filters or VoteFilters()
    chosen = filtered(ballots, filters)
    left = chosen.ballots
    opinions = [vote for vote in left.votes if vote.choice != "skip"]
    pairs = {pair.id: pair for pair in left.pairs}
    players = name_players(left.pairs)
    return VoteReport(
        filters=filters,
        total=chosen.total,
        left_out=chosen.left_out,
        votes=len(opinions),
        skips=chosen.kept - len(opinions),
        pairs=len({vote.pair_id for vote in opinions}),
        same_player=sum(len(_sides(pairs[vote.pair_id])) == 1 for vote in opinions),
        players=tuple(players.values()),
        matches=measure_matches(left, players),
        standings=measure_standings(left, players),
        agreement=measure_agreement(left.votes),
        sides=measure_sides(opinions),
        raters=measure_raters(left),
        pace=measure_pace(opinions),
        times=tuple(sorted(vote.created for vote in opinions)),
        seconds=tuple(vote.seconds for vote in opinions if timed(vote)),
        reasons=Counter(reason for vote in opinions for reason in vote.reasons),
    )


def prompt_of(pair: AnswerPair) -> tuple[str, ...]:
    """The cluster a pair belongs to: its normalised prompt and the turns before it. The system prompt is no part of it:
    one question asked under two system prompts is still one question."""
    return (*(normalised(message.content) for message in pair.history), normalised(pair.prompt))


def name_players(pairs: Iterable[AnswerPair]) -> dict[str, Player]:
    """The players of ``pairs``, adapters before imports before bases, each under its newest label; a label that several
    would share gets the end of the id behind it."""
    newest: dict[str, tuple[float, Origin]] = {}
    for pair in pairs:
        for origin in (pair.origin_1, pair.origin_2):
            if origin.player not in newest or pair.created >= newest[origin.player][0]:
                newest[origin.player] = (pair.created, origin)
    labels = {player: origin.label or player for player, (_, origin) in newest.items()}
    shared = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    place = {"adapter": 0, "import": 1, "base": 2}
    order = sorted(newest, key=lambda player: (place[newest[player][1].kind], labels[player].casefold(), player))
    return {
        player: Player(player, f"{labels[player]} ({_tail(player)})" if labels[player] in shared else labels[player])
        for player in order
    }


def measure_matches(ballots: Ballots, players: Mapping[str, Player]) -> tuple[Match, ...]:
    """One :class:`Match` for every two players that share a pair, the one with most votes first."""
    order = {player: place for place, player in enumerate(players)}
    met: defaultdict[tuple[str, str], list[Vote]] = defaultdict(list)
    pairs = {pair.id: pair for pair in ballots.pairs}
    between = {}
    for pair in ballots.pairs:
        sides = _sides(pair)
        if len(sides) == 2:
            first, second = sorted(sides, key=order.__getitem__)
            between[pair.id] = (first, second)
            met.setdefault((first, second), [])
    for vote in ballots.votes:
        if vote.pair_id in between:
            met[between[vote.pair_id]].append(vote)
    prompts = _prompts(ballots)
    matches = [_match(players[a], players[b], votes, pairs, prompts) for (a, b), votes in met.items()]
    return tuple(sorted(matches, key=lambda m: (-m.votes, order[m.a.id], order[m.b.id])))


def _match(
    a: Player, b: Player, votes: list[Vote], pairs: Mapping[str, AnswerPair], prompts: Mapping[str, tuple[str, ...]]
) -> Match:
    import numpy as np

    opinions = [vote for vote in votes if vote.choice != "skip"]
    scores = [_score(vote, pairs[vote.pair_id], a.id) for vote in opinions]
    clusters: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for vote, score in zip(opinions, scores, strict=True):
        clusters[prompts[vote.pair_id]].append(score)
    groups = [clusters[prompt] for prompt in sorted(clusters)]  # the order of votes must not change what is drawn
    share = cluster_share(np.array([sum(g) for g in groups], float), np.array([len(g) for g in groups], float))
    rate = sum(scores) / len(scores) if scores else None
    verdict: Verdict = "none" if rate is None else "open"
    if share.interval and not share.interval.holds(0.5):
        verdict = "a" if share.interval.low > 0.5 else "b"
    more, many = None, False
    if verdict == "open" and rate is not None and share.error is not None:
        more = votes_to_settle(rate, share.error, len(scores), len(groups))
        many = more is None
    return Match(
        a=a,
        b=b,
        wins=sum(score == 1 for score in scores),
        losses=sum(score == 0 for score in scores),
        ties=sum(vote.choice == "tie" for vote in opinions),
        both_bad=sum(vote.choice == "both_bad" for vote in opinions),
        skips=len(votes) - len(opinions),
        pairs=len({vote.pair_id for vote in opinions}),
        prompts=len(groups),
        raters=len({vote.rater_id for vote in opinions}),
        rate=rate,
        interval=share.interval,
        method=share.method,
        verdict=verdict,
        more=more,
        many=many,
    )


def votes_to_settle(rate: float, error: float, votes: int, prompts: int) -> int | None:
    """Roughly how many more votes would bring the interval off one half, were ``rate`` the true one; None for a great many.

    The standard error shrinks with the square root of the votes, as long as these go on to come from new prompts (as many a
    prompt as now). The interval excludes one half four times in five once
    ``(1.96 + .84) * error * sqrt(votes / needed) = |rate - .5|``. Asking only that it does so on average (1.96 alone)
    would promise half the votes and keep the promise every other time. Rounded to two figures; at least one prompt's worth.
    """
    gap = abs(rate - 0.5)
    if gap < _CLOSE:
        return None
    more = max(votes * (((Z + _POWER_Z) * error / gap) ** 2 - 1), votes / prompts)
    if more > _MANY:
        return None
    digits = max(0, math.floor(math.log10(more)) - 1)
    return max(1, math.ceil(more / 10**digits) * 10**digits)


def measure_standings(ballots: Ballots, players: Mapping[str, Player]) -> Standings | None:
    """Bradley-Terry ratings of the players that have votes against another; None where these are fewer than three."""
    import numpy as np

    pairs = {pair.id: pair for pair in ballots.pairs}
    met = [vote for vote in ballots.votes if vote.choice != "skip" and len(_sides(pairs[vote.pair_id])) == 2]
    present = {player for vote in met for player in _sides(pairs[vote.pair_id])}
    if len(present) < 3:
        return None
    names = [player for player in players if player in present]
    prompts = _prompts(ballots)
    place = {name: n for n, name in enumerate(names)}
    row = {prompt: n for n, prompt in enumerate(sorted({prompts[vote.pair_id] for vote in met}))}
    wins = np.zeros((len(row), len(names), len(names)))
    for vote in met:
        pair = pairs[vote.pair_id]
        one, two = place[pair.origin_1.player], place[pair.origin_2.player]
        score = _score(vote, pair, pair.origin_1.player)
        on = row[prompts[pair.id]]
        wins[on, one, two] += score
        wins[on, two, one] += 1 - score
    return rate_players(names, wins)


def _prompts(ballots: Ballots) -> dict[str, tuple[str, ...]]:
    """The cluster of every pair with a vote; each prompt is normalised once, however many votes it has."""
    voted = {vote.pair_id for vote in ballots.votes}
    return {pair.id: prompt_of(pair) for pair in ballots.pairs if pair.id in voted}


def _score(vote: Vote, pair: AnswerPair, player: str) -> float:
    """1 where ``vote`` is for ``player``, 0 where it is for the other, a half for a tie and for "both bad"."""
    if vote.choice not in ("1", "2"):
        return 0.5
    winner = pair.origin_1 if vote.choice == "1" else pair.origin_2
    return 1.0 if winner.player == player else 0.0


def _sides(pair: AnswerPair) -> set[str]:
    return {pair.origin_1.player, pair.origin_2.player}


def _tail(player: str) -> str:
    return player.rsplit(":", 1)[-1][-12:]
