"""Telling the two covered languages from all else."""

from __future__ import annotations

import pytest

from studio.ml.scorers.embedded import FOLDER
from studio.ml.scorers.language import languages
from studio.ml.scorers.text import normalise
from studio.ml.shipped.scorer.card import test_set

OTHERS = [
    "Du bist ein Idiot", "Halt die Klappe", "Dummkopf", "Das Wetter ist heute schön.", "Tu es un imbécile", "Ta gueule",
    "Je déteste le lundi", "Merci beaucoup", "Eres un idiota", "Odio los lunes", "Hola, ¿cómo estás?", "Kamu bodoh sekali",
    "Saya suka makan nasi", "Selamat pagi", "お前は馬鹿だ", "バカ", "今日はいい天気ですね", "너는 바보야", "Ты идиот", "أنت غبي",
    "Você é um idiota", "Jij bent dom", "Du är en idiot", "Jesteś głupi", "Sen bir aptalsın", "Ikaw ay tanga", "Merde alors",
    "คุณโง่", "मूर्ख", "Bạn thật ngu ngốc", "La película es muy mala", "Le film est nul", "Der Film ist schlecht",
]  # fmt: skip
NO_PROSE = [
    "", "   ", "...", "12345", "😀😀😀", "https://example.com/idiot", "www.example.com", "user@example.com", "asdfghjkl",
    "for i in range(10): x += i", 'import os\nos.remove("x")', "function f(x) { return x * 2; }", '<div class="x">',
]  # fmt: skip
ENGLISH = [
    "idiot", "Loser", "shut up", "lol", "kys", "stfu", "Hello", "ok", "You idiot!", "omg ur dumb", "I hate mondays", "Numbskull",
    "u suck", "Nobody asked you", "Akira would lose its soul on screen.", "I read about Les Misérables in a café",
    "The Tsukiyora Kagamin movie?", "You are ein Dummkopf, said Hans", "Blockheads like these",
]  # fmt: skip
CHINESE = [
    "閉嘴",
    "滾",
    "笨",
    "白痴",
    "你好",
    "我討厭星期一",
    "这部电影很烂",
    "那個の貓很可愛",
    "航海王真人版呢？",
    "今天去看了 One Piece 真人版",
]


@pytest.mark.parametrize("text", [*OTHERS, *NO_PROSE])
def test_other_languages_and_no_prose_are_not_covered(text: str) -> None:
    assert languages(normalise(text)) == ()


@pytest.mark.parametrize("text", ENGLISH)
def test_english_of_any_length(text: str) -> None:
    assert languages(normalise(text)) == ("en",)


@pytest.mark.parametrize("text", CHINESE)
def test_chinese_of_any_length(text: str) -> None:
    assert "zh" in languages(normalise(text))


def test_the_tags_of_formatted_text_hide_no_language() -> None:
    assert languages(normalise("You <b>stupid</b> idiot, shut up.")) == ("en",)
    assert languages(normalise('<p class="x">你真<em>笨</em></p><br/>')) == ("zh",)
    assert languages(normalise('<div id="main"><span></span></div>')) == ()


def test_a_mixed_text_is_both() -> None:
    assert languages("你真的是 such an idiot 耶") == ("zh", "en")
    assert languages("閉嘴 you idiot") == ("zh", "en")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_test_text_is_covered(language: str) -> None:
    assert [row["text"] for row in test_set(language) if language not in languages(normalise(row["text"]))] == []


def test_simplified_is_read_as_traditional() -> None:
    assert normalise("你这个笨蛋，闭嘴！滚开") == "你這個笨蛋,閉嘴!滾開"


def test_no_english_word_counts_as_foreign() -> None:
    import json

    lists = json.loads((FOLDER / "function-words.json").read_text("utf-8"))
    english = set(f"{lists['english']} {lists['common']}".split())
    for name, words in lists.items():
        if name not in ("english", "common"):
            assert english & set(words.split()) == set(), name
