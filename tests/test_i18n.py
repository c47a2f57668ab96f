"""Which language a request asks for, the catalogues, and how what was said in English is found in them."""

from __future__ import annotations

import re

import pytest
from jinja2 import Environment

from studio.domain.settings import LoraSettings
from studio.errors import RecipeError
from studio.i18n import COOKIE, ENGLISH, _, language, n_, said, speaking, wanted, words_of
from studio.services.template_words import Words
from studio.ui.compare.panes.widgets import EXAMPLES
from tests.helpers import messages
from tests.helpers.messages import CODES, LOCALE, compiled, po_text


@pytest.fixture(scope="module")
def catalogues() -> dict[str, messages.Catalog]:
    return {code: messages.catalogue(code) for code in CODES}


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("", "en"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-CN,zh;q=0.9", "zh-Hans"),
        ("zh", "zh-Hans"),
        ("fr-FR,fr;q=0.9,zh-Hant;q=0.5", "zh-Hant"),
        ("en-US,en;q=0.9,zh-TW;q=0.8", "en"),
        ("zh-TW;q=0.1, en;q=0.4", "en"),
        ("zh-TW;q=0", "en"),
        (";;q=x,,", "en"),
    ],
)
def test_the_browser_says_which_language_it_wants(accept: str, code: str) -> None:
    assert wanted({}, accept) == code
    assert wanted({COOKIE: "zh-Hans"}, accept) == "zh-Hans"
    assert wanted({COOKIE: "../../etc"}, accept) == code


def test_no_sentence_is_left_out(catalogues: dict[str, messages.Catalog]) -> None:
    """``python -m tests.helpers.messages`` brings the files up to date and names what has no translation."""
    for code, today in catalogues.items():
        lacking = [message.id for message in today if message.id and not messages.translated(message.string)]
        assert not lacking, f"{code} lacks {len(lacking)}"
        folder = LOCALE / code / "LC_MESSAGES"
        assert (folder / "studio.po").read_bytes() == po_text(today), f"{code}: run python -m tests.helpers.messages"
        assert (folder / "studio.mo").read_bytes() == compiled(today), f"{code}: run python -m tests.helpers.messages"


def test_translations_ask_for_no_other_fields_and_tags(catalogues: dict[str, messages.Catalog]) -> None:
    for today in catalogues.values():
        for message in today:
            ids = message.id if isinstance(message.id, tuple) else (message.id,)
            texts = message.string if isinstance(message.string, tuple) else (message.string,)
            for text in texts:
                assert set(re.findall(r"\{\w+\}", text)) <= set(re.findall(r"\{\w+\}", "".join(ids))), text
                assert sorted(re.findall(r"</?\w+>", text)) == sorted(re.findall(r"</?\w+>", ids[0])), text
                assert ids[0] == "" or not re.search("[\ue000-\uf8ff]", text)


def test_simplified_and_traditional_have_their_own_terms(catalogues: dict[str, messages.Catalog]) -> None:
    hant, hans = (" ".join(str(message.string) for message in catalogues[code] if message.id) for code in CODES)
    for one, other in (
        ("偏好資料", "偏好数据"),
        ("獎勵模型", "奖励模型"),
        ("適配器", "适配器"),
        ("伺服器", "服务器"),
        ("匯入", "导入"),
        ("信賴區間", "置信区间"),
    ):
        assert one in hant
        assert other in hans
        assert one not in hans
        assert other not in hant
    assert not set("資訊檔設預執運軟體這個們還會對") & set(hans)


def test_what_was_said_elsewhere_is_said_again_with_its_figures() -> None:
    with pytest.raises(RecipeError) as refused:
        LoraSettings(rank=4096).check()
    with speaking("zh-Hant"):
        told = said(str(refused.value))
    assert told.startswith("秩 r：rank 是 4096；必須介於 ")
    assert language() == ENGLISH
    assert said(str(refused.value)) == str(refused.value)


