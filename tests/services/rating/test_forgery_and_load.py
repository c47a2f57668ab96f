"""Rating under attack and under load: forged tokens, hostile text, many at once."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.config import Settings
from studio.domain.data import Message
from studio.domain.votes import Served
from studio.errors import InputError, NotAllowedError
from studio.services.rating.service import RatingService
from studio.services.texts import MAX_TEXT
from tests.helpers.pairs import BASE_ORIGIN, new_pairs, press_until_done
from tests.helpers.rating import assert_counters_are_right, history, pair, press, served_to, somebody

# ---- who may do what


def test_a_vote_needs_the_proof_of_its_own_serving(rating: RatingService) -> None:
    ids = rating.add_pairs(new_pairs(8)).ids
    anna, eve = somebody(rating), somebody(rating, "Eve")
    hers = served_to(rating, anna)
    other = next(i for i in ids if i != hers.pair_id)
    tries = [
        (eve, hers.pair_id, hers.token),  # Anna's proof in Eve's hands
        (anna, other, hers.token),  # a proof of another pair
        (anna, other, ""),
        (anna, other, "0" * 32),
        (anna, hers.pair_id, hers.token[:-1]),
        (anna, hers.pair_id, hers.token.upper() + "\0"),
        (anna, hers.pair_id + "\0", hers.token),
        (anna, "'; DROP TABLE votes; --", hers.token),
        (anna, "\ud800", "\udfff"),
        (anna, hers.pair_id, None),
        (anna, "x" * 1_000_000, "y" * 1_000_000),
    ]
    for rater, pair_id, token in tries:
        with pytest.raises(NotAllowedError, match="not served to you"):
            rating.vote(rater, pair_id, token, "left", 1.0)  # type: ignore[arg-type]
    assert rating.ballots().votes == ()


def test_a_forged_rater_is_nobody(rating: RatingService) -> None:
    anna, token = rating.register("Anna")
    eve, hers = rating.register("Eve")
    assert (rating.rater(token), rating.rater(hers)) == (anna, eve)
    signed = hers.partition(".")[2]
    forged = [f"{anna.id}.{signed}", f"{anna.id}.", anna.id, "", ".", hers + "x", "\ud800.\ud800", "a" * 10**6, "é.\0"]
    for wrong in [*forged, None, 7, {"id": anna.id}]:
        with pytest.raises(NotAllowedError, match="not known here"):
            rating.rater(wrong)  # type: ignore[arg-type]


def test_a_token_of_another_studio_is_nobody_here(
    rating: RatingService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = RatingService(Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('other')}/studio.db"))
    stranger, token = other.register("Anna")
    with pytest.raises(NotAllowedError, match="register again"):
        rating.rater(token)
    rating.add_pairs([pair()])
    with pytest.raises(NotAllowedError, match="register again"):
        rating.serve(stranger)
    other.close()


def test_names(rating: RatingService) -> None:
    first, second = rating.register("  Anna \n Lena\t"), rating.register("Anna Lena")
    assert first[0].name == second[0].name == "Anna Lena"
    assert first[0].id != second[0].id
    kept = {
        "Robert'); DROP TABLE votes;--": "Robert'); DROP TABLE votes;--",
        "<script>alert(1)</script>": "<script>alert(1)</script>",
        "\u202eanna\u2066\u200f\x00\x1b[31m": "anna[31m",
        "مريم": "مريم",
        "👩\u200d🔬": "👩\u200d🔬",
        "x" * 60: "x" * 60,
    }
    for typed, name in kept.items():
        rater, token = rating.register(typed)
        assert rater.name == rating.rater(token).name == name
        assert not rater.verified
    for typed, said in {
        "": "name is empty",
        " \u202e\n": "name is empty",
        "\u200b\u2060": "name is empty",
        "x" * 61: "name is 61 characters long; at most 60",
        "a" * 10**6: "at most 60",
        "a\ud800": "not valid Unicode",
    }.items():
        with pytest.raises(InputError, match=said):
            rating.register(typed)
    for wrong in (None, 7, ["Anna"]):
        with pytest.raises(InputError, match="name is"):
            rating.register(wrong)  # type: ignore[arg-type]


def test_an_account_is_one_rater_on_every_device(rating: RatingService) -> None:
    phone, laptop = rating.register("anna", "hf:anna"), rating.register("Anna L.", "hf:anna")
    assert phone[0].id == laptop[0].id
    assert phone[1] == laptop[1]
    assert rating.rater(phone[1]).name == "Anna L."
    assert laptop[0].verified
    assert "anna" not in laptop[0].id
    assert rating.register("anna", "hf:other")[0].id != phone[0].id
    assert rating.register("hf:anna")[0].id != phone[0].id  # typing it is not proving it
    assert len(rating.ballots().raters) == 3


# ---- hostile text


@pytest.mark.parametrize("field", ["prompt", "answer_a", "answer_b"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n\u00a0", "is empty"),
        ("a\0b", "holds a NUL character at position 2"),
        ("half \ud83d", "half a character"),
        ("x" * (MAX_TEXT + 1), "is 100,001 characters long; at most 100,000"),
        ("1 MB " * 209_716, "is 1,048,580 characters long"),
        (None, "must be text"),
        (b"\xff\xfe", "must be text"),
    ],
)
def test_texts_that_cannot_be_kept_are_refused_by_name(field: str, text: object, said: str) -> None:
    rating = RatingService(Settings(database_url="sqlite:////nowhere/must/not/be/opened.db"))
    with pytest.raises(InputError, match=f"pair 2: {field}.*{said}"):
        rating.add_pairs([pair(), dataclasses.replace(pair(), **{field: text})])  # type: ignore[arg-type]


def test_other_texts_of_a_pair_are_checked_too(rating: RatingService) -> None:
    for wrong, said in [
        (pair(system_prompt="\0"), "system_prompt holds a NUL"),
        (pair(history=(Message("user", "fine"), Message("assistant", "\ud800"))), "history, turn 2 holds half"),
        (pair(history=(Message("robot", "fine"),)), "history, turn 1 has the role 'robot'"),  # type: ignore[arg-type]
        (dataclasses.replace(pair(), origin_a=dataclasses.replace(BASE_ORIGIN, label="a\0")), "origin_a.label holds"),
        (dataclasses.replace(pair(), source="elsewhere"), "source is 'elsewhere'"),  # type: ignore[arg-type]
        (dataclasses.replace(pair(), preferred="1"), "preferred is '1'"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(InputError, match=said):
            rating.add_pairs([wrong])
    assert rating.ballots().pairs == ()


def test_harmless_text_is_kept_to_the_letter(rating: RatingService) -> None:
    nasty = [
        "<script>alert('x')</script><img src=x onerror=alert(1)>",
        "'; DROP TABLE votes; -- \\ %s {} :id ? $1",
        "\u202eright to left\u202c and مرحبا and \u2066isolated\u2069",
        "zero\u200bwidth, tab\tnewline\r\n, bell\x07, emoji 👩‍🔬, NFD e\u0301",
        "y" * MAX_TEXT,
        "=HYPERLINK(1)",
    ]
    added = rating.add_pairs([pair(text, f"{text[:-1]}1", f"{text[:-1]}2", system_prompt=text) for text in nasty])
    assert added.added == len(nasty)
    for stored, text in zip(rating.ballots().pairs, nasty, strict=True):
        assert (stored.prompt, stored.system_prompt) == (text, text)
        assert {stored.answer_1, stored.answer_2} == {f"{text[:-1]}1", f"{text[:-1]}2"}
    anna = somebody(rating)
    assert {served.prompt for served in press_until_done(rating, anna)} == set(nasty)


# ---- many at once


def test_no_vote_is_lost_or_doubled_by_threads_and_a_second_server(rating: RatingService, store_url: str) -> None:
    second = RatingService(Settings(database_url=store_url))
    rating.add_pairs(new_pairs(6))

    def rate_all(number: int) -> None:
        service = (rating, second)[number % 2]
        rater, token = service.register(f"rater {number}")
        rater = second.rater(token)
        while (served := service.serve(rater)) is not None:
            # every vote arrives twice, by both servers, at the same time
            gate = threading.Barrier(2)

            def send(to: RatingService, served: Served = served, gate: threading.Barrier = gate) -> None:
                gate.wait(30)
                press(to, rater, served, "left")

            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(send, rating), pool.submit(send, second)]:
                    done.result()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rate_all, range(8)))
    votes = rating.ballots().votes
    assert len(votes) == len({(v.pair_id, v.rater_id) for v in votes}) == 8 * 6
    assert history(rating) == []
    assert_counters_are_right(rating)
    assert second.progress(None).votes == 48
    second.close()


def test_one_rater_in_two_tabs_gets_one_pair(rating: RatingService) -> None:
    rating.add_pairs(new_pairs(40))
    anna = somebody(rating)
    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            seen = set(pool.map(lambda _: served_to(rating, anna), range(4)))
        assert len(seen) == 1
        press(rating, anna, seen.pop(), "left")


def test_two_servers_that_add_the_same_pairs_in_another_order(rating: RatingService, store_url: str) -> None:
    second = RatingService(Settings(database_url=store_url))
    pairs = new_pairs(150)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda job: job[0].add_pairs(job[1]), [(rating, pairs), (second, pairs[::-1])])
    assert one.added + two.added == 150
    assert one.known + two.known == 150
    assert len(rating.ballots().pairs) == 150
    second.close()
