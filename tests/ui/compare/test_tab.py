"""Compare without a browser: conversations, differences, what a pane says, the handlers, and the endpoint for programs."""

from __future__ import annotations

import csv
import inspect
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from studio.config import Settings
from studio.domain.chat import BASE, BaseCheck, Blend, PaneUpdate, Sampling, base_pane
from studio.domain.data import Message
from studio.errors import ConflictError, InputError
from studio.services import Services, build_services
from studio.services.compare.panes import PaneChat
from studio.ui.compare import talk as talks
from studio.ui.compare.api import _blends
from studio.ui.compare.panes import view as show
from studio.ui.compare.panes.diff import compare, diff_html, tokens
from studio.ui.compare.talk import Pane, Talk
from studio.ui.page.access import Visitor
from studio.ui.page.live import Live
from studio.ui.shell import TABS, build_app
from tests.helpers.chat_models import make_base
from tests.helpers.compare import PROMPTS, add_run, add_steps
from tests.helpers.pages import section_app
from tests.helpers.services import opened

HOW = (False, "", 0.8, 0.95, 12, 1)
GREEDY = Sampling(temperature=0, max_new_tokens=12)


def said(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))


# -- conversations ------------------------------------------------------------------------------------------------------


def test_a_question_goes_to_every_pane_and_replaces_one_never_answered() -> None:
    talk = Talk((Pane(BASE, said("a", "b")), Pane("run-1", said("a", "b", "lost"))))
    asked = talks.ask(talk, "  next ")
    assert [p.messages for p in asked.panes] == [said("a", "b", "next")] * 2
    with pytest.raises(InputError, match="no question"):
        talks.ask(talk, "  ")
    with pytest.raises(InputError, match="8,001"):
        talks.ask(talk, "x" * 8001)


def test_asking_again_takes_the_last_answer_back_and_catches_up_a_new_pane() -> None:
    talk = Talk((Pane(BASE, said("q1", "a1", "q2", "a2")), Pane("run-1"), Pane("run-2", said("q1"))))
    again = talks.ask_again(talk)
    assert [p.messages for p in again.panes] == [said("q1", "a1", "q2"), said("q2"), said("q1")]
    with pytest.raises(InputError, match="nothing to ask again"):
        talks.ask_again(Talk((Pane(BASE),)))


def test_answers_go_below_their_question_and_empty_ones_leave_it_open() -> None:
    talk = talks.answered(Talk((Pane(BASE, said("q")), Pane("run-1", said("q")))), {0: "yes", 1: ""})
    assert [p.answer for p in talk.panes] == ["yes", ""]


def test_another_model_starts_its_pane_anew_and_panes_come_and_go() -> None:
    talk = Talk((Pane(BASE, said("q", "a")), Pane("run-1", said("q", "a"))))
    assert talks.choose(talk, 1, "run-2").panes == (talk.panes[0], Pane("run-2"))
    assert talks.choose(talk, 1, "run-1") == talk
    grown = talks.resize(talk, 4, [BASE, "run-1", "run-2"])
    assert [p.choice for p in grown.panes] == [BASE, "run-1", "run-2", BASE]
    assert talks.resize(grown, 1, [BASE]).panes == talk.panes[:1]
    assert talks.cleared(talk).panes == (Pane(BASE), Pane("run-1"))


def test_the_browser_gives_back_what_it_was_given() -> None:
    talk = Talk((Pane(BASE, said("q", "答案")), Pane("run-1", said("q"))), "be brief", Sampling(0.5, 0.9, 64, 7), True)
    assert talks.restore(json.loads(json.dumps(talks.store(talk)))) == talk


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v.update(version=0),
        lambda v: v.update(panes=[]),
        lambda v: v.update(panes=v["panes"] * 5),
        lambda v: v["panes"][0].update(messages=[["assistant", "x"]]),
        lambda v: v["panes"][0].update(messages=[["user", 3]]),
        lambda v: v["panes"][0].update(messages=[["system", "obey"]]),
        lambda v: v["panes"][0].update(choice=["x"]),
        lambda v: v.update(sampling=[99, 1, 1, 1]),
        lambda v: v.update(sampling=["a", 1, 1, 1]),
        lambda v: v.update(system=None),
        lambda v: v.pop("diff"),
        lambda v: v["panes"][0].update(system=3),
        lambda v: v.update(asked=["", [0.8, 0.95, 128, 0], "embedded", *["x"] * 9]),
    ],
)
def test_what_is_not_a_talk_is_not_taken(spoil: Callable[[dict[str, Any]], Any]) -> None:
    value = talks.store(Talk((Pane(BASE, said("q", "a")),)))
    spoil(value)
    assert talks.restore(value) is None


@pytest.mark.parametrize("value", [None, "x", 3, [], {}])
def test_nothing_stored_is_nothing(value: object) -> None:
    assert talks.restore(value) is None


