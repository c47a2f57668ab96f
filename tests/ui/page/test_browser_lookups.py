"""Gradio's two lookups and what stands in their place: the same answers, in a browser. No server."""

from __future__ import annotations

from typing import Any

from studio.ui.page import first_page

#: Asks both for every place of a tree, before and after it changes, and for one that is not there.
COMPARE = """([theirs, ours, name]) => {
    const made = (script) => new Function(`${script} return { find: ${name}, attach: page.find_attached_events };`)();
    const old = made(theirs), now = made(ours);
    const node = (id, ...children) => ({ id, children, props: { shared_props: {} } });
    const page = node(0, node(1), node(2, node(3, node(4), node(5)), node(6)), node(7, node(5)), { id: 8 });
    const wrong = [];
    const all = () => {
        for (let id = 0; id < 12; id++) if (old.find(page, id) !== now.find(page, id)) wrong.push(id);
    };
    all();
    page.children[1].children.reverse();
    all();
    page.children[1].children = [node(9, node(3)), node(10)];
    page.children.shift();
    all();
    if (old.find(page.children[1], 7) !== now.find(page.children[1], 7)) wrong.push("a part");
    const events = [
        { targets: [[1, "click"], [1, "input"], [2, "change"]] },
        { targets: [[2, "change"], [3, null]] },
        { targets: [[1, "load"]] },
    ];
    const names = (attach, id) => JSON.stringify(attach(node(id), events).props.shared_props.attached_events);
    for (let id = 0; id < 5; id++) if (names(old.attach, id) !== names(now.attach, id)) wrong.push("events of " + id);
    return wrong;
}"""


def test_they_find_the_same(chromium: Any) -> None:
    (script,) = [path.read_text(encoding="utf-8") for path in first_page.ASSETS.glob("core-*.js")]
    find, attach = first_page.FIND.search(script), first_page.ATTACH.search(script)
    assert find, "this version of Gradio words it otherwise: see first_page.py"
    assert attach
    theirs = f"{find[0]} const page = {{ {attach[0]} }};"
    page = chromium.new_page()
    assert page.evaluate(COMPARE, [theirs, first_page.with_lookups(theirs), find["find"]]) == []
    page.close()


def test_a_script_that_words_them_otherwise_stays_as_it_is() -> None:
    assert first_page.with_lookups("function Z(e,t){return e}") == "function Z(e,t){return e}"
