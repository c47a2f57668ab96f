"""What the votes say, inside the Rate tab: filters, sentences, charts, and whether the votes can be trusted.

Nothing is read before somebody opens the tab. From then on a new vote makes the statistics be computed again, once for all
pages that look at the same votes through the same filters.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import gradio as gr

from studio.domain.votes import PairSource, Progress
from studio.i18n import Named
from studio.services import Services
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService
from studio.services.votes.filters import SOURCES, VoteFilters
from studio.services.votes.kept import KeptVotes, keep_votes, kept_heads, kept_votes
from studio.services.votes.result import VoteResult, result_of
from studio.services.votes.statistics import VoteReport
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.changes import VOTES, marked, seen_in, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import IDLE_S, POLLED, QUIET, Shared
from studio.ui.parts.live_chart import build_live_chart
from studio.ui.votes import charts, view
from studio.ui.votes.kept_box import NOW, KeptBox, choices

#: Rooms and sets of filters whose report is kept for the next page that asks for it.
_KEPT = 16
_SOURCE_LABELS = {"compare": "the screen of Compare", "batch": "batches", "import": "imported files"}


@dataclass(frozen=True)
class Moment:
    """What has to be the same for a report to be: whose votes, how many there are, and the rules that matter here."""

    room: str
    progress: Progress
    min_votes: int
    open: bool
    closes: float

    @property
    def token(self) -> str:
        """The same in one line."""
        return " ".join(
            str(one) for one in (self.room, *astuple(self.progress), self.min_votes, self.open, self.closes)
        )


@dataclass(frozen=True)
class Reading:
    """One look at the votes; ``moment`` tells whether anything has happened since."""

    moment: Moment
    result: VoteResult
    raters: tuple[tuple[str, str], ...] = ()


class Reader:
    """Computes a :class:`Reading` when votes have come in, and keeps it for whoever asks next. For all pages together; ``rating`` gives
    the vote of a room."""

    def __init__(self, rating: Callable[[str], RatingService]) -> None:
        self._rating = rating
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, VoteFilters], Reading] = OrderedDict()

    def moment(self, room: str) -> Moment:
        """Cheap: counts and rules."""
        rating = self._rating(room)
        rules, progress = rating.rules(), rating.progress(None)
        return Moment(room, progress, rules.needed(progress.raters), rules.open, rules.closes)

    def read(self, room: str, filters: VoteFilters, anew: bool = False) -> Reading:
        """The votes of a room under ``filters``; ``anew`` also where their number is the same (somebody changed their mind)."""
        with self._lock:
            moment, key = self.moment(room), (room, filters)
            kept = self._kept.get(key)
            if kept is None or kept.moment != moment or anew:
                ballots = self._rating(room).ballots()
                voted = {vote.rater_id for vote in ballots.votes}
                raters = tuple((rater.id, rater.name) for rater in ballots.raters if rater.id in voted)
                kept = Reading(moment, result_of(ballots, filters), raters)
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept


class ResultsPanel:
    """Draws the panel when made (inside a ``gr.Blocks``); :meth:`bind` connects it."""

    def __init__(self, rooms: RoomService, room: gr.State) -> None:
        self._rating = rooms.rating("")  # kept results go by their id, whatever their room
        self._rooms = rooms
        self._room = room
        self._reader = Reader(rooms.rating)
        self._draw()
        self.seen = gr.Textbox(visible=False)
        self.timer = gr.Timer(IDLE_S)
        self.outputs: list[Any] = [
            self.picker,
            self.head,
            self.keep,
            *self.kept_box.outputs,
            self.filter_box,
            self.counts,
            self.leads,
            self.preferences,
            self.leads_body,
            self.body,
            *(drawn.chart for drawn in (self.rates, self.ratings, self.over_time, self.per_rater, self.pace)),
            self.table,
            self.rating_box,
            self.standings,
            self.trust,
            self.raters,
            self._room,
        ]

    def _draw(self) -> None:
        self.picker = gr.Dropdown([("Now", NOW)], value=NOW, label="Result", visible=False, elem_id="votes-picker")
        self.head = gr.HTML(elem_id="votes-head", padding=False)
        self.kept_box = KeptBox()
        with gr.Column() as self.filter_box:
            self._draw_filters()
        self.counts = gr.HTML(view.no_votes(), elem_id="vote-counts", padding=False)
        # closed at first: a presenter's screen would sway whoever votes in the room
        with gr.Accordion(
            "Who leads (keep it closed on a projector while people vote)",
            open=False,
            visible=False,
            elem_id="votes-leads",
        ) as self.leads:
            self.preferences = gr.HTML(elem_id="votes-said", padding=False)
            with gr.Column(visible=False) as self.leads_body:
                self.rates = build_live_chart("win-rates", 110)
                self.table = gr.HTML(elem_id="votes-table", padding=False)
                with gr.Column(visible=False, elem_id="votes-ratings") as self.rating_box:
                    gr.Markdown("## Ratings of all players")
                    self.standings = gr.HTML(elem_id="votes-standings", padding=False)
                    self.ratings = build_live_chart("ratings", 110)
        with gr.Column(visible=False, elem_id="votes-body") as self.body:
            gr.Markdown("## Can these votes be trusted?")
            self.trust = gr.HTML(elem_id="votes-trust", padding=False)
            with gr.Row(equal_height=False):
                with gr.Column(min_width=300):
                    self.over_time = build_live_chart("votes-over-time", 260)
                with gr.Column(min_width=300):
                    self.per_rater = build_live_chart("votes-per-rater", 260)
                with gr.Column(min_width=300):
                    self.pace = build_live_chart("votes-pace", 260)

    def _draw_filters(self) -> None:
        with gr.Accordion("Filters: which votes count (none is deleted)", open=False, elem_id="vote-filters"):
            with gr.Row():
                self.min_votes = gr.Number(
                    0,
                    label="Leave out raters with fewer votes than",
                    precision=0,
                    minimum=0,
                    min_width=200,
                    elem_id="min-votes",
                )
                self.min_seconds = gr.Number(
                    0,
                    label="Leave out votes faster than (seconds)",
                    minimum=0,
                    step=0.5,
                    min_width=200,
                    elem_id="min-seconds",
                )
                self.raters = gr.Dropdown(
                    [],
                    label="Leave out these raters",
                    multiselect=True,
                    visible=False,
                    min_width=240,
                    elem_id="out-raters",
                )
            with gr.Row():
                self.sources = gr.CheckboxGroup(
                    [(label, source) for source, label in _SOURCE_LABELS.items()],
                    value=list(SOURCES),
                    label="Count votes on pairs from",
                    min_width=280,
                    elem_id="sources",
                )
                with gr.Column(min_width=240):
                    self.calibration = gr.Checkbox(
                        False, label="Leave out calibration pairs", elem_id="out-calibration"
                    )
                    self.retired = gr.Checkbox(False, label="Leave out retired pairs", elem_id="out-retired")
        with gr.Row():
            self.everything = gr.Button("Count every vote", size="sm", min_width=120, elem_id="count-every-vote")
            self.refresh = gr.Button("Refresh", size="sm", min_width=120, elem_id="refresh-votes")
            self.keep = gr.Button("Keep this result", size="sm", min_width=120, visible=False, elem_id="keep-votes")
        self.filters: list[Any] = [
            self.min_votes,
            self.min_seconds,
            self.calibration,
            self.retired,
            self.sources,
            self.raters,
        ]

    # -- drawing ------------------------------------------------------------------------------------------------------

    def look(self, mark: Visitor, room: str, chosen: str, *filters: Any) -> dict[Any, Any]:
        """The kept result that is ``chosen``, or what the votes say now under the filters of the page, computed only where it is not
        known yet. While voting is open, who leads now is for the operator alone: knowing it sways votes."""
        if chosen != NOW:
            kept = kept_votes(self._rating, chosen)
            return self._shown(mark, Reading(self._reader.moment(kept.room), kept.result), kept)
        return self._shown(mark, self._reader.read(room, filters_from(*filters)))

    def look_again(self, mark: Visitor, room: str, *filters: Any) -> dict[Any, Any]:
        """What the votes say now, computed in any case."""
        return self._shown(mark, self._reader.read(room, filters_from(*filters), anew=True))

    def tick(self, mark: Visitor, room: str, chosen: str, *filters_seen: Any) -> dict[Any, Any]:
        """Everything, where there are new votes since this page looked: after the filters comes the token of what it shows."""
        *filters, seen = filters_seen
        if seen is None or chosen != NOW or self._reader.moment(room).token == seen:
            return {self.counts: gr.skip()}
        return self.look(mark, room, chosen, *filters)

    def count_everything(self, mark: Visitor, room: str) -> dict[Any, Any]:
        """Filters off, in the widgets as well."""
        off = dict(zip(self.filters, (0, 0, False, False, list(SOURCES), []), strict=True))
        reading = self._reader.read(room, VoteFilters())
        return {**off, **self._shown(mark, reading), self.raters: gr.Dropdown(**_choices(mark, reading), value=[])}

    def _shown(self, mark: Visitor, reading: Reading, kept: KeptVotes | None = None) -> dict[Any, Any]:
        votes = reading.result.report
        secret = kept is None and reading.moment.open and not mark.operator
        some = votes.votes > 0
        heads = kept_heads(self._rooms.rating(reading.moment.room))
        updates: dict[Any, Any] = {
            self.picker: gr.Dropdown(choices=choices(heads), value=kept.id if kept else NOW, visible=bool(heads)),
            self.head: view.head(kept) if heads else "",
            self.keep: gr.Button(visible=some),
            self.filter_box: gr.Column(visible=kept is None),
            **self.kept_box.show(kept, mark),
            self.counts: marked(view.counts(reading.result), reading.moment.token),
            self.leads: gr.Accordion(visible=some),
            self.preferences: view.secret() if secret else view.preferences(votes),
            self.leads_body: gr.Column(visible=some and not secret),
            self.body: gr.Column(visible=some),
            self.raters: gr.Dropdown(**_choices(mark, reading)),
            **({self._room: kept.room} if kept else {}),
        }
        if not some:
            return updates
        names = view.rater_names(votes.raters, mark.operator)
        updates |= {
            self.trust: view.trust(votes),
            **self.over_time.show(charts.time_figure(votes.times)),
            **self.per_rater.show(charts.rater_figure(votes.raters, names)),
            **self.pace.show(charts.pace_figure(votes.seconds)),
        }
        return updates if secret else updates | self._leaders(votes)

    def _leaders(self, votes: VoteReport) -> dict[Any, Any]:
        players = {player.id: player for player in votes.players}
        rated = votes.standings
        return {
            **self.rates.show(charts.win_rate_figure(votes.matches)),
            self.table: view.table(votes.matches),
            self.rating_box: gr.Column(visible=rated is not None),
            self.standings: view.standings(votes),
            **self.ratings.show(charts.rating_figure(rated, players) if rated and rated.groups else None),
        }

    # -- binding ------------------------------------------------------------------------------------------------------

    def bind(self, shared: Shared, app: gr.Blocks) -> None:
        """Connect the panel's events."""
        inputs = [shared.visitor, self._room, self.picker, *self.filters]
        when_opened(self.body, app, guarded(self.look), inputs, self.outputs, **POLLED)
        seen, looked = [*inputs, self.seen], seen_in("vote-counts")
        self.timer.tick(guarded(self.tick), seen, self.outputs, trigger_mode="once", **looked, **POLLED)
        when_changed(VOTES, guarded(self.tick), seen, self.outputs, **looked)
        gr.on(
            [self.picker.input, *(widget.input for widget in self.filters)],
            guarded(self.look),
            inputs,
            self.outputs,
            trigger_mode="always_last",
            **POLLED,
        )
        now = [shared.visitor, self._room, *self.filters]
        self.refresh.click(guarded(self.look_again), now, self.outputs, **POLLED)
        self.everything.click(
            guarded(self.count_everything), [shared.visitor, self._room], [*self.outputs, *self.filters[:-1]], **POLLED
        )

        def keep(mark: Visitor, room: str, *filters: Any) -> dict[Any, Any]:
            require_operator(mark, "keeping results")
            return self.look(mark, room, keep_votes(self._rooms.rating(room), filters_from(*filters)))

        def open_kept(kept_id: str | None, mark: Visitor, room: str, *filters: Any) -> dict[Any, Any]:
            """An address asks for a result."""
            if kept_id is None:
                return {shared.show_votes: gr.skip()}
            return {**self.look(mark, room, kept_id, *filters), shared.show_votes: None}

        def enter(mark: Visitor, room: str, seen: Moment | None, *filters: Any) -> dict[Any, Any]:
            """Another room: what its votes say now; nothing before the page has looked at all, or where a kept result of it is open."""
            if seen is None or seen.room == room:
                return {self.seen: gr.skip()}
            return self.look(mark, room, NOW, *filters)

        self._room.change(
            guarded(enter), [shared.visitor, self._room, self.seen, *self.filters], self.outputs, **POLLED
        )
        self.keep.click(guarded(keep), now, self.outputs, **QUIET)
        shared.show_votes.change(
            guarded(open_kept), [shared.show_votes, *now], [*self.outputs, shared.show_votes], **POLLED
        )
        self.kept_box.bind(self._rating, shared, inputs, guarded(self.look), self.outputs)