def test_long_conversations_lose_their_oldest_turns_in_the_store_only() -> None:
    long = Talk((Pane(BASE, said(*("x" * 5_000 for _ in range(60)))),))
    kept = talks.restore(talks.store(long))
    assert kept is not None
    assert 2 <= len(kept.panes[0].messages) <= 20
    assert kept.panes[0].messages[0].role == "user"


def test_another_strength_takes_the_last_answer_back_and_asks_as_before() -> None:
    how = talks.Asked("be brief", Sampling(0.5, 0.9, 64, 7), "embedded")
    talk = Talk((Pane(BASE, said("q", "a")), Pane("run-1", said("q", "a"))), "now", Sampling(seed=3), asked=how)
    dialled = talks.dial(talk, 1, strength=0.5)
    assert dialled.panes == (talk.panes[0], Pane("run-1", said("q"), 0.5))
    assert (dialled.system_prompt, dialled.sampling, dialled.asked) == ("be brief", how.sampling, None)
    assert talks.restore(talks.store(dialled)) == dialled
    # the pane keeps it until it shows another model
    assert talks.ask(dialled, "next").panes[1].strength == talks.cleared(dialled).panes[1].strength == 0.5
    assert talks.choose(dialled, 1, "run-2").panes[1].strength == 1
    for wrong in (float("nan"), 1e9, "abc", None):
        stored = talks.store(dialled)
        stored["panes"][1]["strength"] = wrong
        assert talks.restore(stored) is None


def test_a_pane_keeps_a_system_prompt_of_its_own_and_how_it_was_asked() -> None:
    how = talks.Asked("be brief", Sampling(), "embedded", ("support", ""))
    talk = Talk((Pane(BASE, said("q", "a")), Pane("run-1", said("q", "b"))), "be brief", asked=how)
    now = talks.with_own(talk, (" oppose ", None, "for a pane that is not there"))
    assert [pane.system_prompt for pane in now.panes] == ["oppose", ""]
    assert talks.conversation(now, 0)[0] == Message("system", "support")
    assert talks.question_turns(now, 1) == (Message("system", "be brief"), *said("q"))
    assert talks.system_prompt_of(talks.ask(now, "next"), 0) == "oppose"
    assert talks.dial(now, 1, strength=0.5).panes[0].system_prompt == "support"
    assert talks.dial(now, 0, system_prompt="oppose").panes[0] == Pane(BASE, said("q"), system_prompt="oppose")
    assert talks.restore(json.loads(json.dumps(talks.store(now)))) == now
    # it is the pane's, whoever answers there, but another run's panes begin without
    assert talks.choose(now, 0, "run-2").panes[0].system_prompt == "oppose"
    with pytest.raises(InputError, match="system prompt of pane 2 has 8,001 characters"):
        talks.with_own(talk, ("", "x" * 8_001))


# -- differences --------------------------------------------------------------------------------------------------------


def test_words_signs_and_chinese_characters_are_what_is_compared() -> None:
    assert tokens("It's well-made, 動漫 ok!\n") == ["It's ", "well-made", ", ", "動", "漫 ", "ok", "!\n"]
    for text in ("", "a  b", "\n x", "ア漢a1", "¿qué? 😀"):
        assert "".join(tokens(text)) == text


def test_differences_by_word_and_by_character() -> None:
    english = [(p.kind, p.text) for p in compare("I like anime.", "I hate  anime.")]
    assert english == [("same", "I "), ("gone", "like "), ("added", "hate  "), ("same", "anime.")]
    chinese = [(p.kind, p.text) for p in compare("我支持真人版", "我反對真人版")]
    assert chinese == [("same", "我"), ("gone", "支持"), ("added", "反對"), ("same", "真人版")]


def test_the_difference_is_shown_as_text() -> None:
    shown = diff_html("a <b>x</b>", "a <i>y</i>", "pane 1 (<script>)")
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "<del>" in shown
    assert "<ins>" in shown
    assert "very same" in diff_html("a", "a", "it")
    assert "once this pane" in diff_html("", "a", "it")


# -- what a pane shows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1 < 2 & 3", "1 < 2 & 3"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
        ("a<b></b><!-- c --><?d?>", "a&lt;b>&lt;/b>&lt;!-- c -->&lt;?d?>"),
        ("R&D &lt;b&gt;", "R&amp;D &amp;lt;b&amp;gt;"),
    ],
)
def test_markup_in_a_conversation_is_written_as_text(text: str, written: str) -> None:
    assert show.literal(text) == written


def test_the_base_pane_shows_its_check_and_why() -> None:
    good = BaseCheck(True, 1e-6, 1e-4, (("run-<1>", 2.5),), 0.0)
    facts = show.BaseFacts("embedded", "abcdef0123456789", good)
    shown = show.identity(Pane(BASE), None, facts, "")
    assert "✓ Verified base" in shown
    assert "abcdef012345<" in shown
    assert "run-&lt;1&gt; moves a logit by up to 2.5" in shown
    bad = show.base_check(BaseCheck(False, 3.0, 1e-4, (), 0.0))
    assert "✗ This is not the base" in bad
    assert "first answer" in show.base_check(None)


