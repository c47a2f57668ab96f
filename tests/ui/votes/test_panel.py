"""The panel of what the votes say: text from outside stays text, filters account for themselves, new votes show up."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from studio.config import ROOT, Settings
from studio.domain.votes import AnswerPair, Ballots, Choice, NewPair, Origin, Press, Rater, RatingRules, Vote
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService
from studio.services.statistics.agreement import measure_agreement
from studio.services.statistics.intervals import Interval
from studio.services.votes import reading
from studio.services.votes.filters import SOURCES, VoteFilters
from studio.services.votes.result import Decided, VoteResult
from studio.services.votes.statistics import Match, VoteReport, report
from studio.ui.page.access import Visitor
from studio.ui.votes import charts, view
from studio.ui.votes.kept_box import NOW
from studio.ui.votes.panel import Reader, ResultsPanel, filters_from
from tests.helpers.pages import make_shared, open_tab, scroll_to, shown_in
from tests.helpers.waiting import wait_until

HOSTILE = "<img src=x onerror=alert(1)>'\"&"
BASE = Origin("base", "Base", model="tiny")
RED, BLUE = Origin("adapter", "Red", adapter_hash="red"), Origin("adapter", "Blue", adapter_hash="blue")
ALL = (0, 0, False, False, list(SOURCES), [])


def counted(*prompts: list[Choice], one: Origin = RED, two: Origin = BASE, name: str = "Ann") -> VoteReport:
    """The report of one pair on a prompt of its own for each list of choices; the nth choice is the nth rater's."""
    pairs = [AnswerPair(f"p{n}", f"Q{n}", "1", "2", one, two, "batch", 0.0) for n in range(len(prompts))]
    votes = [
        Vote(f"p{n}", f"r{k}", choice, 1, 3.0, n, n) for n, said in enumerate(prompts) for k, choice in enumerate(said)
    ]
    raters = tuple(Rater(f"r{k}", f"{name} {k}") for k in range(max((len(said) for said in prompts), default=0)))
    return report(Ballots(tuple(pairs), tuple(votes), raters, RatingRules("")))


def result(found: VoteReport) -> VoteResult:
    return VoteResult(found, 3, Decided(), ())


def match(*prompts: list[Choice]) -> Match:
    return counted(*prompts).matches[0]


# -- sentences ---------------------------------------------------------------------------------------------------------


def test_a_preference_is_said_from_the_winners_side() -> None:
    for_red, for_base = match(*[["1"]] * 30, *[["2"]] * 10), match(*[["2"]] * 30, *[["1"]] * 10)
    said, other = reading.read_match(for_red), reading.read_match(for_base)
    assert said.startswith("Red is preferred to Base: 75 % of 40 votes (95 % interval ")
    assert other.startswith("Base is preferred to Red: 75 % of 40 votes (95 % interval ")
    assert for_base.interval is not None
    assert reading.span(Interval(1 - for_base.interval.high, 1 - for_base.interval.low)) in other
    assert "over 40 prompts" in said


def test_while_nobody_is_preferred_it_says_what_it_would_take() -> None:
    said = reading.read_match(match(*[["1"]] * 12, *[["2"]] * 8))
    assert "not yet distinguishable" in said
    assert "50 % lies inside" in said
    found = re.search(r"Roughly ([\d,]+) more votes, on new prompts, would settle it if 60 % is the true rate", said)
    assert found is not None
    assert 100 <= int(found[1].replace(",", "")) <= 300
    assert "a great many more votes" in reading.read_match(match(*[["1"], ["2"]] * 20))


def test_the_odd_cases_are_said_to_be_odd() -> None:
    assert "no votes yet" in reading.read_match(match(["skip"]))
    assert "all on one prompt" in reading.read_match(match(["1", "1", "1"]))
    assert "fewer than 6 prompts" in reading.read_match(match(["1"], ["2"], ["1"]))
    assert "Every prompt came out the same" in reading.read_match(match(*[["1"]] * 12))


