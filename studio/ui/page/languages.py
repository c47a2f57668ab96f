"""The page in the language of whoever looks at it: what Gradio writes out is translated on its way, the page itself is one and English.

Which language: :func:`studio.i18n.wanted` of the request. Of components only what they show of their own is looked up (labels, infos,
sentences, headers, the names of choices), never what people or models wrote, nor any value that comes back.
"""

from __future__ import annotations

import functools
import json
import re
from html import escape, unescape
from typing import Any

import gradio as gr

from studio.i18n import ENGLISH, _, language, messages_in_html, said, wanted, words_of
from studio.services.glossary import meanings

#: Properties that are texts of a component's own, and those of a component whose value is one.
_SHOWN = ("label", "info", "placeholder", "submit_btn", "stop_btn")
_SPEAKING = ("markdown", "button", "downloadbutton", "uploadbutton")
#: Class of a component whose text somebody may have written: a lesson, a card. It is translated where the catalogue has all of it.
AS_WRITTEN = "as-written"
#: In HTML of a built page: a text between two tags, or one that a screen reader reads.
_IN_HTML = re.compile(r"(?<=>)[^<>]+(?=<)|(?<= title=\")[^\"]+|(?<= aria-label=\")[^\"]+|(?<= placeholder=\")[^\"]+")
_CONFIG = "window.gradio_config = "


def language_of(request: Any) -> str:
    """The language that a request (Starlette's or Gradio's) asks for."""
    return wanted(request.cookies, request.headers.get("accept-language", "")) if request is not None else ENGLISH


def translated_page(html: str, scripts: str) -> str:
    """Gradio's page with its texts in the language of now, and the words that ``scripts`` say or explain."""
    code = language()
    html = html.replace(' lang="en"', f' lang="{code}"', 1).replace('\tlang="en"', f'\tlang="{code}"', 1)
    start = html.index(_CONFIG) + len(_CONFIG)
    config, length = json.JSONDecoder().raw_decode(html[start:])
    terms = {said(term): said(meaning) for term, meaning in meanings().items()}
    words = f"window.studioLanguage = '{code}'; window.studioTerms = {script_json(terms)}"
    if code == ENGLISH:
        return f"{html[: start + length]};{words}{html[start + length :]}"
    for component in config["components"]:
        if AS_WRITTEN in (component["props"].get("elem_classes") or ()):
            component["props"]["value"] = _whole(component["props"].get("value"))
        else:
            translate(component["type"], component["props"], built=True)
    scripts += "".join(event["js"] for event in config["dependencies"] if isinstance(event.get("js"), str))
    # Gradio's own words follow the browser; here the page's choice counts
    words += f"; window.studioWords = {script_json(words_of(scripts))}; Object.defineProperty(navigator, 'language', {{value: '{GRADIO[code]}'}})"
    return f"{html[:start]}{script_json(config)};{words}{html[start + length :]}"


#: How Gradio's page calls the languages.
GRADIO = {"zh-Hant": "zh-TW", "zh-Hans": "zh-CN"}


def script_json(value: Any) -> str:
    """JSON that may stand within a ``<script>`` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


def translate(kind: str, props: dict[str, Any], built: bool = False) -> None:
    """Translate a component's properties, or those an update changes, in place; ``built``: as it was built, before anybody's text
    stands in it."""
    for name in _SHOWN:
        if isinstance(props.get(name), str):
            props[name] = said(props[name])
    if isinstance(props.get("headers"), list):
        props["headers"] = [said(header) if isinstance(header, str) else header for header in props["headers"]]
    if isinstance(props.get("choices"), list):
        props["choices"] = [
            [said(choice[0]), *choice[1:]]
            if isinstance(choice, list | tuple) and isinstance(choice[0], str)
            else choice
            for choice in props["choices"]
        ]
    if isinstance(props.get("initial_tabs"), list):
        for tab in props["initial_tabs"]:
            translate("tabitem", tab)
    if "value" in props:
        props["value"] = translated_value(kind, props["value"], built)


def translated_value(kind: str, value: Any, built: bool = False) -> Any:
    """What a component of this kind shows, in the language of now."""
    if isinstance(value, str) and kind in _SPEAKING:
        return said(value)
    if isinstance(value, str) and kind == "html" and built:
        for message, text in messages_in_html():
            value = value.replace(message, text)
        return _IN_HTML.sub(_text_in_html, value)
    if kind == "dataframe" and isinstance(value, dict) and isinstance(value.get("headers"), list):
        return {**value, "headers": [said(str(header)) for header in value["headers"]]}
    if isinstance(value, str) and value.startswith('{"data":'):
        return translated_figure(value)
    return value


def translated_figure(figure: str) -> str:
    """A Plotly figure (JSON) with its titles, names and notes in the language of now; a trace whose ``meta`` is :data:`AS_WRITTEN` has
    somebody's name."""

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(one) if isinstance(one, dict | list) else one for one in node]
        return {
            key: said(value)
            if key in ("text", "name") and isinstance(value, str) and node.get("meta") != AS_WRITTEN
            else walk(value)
            if isinstance(value, dict | list)
            else value
            for key, value in node.items()
        }

    return json.dumps(walk(json.loads(figure)), ensure_ascii=False)


def _whole(text: Any) -> Any:
    return _(text) if isinstance(text, str) and text else text  # gettext has its own head under no text


def _text_in_html(match: re.Match[str]) -> str:
    text = match[0].strip()
    return match[0].replace(text, escape(said(unescape(text)))) if text else match[0]


def translate_outputs() -> None:
    """Have what events send to a page be translated. On the class, as Gradio offers no place for it: behind this, a stream's outputs
    are differences between one and the next."""
    original = gr.Blocks.postprocess_data
    if getattr(original, "translates", False):
        return

    @functools.wraps(original)
    async def postprocess(self: gr.Blocks, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        outputs = await original(self, block_fn, predictions, state)
        if language() == ENGLISH:
            return outputs
        for place, (block, output) in enumerate(zip(block_fn.outputs, outputs, strict=False)):
            kind = block.get_block_name()
            if AS_WRITTEN in (getattr(block, "elem_classes", None) or ()):
                outputs[place] = _whole(output)
            elif isinstance(output, dict) and output.get("__type__") == "update":
                translate(kind, output)
            else:
                outputs[place] = translated_value(kind, output)
        return outputs

    postprocess.translates = True  # type: ignore[attr-defined]
    gr.Blocks.postprocess_data = postprocess  # type: ignore[method-assign]