def test_an_adapter_pane_shows_who_it_is(settings: Settings) -> None:
    runs = build_services(settings).runs
    run = runs.get(add_run(runs, "run-1", title="<b>Mine</b>", system="You are a critic."))
    shown = show.identity(Pane("run-1"), run, show.BaseFacts("embedded"), "")
    assert "&lt;b&gt;Mine&lt;/b&gt;" in shown
    assert run.adapter_hash in shown
    assert "0.9" in shown
    assert "Trained with another system prompt: “You are a critic.”" in shown
    assert "another system" not in show.identity(Pane("run-1"), run, show.BaseFacts("embedded"), "You are a critic.")
    vector = show.identity(Pane("run-1@vector", strength=2), run, show.BaseFacts("embedded"), "", step_hash="abc")
    for said in ("Steering vector of", "pairs, without training", "abc", "strength</i> 2", "40% of the depth"):
        assert said in vector
    gone = show.identity(Pane("run-9"), None, show.BaseFacts("embedded"), "", "This run was deleted.")
    assert "This run was deleted. Its answers stay here" in gone


def test_figures_below_a_pane() -> None:
    shown = show.stats(PaneUpdate("x", False, 1234, 56.7, "Waiting <for> 1"))
    assert "1,234 tokens" in shown
    assert "<b>57</b> tokens/s" in shown
    assert "Waiting &lt;for&gt; 1" in shown
    assert "empty" in show.stats(PaneUpdate("", True))
    assert "1 token<" in show.stats(PaneUpdate("x", True, 1))


def test_one_page_does_one_thing_at_a_time() -> None:
    live = Live()
    with live.working() as stop:
        with pytest.raises(ConflictError, match="answering already"), live.working():
            pass
        live.stop()
        assert stop.is_set()
    live.stop()
    with live.working() as stop:
        assert not stop.is_set()


# -- handlers ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


class Handlers:
    """The page's handlers by name; what they return by element id."""

    def __init__(self, app: gr.Blocks) -> None:
        self._found = {getattr(f.fn, "__name__", ""): f for f in app.fns.values()}
        self._app = app

    def of(self, module: str, name: str) -> Callable[..., Any]:
        """The handler of that name which a module binds."""
        bound = (f.fn for f in self._app.fns.values() if getattr(f.fn, "__name__", "") == name)
        return next(fn for fn in bound if fn is not None and fn.__module__ == module)

    def at(self, elem_id: str, *args: Any) -> list[Any]:
        """What the handler bound to a widget that draws something returns, by element id where it names its outputs."""
        block = next(b for b in self._app.blocks.values() if getattr(b, "elem_id", None) == elem_id)
        bound = [f for f in self._app.fns.values() if f.targets and f.targets[0][0] == block._id]
        fn = next((f for f in bound if f.outputs), bound[0])
        result = fn.fn(*args)
        frames = list(result) if inspect.isgenerator(result) else [result]
        return [
            {getattr(c, "elem_id", None) or type(c).__name__: v for c, v in f.items()} if isinstance(f, dict) else f
            for f in frames
            if f != gr.skip()
        ]

    def call(self, name: str, *args: Any) -> list[dict[str, Any]]:
        result = self._found[name].fn(*args)
        frames = [result] if isinstance(result, dict) else list(result)
        for frame in frames:
            assert set(frame) <= set(self._found[name].outputs)
        return [{getattr(c, "elem_id", None) or type(c).__name__: v for c, v in f.items()} for f in frames]


@pytest.fixture
def handlers(services: Services) -> Handlers:
    return Handlers(section_app(services, {"Compare": TABS["Compare"]}, finished=False))


def test_a_page_opens_with_the_base_beside_the_newest_adapter(services: Services, handlers: Handlers) -> None:
    [first] = handlers.call("open_page", None, "embedded")
    assert first["pane-count"] == 1
    assert first["compare-empty"].visible is True
    add_run(services.runs, "older", created=1.0)
    add_run(services.runs, "newer", created=2.0, system="Be kind.")
    [then] = handlers.call("open_page", None, "embedded")
    assert [then[f"pane-choice-{i}"].value for i in (1, 2)] == [BASE, "newer"]
    assert then["compare-empty"].visible is False
    assert ("Steering vector of Title of newer", "newer@vector") in then["pane-choice-2"].choices
    assert then["system-prompt"] == "Be kind."
    assert "BrowserState" not in then  # nothing is written over a storage that was not read