@pytest.mark.parametrize(
    ("interval", "shown"),
    [((0.431, 0.648), "43–65 %"), ((0.503, 0.62), "50.3–62.0 %"), ((0.3, 0.4961), "30.0–49.6 %"), ((0, 1), "0–100 %")],
)
def test_an_interval_is_never_rounded_onto_one_half(interval: tuple[float, float], shown: str) -> None:
    assert reading.span(Interval(*interval)) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0 %"), (0.001, "under 1 %"), (0.5449, "54 %"), (0.9999, "over 99 %"), (1, "100 %")]
)
def test_a_share_is_not_rounded_to_certainty(share: float, shown: str) -> None:
    assert reading.percent(share) == shown


def test_agreement_is_told_with_its_n() -> None:
    votes = [
        Vote(f"p{n}", f"r{k}", "1" if (n + (k == 0 and n % 5 == 0)) % 2 else "2", 1, 3.0, 0, 0)
        for n in range(30)
        for k in range(3)
    ]
    said = reading.read_agreement(measure_agreement(votes))
    assert re.search(
        r"alpha 0\.\d\d \(95 % interval 0\.\d\d to 0\.\d\d\), on 90 votes by 3 raters on the 30 pairs", said
    )
    assert "Raw agreement 87 % (78 of 90 couples of votes)" in said
    assert "convention" in said


# -- HTML and figures --------------------------------------------------------------------------------------------------


def hostile_report() -> VoteReport:
    one, two = Origin("import", HOSTILE), Origin("import", HOSTILE + "2")
    return counted(*[["1", "2"]] * 10, ["1"], one=one, two=two, name=HOSTILE)


def test_names_from_outside_stay_text() -> None:
    found = hostile_report()
    html = view.preferences(found) + view.table(found.matches) + view.trust(found) + view.counts(result(found))
    assert "<img" not in html
    assert "&lt;img" in html
    for figure in (
        charts.win_rate_figure(found.matches),
        charts.rater_figure(found.raters, view.rater_names(found.raters, operator=True)),
    ):
        assert "<img" not in figure.to_json()
        assert "&lt;img" in json.dumps(figure.to_dict(), default=str)


def test_only_the_operator_reads_raters_names() -> None:
    found = hostile_report()
    assert set(view.rater_names(found.raters, operator=False).values()) == {"rater 1", "rater 2"}
    assert all(HOSTILE in name for name in view.rater_names(found.raters, operator=True).values())


def test_every_player_pair_has_its_dot_and_interval() -> None:
    found = match(*[["1", "1", "2"]] * 20)
    figure = charts.win_rate_figure([found, match(["1", "1"]), match(["skip"])])
    bars = [trace for trace in figure.data if trace.mode == "lines"]
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert found.interval is not None
    assert [tuple(bar.x) for bar in bars] == [(found.interval.low, found.interval.high)]
    assert [dot.x[0] for dot in dots] == [found.rate, 1.0]  # nothing to draw without a vote
    assert dots[1].marker.symbol == "circle-open"  # on one prompt there is no interval
    assert figure.layout.shapes[0].x0 == 0.5


def test_time_and_pace_keep_every_vote() -> None:
    times = [1_000_000.0 + n * n for n in range(1500)]
    (curve,) = charts.time_figure(times).data
    assert (len(curve.x), curve.y[-1]) == (401, 1500)
    assert list(curve.y) == sorted(curve.y)
    seconds = [0.0, 0.99, 1.0, 119.0, 120.0, 86_400.0]
    (bars,) = charts.pace_figure(seconds).data
    assert (bars.y[0], bars.y[1], bars.y[-2], bars.y[-1]) == (2, 1, 1, 2)
    assert sum(bars.y) == len(seconds)


def test_a_side_bias_is_a_warning() -> None:
    found = counted(*[["1"]] * 40)  # left is answer 1 throughout
    assert "Side bias" in view.trust(found)
    assert "run-message" in view.trust(found)
    assert "Side bias" not in view.trust(counted(*[["1"], ["2"]] * 20))