def build_results_panel(services: Services, shared: Shared, room: gr.State, app: gr.Blocks) -> ResultsPanel:
    """Draw the panel here and connect it; ``room`` holds the code of the room whose votes are read."""
    panel = ResultsPanel(services.rooms, room)
    panel.bind(shared, app)
    return panel


def filters_from(
    min_votes: float | None,
    min_seconds: float | None,
    calibration: bool,
    retired: bool,
    sources: list[PairSource],
    raters: list[str] | None,
) -> VoteFilters:
    """The filters as the page's widgets have them; an emptied number leaves out nothing.

    Raises:
        InputError: a number is below 0.
    """
    return VoteFilters(
        min_votes=int(min_votes or 0),
        min_seconds=float(min_seconds or 0),
        without_calibration=calibration,
        without_retired=retired,
        sources=tuple(source for source in SOURCES if source in sources),
        without_raters=tuple(sorted(raters or ())),
    )


def _choices(mark: Visitor, reading: Reading) -> dict[str, Any]:
    """Raters to leave out, by name: the operator's to see."""
    if not mark.operator:
        return {"choices": [], "multiselect": True, "visible": False}
    names = [(Named(name or rater), rater) for rater, name in reading.raters]
    return {"choices": sorted(names), "multiselect": True, "visible": bool(names)}