def test_asking_streams_both_panes_and_retry_takes_a_new_seed(services: Services, handlers: Handlers) -> None:
    run_id = add_run(services.runs, "run-1")
    frames = handlers.call("ask", PROMPTS[0], Live(), None, "embedded", *HOW)
    assert frames[0]["prompt"] == ""
    assert frames[0]["stop"].interactive is True
    assert frames[0]["send"].interactive is False
    assert [m["role"] for m in frames[0]["chat-2"]] == ["user"]
    last = frames[-1]
    assert last["send"].interactive is True
    assert [m["role"] for m in last["chat-1"]] == ["user", "assistant"]
    assert last["chat-1"][1]["content"] != last["chat-2"][1]["content"]
    assert "✓ Verified base" in last["pane-identity-1"]
    assert "tokens/s" in last["pane-stats-2"]
    kept = talks.restore(last["BrowserState"])
    assert kept is not None
    assert [p.choice for p in kept.panes] == [BASE, run_id]
    again = handlers.call("ask_again", Live(), last["BrowserState"], "embedded", *HOW)
    assert again[0]["seed"] != 1
    assert [m["role"] for m in again[-1]["chat-1"]] == ["user", "assistant"]
    [marked] = handlers.call("mark", last["BrowserState"], True, *HOW[1:])
    assert "<ins>" in marked["pane-diff-2"].value


def test_answers_go_to_the_room_that_is_chosen(services: Services, handlers: Handlers) -> None:
    add_run(services.runs, "run-1")
    offer, keep = (
        handlers.of("studio.ui.compare.rate_these", "offer"),
        handlers.of("studio.ui.compare.rate_these", "keep"),
    )
    assert offer("").visible is False, "there is one room"
    room = services.rooms.make("Blue").code
    menu = offer("gone")
    assert (menu.visible, menu.value, menu.choices) == (True, "", [("Main room", ""), (f"Blue ({room})", room)])
    assert offer(room).value == room
    last = handlers.call("ask", PROMPTS[0], Live(), None, "embedded", *HOW)[-1]
    keep(Visitor(operator=True), last["BrowserState"], room)
    assert [len(one.pairs) for one in services.rooms.ballots()] == [0, 1]
    keep(Visitor(operator=True), last["BrowserState"], None)
    assert [len(one.pairs) for one in services.rooms.ballots()] == [1, 1]


def test_another_strength_answers_that_pane_anew_with_the_same_seed(services: Services, handlers: Handlers) -> None:
    add_run(services.runs, "run-1")
    asked = handlers.call("ask", PROMPTS[0], Live(), None, "embedded", *HOW)[-1]
    assert asked["pane-words-2"].visible is True
    assert "pane-moved-1" not in asked or asked["pane-words-1"].visible is False
    before = talks.restore(asked["BrowserState"])
    assert before is not None
    # the settings on the page may be others by now
    later = (False, "Be kind.", 1.9, 0.5, 12, 99)
    dialled = handlers.at("pane-strength-2", 0, Live(), asked["BrowserState"], "embedded", *later)
    last = dialled[-1]
    assert "pane-strength-2" not in {name for frame in dialled for name in frame}
    assert "chat-1" not in last
    after = talks.restore(last["BrowserState"])
    assert after is not None
    assert after.panes[0] == before.panes[0]
    assert after.asked == before.asked
    assert after.panes[1].answer == before.panes[0].answer != before.panes[1].answer
    assert "strength</i> 0<" in last["pane-identity-2"]
    back = handlers.at("pane-strength-2", 1.0, Live(), last["BrowserState"], "embedded", *later)[-1]
    assert talks.restore(back["BrowserState"]) == before
    for unchanged in (None, 0):  # emptied while it is typed into; sent again when it is left
        assert handlers.at("pane-strength-2", unchanged, Live(), last["BrowserState"], "embedded", *later) == []
    with pytest.raises(gr.Error, match="strength is nan; it must be a number from -1 to 2"):
        handlers.at("pane-strength-2", float("nan"), Live(), last["BrowserState"], "embedded", *later)
    with pytest.raises(InputError, match="strength to 1 first"):
        services.sources.from_chats(
            [PaneChat(p.choice, p.messages, strength=p.strength) for p in after.panes], "", Sampling()
        )


def test_a_pane_is_told_something_of_its_own(services: Services, handlers: Handlers) -> None:
    add_run(services.runs, "run-1")
    plain = handlers.call("ask", PROMPTS[0], Live(), None, "embedded", *HOW)[-1]
    own = ("Be <b>kind</b>.", "", "", "")
    again = handlers.at("pane-system-1", own[0], Live(), plain["BrowserState"], "embedded", *HOW, *own)
    last = again[-1]
    assert "chat-2" not in last
    assert last["chat-1"][1] != plain["chat-1"][1]
    assert "own system prompt</i> “Be &lt;b&gt;kind" in last["pane-identity-1"]
    assert "✓ Verified base" in last["pane-identity-1"]
    assert "own system prompt" not in last["pane-identity-2"]
    # Enter once more changes nothing; a strength dialled elsewhere leaves what the base was told
    assert handlers.at("pane-system-1", own[0], Live(), last["BrowserState"], "embedded", *HOW, *own) == []
    dialled = handlers.at(
        "pane-strength-2", 0, Live(), last["BrowserState"], "embedded", *HOW, "typed since", "", "", ""
    )
    kept = talks.restore(dialled[-1]["BrowserState"])
    assert kept is not None
    assert kept.asked is not None
    assert kept.asked.own == (own[0], "")
    assert kept.panes[1].answer == plain["chat-1"][1]["content"]
    with pytest.raises(gr.Error, match="system prompt of its own"):
        handlers.call("keep", Visitor(operator=True), dialled[-1]["BrowserState"], None)
    assert handlers.call("open_page", dialled[-1]["BrowserState"], "embedded")[0]["pane-system-1"] == own[0]