def test_an_empty_page_says_what_to_do_and_a_filtered_one_what_was_done() -> None:
    assert "No votes yet" in view.counts(result(counted()))
    assert "Only skips" in view.counts(result(counted(["skip"])))
    pairs = (AnswerPair("p", "Q", "1", "2", RED, BASE, "batch", 0.0),)
    ballots = Ballots(pairs, (Vote("p", "r", "1", 1, 0.2, 0, 0),), (Rater("r", "Ann"),), RatingRules(""))
    out = report(ballots, VoteFilters(min_seconds=1))
    assert "leave out every vote" in view.counts(result(out))
    assert "1 of 1 (1 faster than 1 s); nothing is deleted" in view.counts(result(out))
    assert "Nothing is left out" in view.counts(result(report(ballots)))


def test_emptied_widgets_leave_out_nothing() -> None:
    assert filters_from(None, None, False, False, ["import", "compare", "batch"], None) == VoteFilters()


# -- the panel over a real store ---------------------------------------------------------------------------------------


@pytest.fixture
def rating(settings: Settings) -> Iterator[RatingService]:
    service = RatingService(settings)
    yield service
    service.close()


def cast(rating: RatingService, name: str, presses: list[Press], seconds: float = 4.0) -> Rater:
    """A new rater who presses these, pair after pair."""
    rater, _ = rating.register(name)
    for press in presses:
        served = rating.serve(rater)
        assert served is not None
        rating.vote(rater, served.pair_id, served.token, press, seconds)
    return rater


def add_pairs(rating: RatingService, n: int, *players: Origin) -> None:
    rating.add_pairs(
        NewPair(f"Question {k}?", f"{one.label} {k}", f"{two.label} {k}", one, two, "batch")
        for k in range(n)
        for one, two in zip(players, players[1:] + players[:1] if len(players) > 2 else players[1:], strict=False)
    )


@pytest.fixture
def panel(rating: RatingService) -> ResultsPanel:
    with gr.Blocks():
        return ResultsPanel(RoomService(rating), gr.State(""))


def test_the_panel_shows_what_was_voted(rating: RatingService, panel: ResultsPanel) -> None:
    operator = Visitor(operator=True)
    empty = panel.look(operator, "", NOW, *ALL)
    assert "No votes yet" in empty[panel.counts]
    assert empty[panel.body].visible is empty[panel.leads].visible is False
    add_pairs(rating, 8, RED, BLUE, BASE)
    rng = random.Random(1)
    for name in ("Ann", "Bo", "Cy"):
        cast(rating, name, rng.choices(["left", "right", "tie"], k=24))  # type: ignore[arg-type]
    updates = panel.look(operator, "", NOW, *ALL)
    assert updates[panel.body].visible is True
    assert "72 votes by 3 raters on 24 pairs count" in updates[panel.counts]
    assert updates[panel.preferences].count("<li>") == 3
    assert updates[panel.rating_box].visible is True
    assert {name for name, _ in updates[panel.raters].choices} == {"Ann", "Bo", "Cy"}
    assert json.loads(updates[panel.ratings.chart])["data"]
    # a visitor sees the result when voting is over, and no names
    while_open = panel.look(Visitor(), "", NOW, *ALL)
    assert while_open[panel.preferences] == view.secret()
    assert while_open[panel.leads_body].visible is False
    assert not {panel.table, panel.standings, panel.rates.chart, panel.ratings.chart} & set(while_open)
    rating.set_rules(dataclasses.replace(rating.rules(), open=False))
    theirs = panel.look(Visitor(), "", NOW, *ALL)
    assert theirs[panel.preferences] == updates[panel.preferences]
    assert theirs[panel.raters].choices == []
    assert "Ann" not in theirs[panel.per_rater.chart]


def test_filters_come_off_again(rating: RatingService, panel: ResultsPanel) -> None:
    operator = Visitor(operator=True)
    add_pairs(rating, 6, RED, BASE)
    cast(rating, "Ann", ["left"] * 6)
    hasty = cast(rating, "Bo", ["left"] * 4, seconds=0.3)
    chosen = (0, 1, False, False, list(SOURCES), [])
    assert "4 of 10 (4 faster than 1 s)" in panel.look(operator, "", NOW, *chosen)[panel.counts]
    by_hand = (0, 0, False, False, list(SOURCES), [hasty.id])
    assert "4 of 10 (4 by 1 rater left out by hand)" in panel.look(operator, "", NOW, *by_hand)[panel.counts]
    everything = panel.count_everything(operator, "")
    assert "Nothing is left out" in everything[panel.counts]
    assert (everything[panel.min_seconds], everything[panel.sources]) == (0, list(SOURCES))
    assert everything[panel.raters].value == []


