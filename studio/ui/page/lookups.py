"""Gradio's script ``core-*.js`` with two lookups made short.

The page finds a component by a walk from the top through all of them, for each component that an event tells, at each message of any event;
and as it is loaded it goes through all events for each component. With a thousand components that is most of what a page costs a
browser: half of its load, and two thirds of watching a run. Here a component is looked for first where it was last found, and the
events are gone through once.

Where another version of Gradio words these functions otherwise, its script is served as it is.
"""

from __future__ import annotations

import functools
import hashlib
import re

from studio.ui.page.theme import ASSETS

#: A component of the page by its id: ``function find(node, id)``.
_FIND = re.compile(
    r"function (?P<find>[\w$]+)\((?P<node>[\w$]+),(?P<id>[\w$]+)\)\{if\((?P=node)\.id===(?P=id)\)return (?P=node);"
    r"if\((?P=node)\.children\)for\(let (?P<child>[\w$]+) of (?P=node)\.children\)"
    r"\{let (?P<found>[\w$]+)=(?P=find)\((?P=child),(?P=id)\);if\((?P=found)\)return (?P=found)\}return null\}"
)
#: The way to a component, as places among children, is kept by the page's root: a page that was drawn anew has another.
_FIND_NOW = """
const studioWays = new WeakMap();
const studioEvents = new WeakMap();
function studioMap(node, way, ways) {
    if (!ways.has(node.id)) ways.set(node.id, way);
    (node.children ?? []).forEach((child, place) => studioMap(child, [...way, place], ways));
    return ways;
}
function %(find)s(root, id) {
    const find = (ways) => ways?.get(id)?.reduce((node, place) => node?.children?.[place], root);
    let node = find(studioWays.get(root));
    if (node?.id !== id) {
        const ways = studioMap(root, [], new Map());
        studioWays.set(root, ways);
        node = find(ways);
    }
    return node ?? null;
}
"""
#: The names of a component's events, told to it as the page is made: a method of the page.
_ATTACH = re.compile(
    r"find_attached_events\((?P<node>[\w$]+),(?P<events>[\w$]+)\)\{let (?P<names>[\w$]+)=(?P=events)\.filter\(.{0,200}?\.filter\(Boolean\);"
    r"return (?P=node)\.props\.shared_props\.attached_events=(?P=names),(?P=node)\}"
)
_ATTACH_NOW = """find_attached_events(node, events) {
    let names = studioEvents.get(events);
    if (!names) {
        studioEvents.set(events, (names = new Map()));
        for (const { targets } of events) {
            const first = new Map([...targets].reverse());
            for (const [id, name] of first) if (name) names.set(id, [...(names.get(id) ?? []), name]);
        }
    }
    node.props.shared_props.attached_events = [...(names.get(node.id) ?? [])];
    return node;
}"""


def shortened(script: str) -> str:
    """Gradio's script with both lookups short; as it is where they are not to be found."""
    if len(_FIND.findall(script)) != 1 or len(_ATTACH.findall(script)) != 1:
        return script
    script = _FIND.sub(lambda found: _FIND_NOW % found.groupdict(), script)
    return _ATTACH.sub(lambda found: _ATTACH_NOW, script)


@functools.cache
def core_script() -> tuple[str, str, str]:
    """Gradio's name of the script, the name it has here, and its text; all empty where it is served as it is."""
    for path in ASSETS.glob("core-*.js"):
        text = path.read_text(encoding="utf-8")
        if (now := shortened(text)) != text:
            return path.name, f"{path.stem}-{hashlib.sha256(now.encode()).hexdigest()[:12]}.js", now
    return "", "", ""