def test_a_pane_goes_back_to_a_step_and_shows_a_run_that_still_trains(services: Services, handlers: Handlers) -> None:
    folder = services.runs.folder(add_run(services.runs, "run-1"))
    asked = handlers.call("ask", PROMPTS[0], Live(), None, "embedded", *HOW)[-1]
    assert handlers.at("pane-more-2", asked["BrowserState"])[0].visible is False
    add_steps(services.runs, "run-1", 3, 6)
    offered = handlers.at("pane-more-2", asked["BrowserState"])[0]
    assert (offered.choices, offered.value) == ([("the end", 0), ("step 3", 3), ("step 6", 6)], 0)
    walked = handlers.at("pane-step-2", 3, Live(), asked["BrowserState"], "embedded", *HOW)[-1]
    talk = talks.restore(walked["BrowserState"])
    assert talk is not None
    assert talk.panes[1].voice == "run-1@3"
    assert talk.panes[1].answer != asked["chat-2"][1]["content"]
    assert services.compare.adapter_hash("run-1@3") in walked["pane-identity-2"]
    assert "step</i> 3 of" in walked["pane-identity-2"]
    assert handlers.at("pane-step-2", 3, Live(), walked["BrowserState"], "embedded", *HOW) == []
    back = handlers.at("pane-step-2", 0, Live(), walked["BrowserState"], "embedded", *HOW)[-1]
    assert back["chat-2"][1] == asked["chat-2"][1]
    stored = talks.store(Talk((Pane(BASE), Pane("run-1", blend=Blend("run-2", 0.5), step=3))))
    with pytest.raises(gr.Error, match="step 3; choose the end"):
        handlers.at("pane-save-2", Visitor(operator=True), stored)
    for wrong in ("3", 0, -1, 1.5, True, 10**9):
        stored = talks.store(talk)
        stored["panes"][1]["step"] = wrong
        assert talks.restore(stored) is None
    # a step that is gone says so and hinders nobody else; one that is still trained opens at its newest step
    shutil.rmtree(folder / "steps" / "3")
    gone = handlers.call("ask", PROMPTS[1], Live(), walked["BrowserState"], "embedded", *HOW)[-1]
    assert "Step 3 of this run is not kept any more" in gone["pane-identity-2"]
    assert len(gone["chat-1"]) == 4
    (folder / "adapter_model.safetensors").unlink()
    [taken] = handlers.at("pane-choice-1", "run-1", talks.store(Talk((Pane(BASE),))), "embedded", *HOW)
    assert taken["pane-step-1"].value == 6
    assert ("Title of run-1 · queued", "run-1") in taken["pane-choice-1"].choices


def test_a_blend_is_kept_with_its_pane_and_weighed(services: Services, handlers: Handlers) -> None:
    for name in ("run-1", "run-2"):
        add_run(services.runs, name, title=f"<i>{name}</i>")
    talk = Talk((Pane(BASE), Pane("run-1", blend=Blend("run-2", 0.25))))
    stored = talks.store(talk)
    assert talks.restore(json.loads(json.dumps(stored))) == talk
    for wrong in ("run-2", ["run-2"], ["run-2", 7], ["run-1", 0.5], ["run-2", "x"]):
        assert talks.restore({**stored, "panes": [stored["panes"][0], {**stored["panes"][1], "blend": wrong}]}) is None
    [last] = handlers.at("pane-weight-2", 0.7, Live(), stored, "embedded", *HOW)
    after = talks.restore(last["BrowserState"])
    assert after is not None
    assert after.panes[1].blend == Blend("run-2", 0.7)
    assert "0.7 × &lt;i&gt;run-1&lt;/i&gt; + 0.3 × &lt;i&gt;run-2&lt;/i&gt;" in last["pane-identity-2"]
    with pytest.raises(gr.Error, match="w is nan; it must be a number from 0 to 1"):
        handlers.at("pane-weight-2", float("nan"), Live(), stored, "embedded", *HOW)
    assert handlers.at("pane-weight-1", 0.7, Live(), stored, "embedded", *HOW) == []
    assert handlers.at("pane-second-2", "run-2", Live(), stored, "embedded", *HOW) == []


def test_blends_of_the_endpoint_are_one_a_pane() -> None:
    assert _blends([], [], 2) == [None, None]
    assert _blends(["", "b"], [], 2) == [None, Blend("b", 0.5)]
    assert _blends(["b"], [0.9], 1) == [Blend("b", 0.9)]
    for seconds, weights in ((["b"], []), ([], [0.1, 0.2]), (["", "b"], [0.1])):
        with pytest.raises(InputError):
            _blends(seconds, weights, 2)