def test_a_tick_computes_only_for_new_votes(rating: RatingService, panel: ResultsPanel) -> None:
    operator = Visitor(operator=True)
    assert list(panel.tick(operator, "", NOW, *ALL, None)) == [
        panel.counts
    ]  # nobody has opened the tab: nothing is read
    add_pairs(rating, 6, RED, BASE)
    cast(rating, "Ann", ["left"] * 2)
    seen = shown_in(panel.look(operator, "", NOW, *ALL)[panel.counts])
    assert panel.tick(operator, "", NOW, *ALL, seen) == {panel.counts: gr.skip()}
    for missed in ("", "of before"):  # what this page was sent was lost
        assert shown_in(panel.tick(operator, "", NOW, *ALL, missed)[panel.counts]) == seen
    cast(rating, "Bo", ["right"])
    assert "3 votes by 2 raters" in panel.tick(operator, "", NOW, *ALL, seen)[panel.counts]


def test_a_changed_mind_shows_after_refresh(rating: RatingService) -> None:
    add_pairs(rating, 1, RED, BASE)
    rater, _ = rating.register("Ann")
    served = rating.serve(rater)
    assert served is not None
    rating.vote(rater, served.pair_id, served.token, "left", 3.0)
    reader = Reader(lambda room: rating)
    before = reader.read("", VoteFilters())
    assert reader.read("", VoteFilters()) is before
    rating.vote(rater, served.pair_id, served.token, "right", 3.0)
    (after,) = reader.read("", VoteFilters(), anew=True).result.report.matches
    assert after.rate == 1 - before.result.report.matches[0].rate  # type: ignore[operator]


#: What the page's script does once the server says that there are new votes.
TOLD = "document.querySelectorAll('.changed-votes').forEach((button) => button.click())"


def told(page: Any, counts: str) -> None:
    """Tell the page of new votes until it shows them: one that still looks for the first time does not look again."""

    def shown() -> bool:
        page.evaluate(TOLD)
        return bool(page.locator("#vote-counts", has_text=counts).count())

    wait_until(shown)


def test_in_a_browser(rating: RatingService, open_page: Any) -> None:
    """Drawn when its tab opens, moves while others vote, filters in place, fits a phone."""
    with gr.Blocks(fill_width=True) as app:
        visitor = gr.State(Visitor(operator=True))
        with gr.Tabs() as tabs:
            shared = make_shared(visitor, tabs)
            with gr.Tab("Other"):
                gr.Markdown("elsewhere")
            with gr.Tab("Rate"):
                ResultsPanel(RoomService(rating), gr.State("")).bind(shared, app)
    scripts = "".join((ROOT / "studio" / "ui" / "parts" / name).read_text() for name in ("words.js", "charts.js"))
    head = f"<script>{scripts}</script>"
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, head=head)
    try:
        add_pairs(rating, 8, RED, BASE)
        page = open_page(url, viewport={"width": 390, "height": 800})
        open_tab(page, "Rate")
        page.wait_for_selector("#vote-counts >> text=No votes yet")
        cast(rating, "Ann", ["left"] * 8)
        told(page, "8 votes by 1 rater")
        scroll_to(page, "#votes-pace").locator(
            ".main-svg"
        ).first.wait_for()  # drawn while who leads is still folded away
        page.get_by_text("Who leads").click()
        scroll_to(page, "#win-rates").locator(".main-svg").first.wait_for()
        cast(rating, "Bo", ["right"] * 5, seconds=0.4)
        told(page, "13 votes by 2 raters")
        page.get_by_text("Filters: which votes count").click()
        page.locator("#min-seconds input").fill("1")
        page.wait_for_selector("#vote-counts >> text=5 of 13 (5 faster than 1 s)")
        page.get_by_role("button", name="Count every vote").click()
        page.wait_for_selector("#vote-counts >> text=Nothing is left out")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        width = page.evaluate("document.querySelector('#win-rates .main-svg').clientWidth")
        assert 250 < width <= 390
    finally:
        app.close()