def test_sentences_in_a_row_facts_and_unknown_texts() -> None:
    with speaking("zh-Hant"):
        assert said("Stopped. There is no test prompt.") == "已停止。沒有測試提示。"
        assert said("step 3 of 20 · about 8 s left") == "第 3 步，共 20 步 · 約剩 8 s"
        assert said("My own title, which nobody knows.") == "My own title, which nobody knows."
        assert said("") == ""
    with speaking("zh-Hans"):
        # the reason behind a colon is a sentence of its own
        assert said("The scorer toy cannot be had any more: There is no scorer of kind x.") == (
            "评分器 toy 已无法获取：没有种类为 x 的评分器。"
        )


def test_plurals() -> None:
    assert [n_("{n} vote", "{n} votes", n) for n in (0, 1, 2000)] == ["0 votes", "1 vote", "2,000 votes"]
    with speaking("zh-Hant"):
        assert [n_("{n} vote", "{n} votes", n) for n in (1, 2000)] == ["1 票", "2,000 票"]
        assert (said("1 vote"), said("2,000 votes")) == ("1 票", "2,000 票")


def test_fields_stay_text() -> None:
    with speaking("zh-Hant"):
        assert _("Strength: {title}", title="{x} <b>") == "強度：{x} <b>"


def test_a_script_gets_the_words_that_it_says() -> None:
    script = 'say(tr("Voting is closed")); say(tr("{n} of 3 votes.", { n })); say("Voting is open");'
    assert words_of(script) == {}
    with speaking("zh-Hant"):
        assert words_of(script) == {"Voting is closed": "投票已結束", "{n} of 3 votes.": "3 票中的 {n} 票。"}


def test_lines_of_a_list_are_said_one_by_one() -> None:
    with speaking("zh-Hant"):
        lines = said("- Loss 0.115, down from 0.693 (= no preference): the preferred answers are winning.\n- Done.")
    assert lines == "- 損失 0.115，自 0.693（沒有偏好）下降：偏好的回答正在勝出。\n- 完成。"


def test_what_a_detox_run_came_to_is_said_whole() -> None:
    kl = (
        "KL 2.41 nats an answer: how much likelier the model finds its present answers than the start does; 0 is no change. "
        "The loss itself says nothing: it is near 0 by construction."
    )
    notes = ["Reward +0.87 over the last 5 steps, +0.53 over the first 5.", kl]
    with speaking("zh-Hant"):
        lines = said("\n".join(f"- {note}" for note in notes)).split("\n")
    assert lines[0] == "- 最後 5 步的獎勵為 +0.87，最初 5 步為 +0.53。"
    assert lines[1].startswith("- 每個回答的 KL 為 2.41 nat：")


def test_a_text_of_a_template_is_said_to_each_visitor_in_their_language() -> None:
    template = Environment(extensions=[Words]).from_string('<i data-of="{{ "now" | said }}"></i>')
    rendered = []
    for code in (ENGLISH, "zh-Hant", "zh-Hans"):
        with speaking(code):
            rendered.append(template.render())
    assert rendered == [f'<i data-of="{now}"></i>' for now in ("now", "現在", "现在")]


@pytest.mark.parametrize("code", ["zh-Hant", "zh-Hans"])
def test_a_prepared_question_is_asked_as_its_button_reads(code: str) -> None:
    with speaking(code):
        assert [said(text) for text in EXAMPLES] == list(EXAMPLES)


def test_a_verdict_on_a_run_with_a_name_of_several_facts_is_said() -> None:
    verdict = (
        "Live action en · 90 % · smollm2-135m: toxicity is lower than with the base (mean 0.580 before, 0.291 after, "
        "difference −0.289 (−50 %), 95 % interval −0.421 to −0.158; n = 37 pairs on 37 prompts)."
    )
    with speaking("zh-Hant"):
        assert said(verdict) == (
            "Live action en · 90 % · smollm2-135m：毒性比 基礎模型 更低（平均之前 0.580，之後 0.291，"
            "差 −0.289 (−50 %)，95 % 信賴區間 −0.421 到 −0.158；37 個提示，n = 37 對）。"
        )


def test_the_bin_says_what_it_holds() -> None:
    with speaking("zh-Hans"):
        assert said("Bin: 2 runs · 1 dataset · 13.1 MB") == "回收站：2 次训练 · 1 个数据集 · 13.1 MB"