def test_the_words_that_moved_are_shown_escaped(services: Services, handlers: Handlers) -> None:
    run = add_run(services.runs, "run-1")
    answer = "<img src=x> 動漫 שלום\nYes."
    stored = talks.store(Talk((Pane(BASE, said("q", answer)), Pane(run, said("q", answer)))))
    [shown] = handlers.at("pane-words-2", stored)
    assert "<img" not in shown.value
    assert "&lt;" in shown.value
    assert "The base here:" in shown.value
    assert "× " in shown.value
    assert "implicit reward" in shown.value
    with pytest.raises(gr.Error, match="shows the base"):
        handlers.at("pane-words-1", stored)
    with pytest.raises(gr.Error, match="no answer"):
        handlers.at("pane-words-2", talks.store(Talk((Pane(BASE), Pane(run)))))


def test_a_deleted_run_keeps_its_pane_and_does_not_hinder_the_others(services: Services, handlers: Handlers) -> None:
    add_run(services.runs, "run-1")
    add_run(services.runs, "run-2", seed=2)
    stored = talks.store(Talk((Pane("run-1", said("q", "a")), Pane("run-2", said("q", "a")))))
    services.compare.release("run-1")
    services.runs.delete("run-1")
    [shown] = handlers.call("open_page", stored, "embedded")
    assert "was deleted" in shown["pane-identity-1"]
    assert ("run-1 (deleted)", "run-1") in shown["pane-choice-1"].choices
    assert len(shown["chat-1"]) == 2
    last = handlers.call("ask", "Hello", Live(), stored, "embedded", *HOW)[-1]
    assert len(last["chat-2"]) == 4
    first = handlers.call("ask", "Hello", Live(), stored, "embedded", *HOW)[0]
    assert "Not asked. This run was deleted." in first["pane-stats-1"]
    alone = talks.store(Talk((Pane("run-1"),)))
    with pytest.raises(gr.Error, match="None of these panes can answer"):
        handlers.call("ask", "Hello", Live(), alone, "embedded", *HOW)


def test_a_run_of_another_state_of_its_base_is_not_asked(services: Services, handlers: Handlers) -> None:
    folder = services.runs.folder(add_run(services.runs, "run-1"))
    record = json.loads((folder / "run.json").read_text())
    record["base"]["fingerprint"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(record))
    [shown] = handlers.call("open_page", None, "embedded")
    assert "another state of its base model" in shown["pane-identity-2"]
    last = handlers.call("ask", "Hello", Live(), None, "embedded", *HOW)[-1]
    assert len(last["chat-1"]) == 2
    assert "0000" not in last["pane-identity-1"]


def test_a_pane_of_another_base_answers_beside_the_first(
    services: Services, handlers: Handlers, settings: Settings
) -> None:
    run = add_run(services.runs, "run-1")
    assert not services.compare.bases()
    services.compare.warm_up()
    other = str(make_base(settings.models_dir / "tiny").resolve())
    third = base_pane(other)
    chosen = handlers.at("pane-choice-1", third, talks.store(Talk((Pane(BASE), Pane(run)))), "embedded", *HOW)[0]
    assert ("Base · tiny", third) in chosen["pane-choice-1"].choices
    assert "MB are free" in chosen["pane-identity-1"]
    assert chosen["pane-strength-1"].visible is False
    stored = chosen["BrowserState"]
    last = handlers.call("ask", PROMPTS[0], Live(), stored, "embedded", *HOW)[-1]
    assert [len(last[f"chat-{i}"]) for i in (1, 2)] == [2, 2]
    assert "Verified base" in last["pane-identity-1"]
    assert "tiny" in last["pane-identity-1"]
    assert "MB are free" not in last["pane-identity-1"]
    assert last["pane-words-1"].visible is False
    # the base pane alone is asked anew with what it is told, and stays the base of the adapter beside it
    mixed = talks.store(Talk((Pane(BASE), Pane(run), Pane(third))))
    first = handlers.call("ask", PROMPTS[0], Live(), mixed, other, *HOW)[-1]
    assert "embedded" in first["pane-identity-1"]
    told = (*HOW, "Be kind.", "", "", "")
    again = handlers.at("pane-system-1", "Be kind.", Live(), first["BrowserState"], other, *told)[-1]
    assert "embedded" in again["pane-identity-1"]
    assert services.compare._engine.held()[-1] == "embedded"
    rated = talks.restore(first["BrowserState"])
    assert rated is not None
    assert rated.asked is not None
    assert rated.asked.base == "embedded"
    shown = [talks.chat(rated, index, said("q", f"answer {index}"), rated.asked.base) for index in range(3)]
    assert services.sources.from_chats(shown, "", GREEDY).added == 3
    origins = services.sources._origins([chat.pane_id for chat in shown], GREEDY, "")
    assert [origin.player for origin in origins.values()][::2] == ["base:embedded", f"base:{other}"]


