"""What the Rate tab is made of: the address and its code, the tally's numbers, the list of pairs, and the operator's rights."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from studio.config import Settings
from studio.domain.votes import NewPair, Origin
from studio.errors import InputError
from studio.services import Services
from studio.services.rating.service import RatingService
from studio.ui.page.access import Visitor
from studio.ui.rating.pairs import calibration_changes, matching, pair_html
from studio.ui.rating.qr import best_address, checked_address, only_here
from studio.ui.rating.tab import code_html
from studio.ui.rating.tally import PlayerTally, Tally, players, tally_html
from studio.ui.shell import TABS
from tests.helpers.pages import section_app
from tests.helpers.pairs import ADAPTER_ORIGIN, BASE_ORIGIN, new_pairs, press_until_done
from tests.helpers.services import opened, settings_in


@pytest.fixture
def rating(settings: Settings) -> Any:
    service = RatingService(settings)
    yield service
    service.close()


# ---- the address and its code


def test_the_code_is_the_one_of_the_library() -> None:
    from qrcode.main import QRCode

    text = "https://studio.example/rate"
    svg = code_html(text)
    code = QRCode(error_correction=0, border=4)
    code.add_data(text)
    size = len(code.get_matrix())
    drawn = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", svg)}
    expected = {(x, y) for y, row in enumerate(code.get_matrix()) for x, dark in enumerate(row) if dark}
    assert f'viewBox="0 0 {size} {size}"' in svg
    assert drawn == expected
    assert min(min(point) for point in drawn) == 4, "the quiet zone readers need"


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://localhost:7860/rate", True),
        ("http://127.0.0.1/rate", True),
        ("http://127.9.9.9/rate", True),
        ("http://[::1]:7860/rate", True),
        ("http://0.0.0.0:7860/rate", True),
        ("http://x.localhost/rate", True),
        ("http://192.168.1.4:7860/rate", False),
        ("https://localhost.example/rate", False),
        ("nonsense", False),
    ],
)
def test_an_address_of_this_machine_alone_is_known(address: str, here: bool) -> None:
    assert only_here(address) is here


@pytest.mark.parametrize(
    ("seen", "share", "host", "lan", "best"),
    [
        ("https://me-studio.hf.space/rate", None, "0.0.0.0", "10.0.0.9", "https://me-studio.hf.space/rate"),
        ("http://localhost:7860/rate", "https://abc.gradio.live", "127.0.0.1", "", "https://abc.gradio.live/rate"),
        ("http://localhost:7860/rate", None, "0.0.0.0", "10.0.0.9", "http://10.0.0.9:7860/rate"),
        ("http://localhost:7860/rate", None, "::", "10.0.0.9", "http://10.0.0.9:7860/rate"),
        ("http://localhost:7860/rate", None, "0.0.0.0", "", "http://localhost:7860/rate"),
        ("http://localhost:7860/rate", None, "127.0.0.1", "10.0.0.9", "http://localhost:7860/rate"),
        ("http://127.0.0.1/sub/rate", None, "0.0.0.0", "10.0.0.9", "http://10.0.0.9/sub/rate"),
    ],
)
def test_phones_are_offered_an_address_they_can_use(
    seen: str, share: str | None, host: str, lan: str, best: str
) -> None:
    assert best_address(seen, share, host, lan) == best


@pytest.mark.parametrize(
    "text",
    ["", "   ", "studio.example/rate", "javascript:alert(1)", "http://", "http://a b/", "http://x:port/", "ftp://x/"],
)
def test_what_is_no_web_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="type a web address"):
        checked_address(text)


def test_an_address_too_long_for_a_code_is_refused() -> None:
    with pytest.raises(InputError, match="at most 300"):
        checked_address("https://x.example/" + "a" * 300)


def test_the_address_is_text_in_the_page() -> None:
    html = code_html(checked_address('https://x.example/"><script>alert(1)</script>'))
    assert "<script>" not in html
    assert "Phones cannot reach" not in html
    assert "Phones cannot reach" in code_html("http://localhost:7860/rate")


# ---- the tally


def test_the_tally_counts_the_last_minute(rating: RatingService) -> None:
    now = [0.0]
    tally = Tally(lambda: rating, clock=lambda: now[0])
    rating.add_pairs(new_pairs(4))
    assert tally.look(names=False).progress.votes == 0
    press_until_done(rating, rating.register("Anna")[0])
    assert tally.look(names=False).progress.votes == 0, "pages within a second share one look"
    now[0] = 30.0
    seen = tally.look(names=False)
    assert (seen.progress.votes, seen.recent, seen.window) == (4, 4, 30.0)
    press_until_done(rating, rating.register("Ben")[0])
    now[0] = 70.0
    assert tally.look(names=False).recent == 4, "Ben's; Anna's are older than a minute"
    now[0] = 200.0
    assert tally.look(names=False).recent == 0


def test_the_tally_is_drawn_anew_only_when_something_happened(rating: RatingService) -> None:
    now = [0.0]
    tally = Tally(lambda: rating, clock=lambda: now[0])
    rating.add_pairs(new_pairs(2))
    quiet = set()
    for second in range(90):
        now[0] = float(second)
        quiet.add(tally_html(tally.look(names=True)))
    assert len(quiet) == 1
    press_until_done(rating, rating.register("Anna")[0])
    now[0] = 95.0
    assert "2 in the last minute" in tally_html(tally.look(names=True))


def test_players_are_counted_by_hand(rating: RatingService) -> None:
    """Base answers "yes", the adapter "no" in 3 pairs. Anna presses: base, base, tie; Ben: adapter, skip, both bad."""
    ids = rating.add_pairs([*new_pairs(3), same_player(), retired_pair()]).ids
    rating.retire([ids[4]], True)
    for name, choices in (("Anna", ("yes", "yes", "tie")), ("Ben", ("no", "skip", "both_bad"))):
        rater = rating.register(name)[0]
        wanted = dict(zip(ids, choices, strict=False))
        while (served := rating.serve(rater)) is not None:
            choice = wanted.get(served.pair_id, "first")
            sides = "left" if served.left.startswith(choice) else "right"
            press = choice if choice in ("tie", "skip", "both_bad") else sides
            rating.vote(rater, served.pair_id, served.token, press, 1.0)  # type: ignore[arg-type]
    assert players(rating.ballots()) == (
        PlayerTally("Base model", wins=2, even=2, votes=5),
        PlayerTally("Adapter .9", wins=1, even=2, votes=5),
    )


def same_player() -> NewPair:
    return NewPair("two samples", "first", "second", BASE_ORIGIN, replace(BASE_ORIGIN, seed=2), "batch")


def retired_pair() -> NewPair:
    return NewPair("retired", "left out", "out left", BASE_ORIGIN, Origin("import", "Gone"), "batch")


def test_names_in_the_tally_are_text_and_shown_only_when_asked(rating: RatingService) -> None:
    hostile = replace(ADAPTER_ORIGIN, label="<img src=x onerror=alert(1)>")
    rating.add_pairs([NewPair("Q", "a", "b", BASE_ORIGIN, hostile, "batch")])
    press_until_done(rating, rating.register("Anna")[0])
    tally = Tally(lambda: rating)
    assert "img" not in tally_html(tally.look(names=False))
    html = tally_html(tally.look(names=True))
    assert "<img" not in html
    assert "&lt;img" in html


# ---- the list of pairs


def test_the_search_finds_words_in_questions_and_answers(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(12))
    assert len(matching(rating.decisions(), "")) == 12
    assert [d.pair.prompt for d in matching(rating.decisions(), "QUESTION yes, 11")] == ["question 11"]
    assert matching(rating.decisions(), "nowhere") == []


def test_calibration_pairs_are_as_many_as_asked_and_stay(rating: RatingService) -> None:
    ids = rating.add_pairs(new_pairs(6)).ids
    rating.set_calibration([ids[2]], True)
    rating.retire([ids[5]], True)

    def choose(count: int) -> set[str]:
        on, off = calibration_changes(rating.decisions(), count)
        rating.set_calibration(off, False)
        rating.set_calibration(on, True)
        return {d.pair.id for d in rating.decisions() if d.pair.calibration}

    three = choose(3)
    assert len(three) == 3
    assert ids[2] in three
    assert ids[5] not in three
    four = choose(4)
    assert four > three
    assert choose(1) < four
    assert choose(0) == set()
    with pytest.raises(InputError, match="only 5 pairs"):
        choose(6)


def test_a_pair_in_the_list_tells_names_to_the_operator_only(rating: RatingService) -> None:
    text = "<script>alert(1)</script>"
    rating.add_pairs([NewPair(text, f"{text} a", "b", BASE_ORIGIN, ADAPTER_ORIGIN, "batch")])
    press_until_done(rating, rating.register("Anna")[0])
    (decision,) = rating.decisions()
    for names in (True, False):
        html = pair_html(decision, names=names)
        assert "<script" not in html
        assert ("Adapter .9" in html) is names
        assert ("preferred" in html) is names


# ---- rights


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with opened(settings_in(tmp_path_factory.mktemp("locked"), admin_password="secret")) as services:
        yield services, section_app(services, {"Rate": TABS["Rate"]})


#: what is pressed, and what it is given beyond the visitor's mark and the room
CHANGES = [
    ("rate-save-rules", ["text", 3, True]),
    ("rate-toggle", ["Close voting"]),
    ("rate-calibrate-set", [1, ""]),
    ("rate-pair-first", ["x", ""]),
    ("rate-pair-retire", ["x", ""]),
    ("rate-retire-all", ["x", ""]),
    ("rate-revive-all", ["x", ""]),
]


@pytest.mark.parametrize(("elem_id", "values"), CHANGES)
def test_visitors_change_nothing(locked: tuple[Services, gr.Blocks], elem_id: str, values: list[Any]) -> None:
    services, app = locked
    services.rating.add_pairs(new_pairs(2))
    before = services.rating.ballots()
    button = next(block for block in app.blocks.values() if getattr(block, "elem_id", None) == elem_id)
    handler = next(fn for fn in app.fns.values() if (button._id, "click") in fn.targets)
    with pytest.raises(gr.Error, match="operator's password"):
        handler.fn(Visitor(operator=False), "", *values)
    assert services.rating.ballots() == before


def test_the_operator_changes_the_rules_and_a_stale_button_does_what_it_says(
    locked: tuple[Services, gr.Blocks],
) -> None:
    services, app = locked
    operator = Visitor(operator=True)

    def press(elem_id: str, *values: Any) -> None:
        button = next(block for block in app.blocks.values() if getattr(block, "elem_id", None) == elem_id)
        next(fn for fn in app.fns.values() if (button._id, "click") in fn.targets).fn(operator, "", *values)

    for _ in range(2):
        press("rate-toggle", "Close voting")
        assert services.rating.rules().open is False
    press("rate-toggle", "Open voting again")
    assert services.rating.rules().open is True
    press("rate-save-rules", "Be fair.", 5, True)
    rules = services.rating.rules()
    assert (rules.guidelines, rules.min_votes, rules.reveal, rules.open) == ("Be fair.", 5, True, True)
    for wrong in (4, 0, 2.5, None, 101):
        with pytest.raises(gr.Error, match=r"odd|Votes that decide"):
            press("rate-save-rules", "Be fair.", wrong, True)
    assert services.rating.rules() == rules
    services.rating.add_pairs(new_pairs(3))
    press("rate-calibrate-set", 2, "")
    press("rate-retire-all", None, "question 1")
    pairs = services.rating.ballots().pairs
    assert sum(pair.calibration for pair in pairs) == 2
    assert [pair.prompt for pair in pairs if pair.retired] == ["question 1"]


def test_every_event_of_the_tab_is_private(locked: tuple[Services, gr.Blocks]) -> None:
    _, app = locked
    ours = [fn for fn in app.fns.values() if fn.fn is not None and fn.fn.__module__.startswith("studio.ui.rating.")]
    assert len(ours) >= 12
    named = {fn.api_name for fn in ours if fn.api_visibility != "private"}
    assert named == {"rooms", "room_make", "room_set", "room_delete"}  # for programs; no component of the page
    assert not any(fn.targets for fn in ours if fn.api_name in named)