def test_a_visitor_gets_bases_in_memory_only(services: Services, handlers: Handlers, settings: Settings) -> None:
    add_run(services.runs, "run-1")
    other = base_pane(str(make_base(settings.models_dir / "tiny").resolve()))
    services.compare.voices.may_load = lambda: False
    stored = talks.store(Talk((Pane(other), Pane("run-1"))))
    [shown] = handlers.call("open_page", stored, "embedded")
    frames = handlers.call("ask", "Hello", Live(), stored, "embedded", *HOW)
    assert "needs the operator" in frames[0]["pane-stats-1"]
    assert [len(frames[-1].get(f"chat-{i}", ())) for i in (1, 2)] == [0, 2]
    gone = talks.store(Talk((Pane(base_pane("owner/name")),)))
    services.compare.voices.may_load = lambda: True
    with pytest.raises(gr.Error, match="None of these panes can answer"):
        handlers.call("ask", "Hello", Live(), gone, "embedded", *HOW)
    [shown] = handlers.call(
        "open_page", talks.store(Talk((Pane(base_pane("owner/name"), said("q", "a")),))), "embedded"
    )
    assert "not on this machine yet" in shown["pane-identity-1"]


def test_another_tab_opens_a_run_beside_the_base(services: Services, handlers: Handlers) -> None:
    add_run(services.runs, "run-1", system="Be kind.")
    add_run(services.runs, "run-2", seed=2)
    [shown] = handlers.call("open_run", "run-1", None, "embedded", *HOW)
    assert [shown[f"pane-choice-{i}"].value for i in (1, 2)] == [BASE, "run-1"]
    assert shown["system-prompt"] == "Be kind."
    assert shown["State"] is None
    with pytest.raises(gr.Error, match="no run"):
        handlers.call("open_run", "run-9", None, "embedded", *HOW)


def test_all_test_prompts_before_and_after(services: Services, handlers: Handlers, tmp_path: Any) -> None:
    run_id = add_run(services.runs, "run-1")
    frames = handlers.call("fill", Live(), "own", run_id, None, 0.8, 0.95, 8, 1)
    assert "3 of 3" in frames[-1]["table-progress"]
    rows = frames[-1]["prompt-table"].value
    data = rows["data"] if isinstance(rows, dict) else rows
    assert [row[1] for row in data] == list(PROMPTS)
    keys = ["id", "prompt", "response_from_original_model", "response_from_trained_model"]
    with open(frames[-1]["table-json"].value["path"], encoding="utf-8") as file:
        records = json.load(file)
    assert [list(record) for record in records] == [keys] * 3
    with open(frames[-1]["table-csv"].value["path"], encoding="utf-8-sig", newline="") as file:
        text = file.read()
    assert list(csv.DictReader(io.StringIO(text))) == records

    (tmp_path / "mine.json").write_text(
        '[{"id": 41, "prompt": "你好"}, {"id": "q-7", "prompt": "Hi"}]', encoding="utf-8"
    )
    uploaded = handlers.call("fill", Live(), "own", run_id, str(tmp_path / "mine.json"), 0.8, 0.95, 8, 1)
    assert "2 of 2" in uploaded[-1]["table-progress"]
    with open(uploaded[-1]["table-csv"].value["path"], encoding="utf-8-sig", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["41", "q-7"]
    (tmp_path / "bad.json").write_text('[{"id": 1}]', encoding="utf-8")
    with pytest.raises(gr.Error, match="prompt is missing"):
        handlers.call("fill", Live(), "own", run_id, str(tmp_path / "bad.json"), 0.8, 0.95, 8, 1)
    with pytest.raises(gr.Error, match="no adapter"):
        handlers.call("fill", Live(), "own", None, None, 0.8, 0.95, 8, 1)


# -- for programs -------------------------------------------------------------------------------------------------------------


def test_the_named_endpoint_answers_for_base_and_adapters(services: Services, settings: Settings) -> None:
    run_id = add_run(services.runs, "run-1")
    app = build_app(services)
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        client = Client(url, verbose=False, httpx_kwargs={"timeout": 60})
        named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        assert "/generate" in named
        answers = client.predict(PROMPTS[0], ["base", run_id], max_new_tokens=12, api_name="/generate")
        assert [a["pane"] for a in answers] == ["base", run_id]
        assert answers[0]["base_verified"] is True
        assert answers[1]["base_verified"] is None
        assert answers[1]["adapter_hash"] == services.runs.get(run_id).adapter_hash
        assert answers[0]["answer"] != answers[1]["answer"]
        assert 0 < answers[0]["tokens"] <= 12
        dialled = client.predict(
            PROMPTS[0], ["base", run_id, run_id], max_new_tokens=12, strengths=[1, 0, 0.5], api_name="/generate"
        )
        assert [a["strength"] for a in dialled] == [None, 0, 0.5]
        assert dialled[1]["answer"] == dialled[0]["answer"] == answers[0]["answer"]
        for strengths, sentence in (
            ([9], "strengths is 9.0; it must be a number from -1 to 2"),
            ([1, 1, 1], "3 values for 2 panes"),
            (["abc"], "it must be a list of numbers"),
            ("abc", "it must be a list of numbers"),
        ):
            with pytest.raises(AppError, match=sentence):
                client.predict("Hello", ["base", run_id], strengths=strengths, api_name="/generate")
        moved = client.predict(run_id, PROMPTS[0], "Yes, 動漫.", api_name="/explain")
        assert "".join(token["text"] for token in moved["tokens"]).startswith("Yes, 動漫.")
        assert moved["sum"] == pytest.approx(sum(token["difference"] for token in moved["tokens"]))
        beta = services.runs.get(run_id).recipe.settings.beta
        assert moved["reward"] == pytest.approx(beta * moved["sum"])
        for arguments, sentence in (
            ((run_id, "Hello", "x" * 8001), "answer is 8,001 characters long"),
            ((run_id, "Hello", " "), "answer is empty"),
            (("run-9", "Hello", "Yes"), "no run run-9"),
            ((run_id, "Hello", "Yes", "", 1e9), "strength is 1000000000.0"),
        ):
            with pytest.raises(AppError, match=sentence):
                client.predict(*arguments, api_name="/explain")
        told = client.predict(
            PROMPTS[0], ["base", "base"], max_new_tokens=12, system_prompts=["Be kind.", ""], api_name="/generate"
        )
        assert [a["own_system_prompt"] for a in told] == ["Be kind.", None]
        assert told[0]["answer"] != told[1]["answer"] == answers[0]["answer"]
        add_steps(services.runs, run_id, 3)
        (step,) = client.predict(PROMPTS[0], [f"{run_id}@3"], max_new_tokens=12, api_name="/generate")
        assert step["pane"] == f"{run_id}@3"
        assert step["adapter_hash"] == services.compare.adapter_hash(f"{run_id}@3")
        assert step["answer"] != answers[1]["answer"]
        for own, sentence in (
            (["a"], "1 values for 2 panes"),
            (["a", "x" * 8001], "system_prompts is 8,001 characters"),
        ):
            with pytest.raises(AppError, match=sentence):
                client.predict("Hello", ["base", run_id], system_prompts=own, api_name="/generate")
        same = client.predict(PROMPTS[0], [], max_new_tokens=12, api_name="/generate")
        assert [a["answer"] for a in same] == [a["answer"] for a in answers]
        with pytest.raises(AppError, match="no run run-9"):
            client.predict("Hello", ["run-9"], api_name="/generate")
        with pytest.raises(AppError, match="temperature is 99"):
            client.predict("Hello", ["base"], temperature=99.0, api_name="/generate")
        for arguments in ({"panes": ["base"], "base": "owner/name"}, {"panes": ["base:owner/name"]}):
            with pytest.raises(AppError, match="not ready on this machine"):
                client.predict("Hello", **arguments, api_name="/generate")
        beside = str(make_base(settings.models_dir / "tiny").resolve())
        panes = ["base", run_id, f"base:{beside}"]
        several = client.predict(PROMPTS[0], panes, max_new_tokens=12, api_name="/generate")
        assert [a["base"] for a in several] == ["embedded", "embedded", beside]
        assert [a["base_verified"] for a in several] == [True, None, True]
        assert [a["answer"] for a in several[:2]] == [a["answer"] for a in answers]
        other = add_run(services.runs, "run-2", seed=2)
        blended = client.predict(run_id, PROMPTS[0], "Yes.", blend_with=other, weight=1.0, api_name="/explain")
        alone = client.predict(run_id, PROMPTS[0], "Yes.", api_name="/explain")
        assert (blended["sum"], blended["reward"]) == (alone["sum"], None)
        states = list(client.submit(PROMPTS[0], ["base", run_id], max_new_tokens=12, api_name="/stream"))
        assert [a["answer"] for a in states[-1]] == [a["answer"] for a in answers]
        assert all(answers[0]["answer"].startswith(state[0]["answer"]) for state in states)
    finally:
        app.close()


def test_a_program_without_the_password_has_no_base_loaded(settings: Settings) -> None:
    other = str(make_base(settings.models_dir / "tiny").resolve())
    with opened(replace(settings, admin_password="a long password")) as services:
        app = build_app(services)
        _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
        try:
            client = Client(url, verbose=False, httpx_kwargs={"timeout": 60})
            for arguments in ({"panes": [f"base:{other}"]}, {"panes": ["base"], "base": other}):
                with pytest.raises(AppError, match="loading another base needs the operator's password"):
                    client.predict("Hello", **arguments, max_new_tokens=4, api_name="/generate")
            assert services.compare._engine.held() == ()
            services.compare.load(other)  # the operator
            (answer,) = client.predict("Hello", [f"base:{other}"], max_new_tokens=4, api_name="/generate")
            assert answer["base"] == other
        finally:
            app.close()
