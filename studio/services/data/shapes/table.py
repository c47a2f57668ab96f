"""The shapes that are known: what each is called, what tells it, and where prompt and answers are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from studio.domain.data import Kind
from studio.errors import DatasetError
from studio.services.data.formats import RawRow
from studio.services.data.shapes.fields import Fields
from studio.services.data.shapes.picks import (
    Answers,
    Pick,
    after_messages,
    chosen_of,
    exported,
    in_list,
    numbered,
    numbered_names,
    rated,
    scored,
    two,
)

#: What can be mapped by hand, and what else it may be called.
ROLES = ("prompt", "chosen", "rejected", "system")
_ALIASES = {"preferred": "chosen", "not preferred": "rejected", "support": "chosen", "oppose": "rejected"}
_SYSTEM = ("system", "system_prompt", "input.system")
_HISTORY = ("history",)
_ASKED = ("instruction", "question", "query", "input", "prompt")
_CONTEXT = ("input", "context")


@dataclass(frozen=True)
class Shape:
    """One way to keep preference data.

    Attributes:
        name: what a person calls it.
        needs: fields by which it is told; ``a|b`` is either.
        pick: finds the two answers.
        prompt: paths of the prompt, the first that is there counts; ``context`` of a text that belongs behind it.
        kind: whether the two answers are sides or labels; ``labels`` may leave single rows without a label.
        implied: a row may be without a prompt: the beginning that both answers share is it, unless another field could be it.
        shared: a person said that the prompt is that beginning.
        plain: answers are what they are; one that begins with "Human:" is no transcript.
        literal: lists and objects written as text are read as what they are.
    """

    name: str
    needs: tuple[str, ...]
    pick: Pick
    prompt: tuple[str, ...] = ("prompt",)
    context: tuple[str, ...] = ()
    system: tuple[str, ...] = _SYSTEM
    history: tuple[str, ...] = _HISTORY
    kind: Kind = "labels"
    implied: bool = False
    shared: bool = False
    plain: bool = False
    literal: bool = True

    def answers(self, fields: Fields) -> Answers:
        """The two answers of a row. Raises DatasetError as its pick."""
        return self.pick(fields)


_LABELS = two("chosen", "rejected")
#: Names of the better and the worse answer that people think of.
_BETTER_AND_WORSE = (
    ("better", "worse"), ("preferred", "dispreferred"), ("accepted", "rejected"), ("win", "lose"), ("winner", "loser"),
    ("text_chosen", "text_rejected"), ("positive", "negative"),
)  # fmt: skip
_RATINGS = ("ratings", "rating", "scores")
#: The studio's own JSON, in which texts are what they are.
OWN = Shape("this studio's own JSON", (), two("support", "oppose"), kind="sides", plain=True, literal=False)
#: Rows of the studio's export of pairs.
EXPORTED = Shape(
    "pairs exported by this studio",
    ("answer_1", "answer_2", "origin_1"),
    exported,
    plain=True,
    literal=False,
)
#: In this order: what tells a shape is looked for from the top.
SHAPES: tuple[Shape, ...] = (
    EXPORTED,
    Shape("OpenAI preference rows", ("preferred_output", "non_preferred_output"),
          two("preferred_output", "non_preferred_output"), ("input.messages", "input", "prompt")),
    Shape("ms-swift rows", ("messages", "rejected_messages"), two("messages", "rejected_messages"), ()),
    Shape("ms-swift rows", ("messages", "rejected_response"), after_messages("messages", "rejected_response"), ()),
    Shape("ms-swift rows", ("response", "rejected_response"), two("response", "rejected_response"), _ASKED),
    Shape("distilabel preference rows", ("chosen_response", "rejected_response"),
          two("chosen_response", "rejected_response"), _ASKED),
    Shape("KTO pairs", ("completion_chosen", "completion_rejected"), two("completion_chosen", "completion_rejected"),
          ("prompt",)),
    Shape("TRL preference rows", ("prompt", "chosen", "rejected"), _LABELS),
    Shape("LLaMA-Factory alpaca ranking", ("instruction", "chosen", "rejected"), _LABELS, ("instruction",), _CONTEXT),
    Shape("Orca-style preference rows", ("question", "chosen", "rejected"), _LABELS, ("question",), _CONTEXT),
    Shape("LLaMA-Factory sharegpt ranking", ("conversations", "chosen", "rejected"), _LABELS, ("conversations",)),
    Shape("conversations with a chosen and a rejected turn", ("messages|conversation|chat", "chosen", "rejected"), _LABELS,
          ("messages", "conversation", "chat"), implied=True),
    Shape("axolotl preference rows", ("input|query|user_input", "chosen", "rejected"), _LABELS,
          ("input", "query", "user_input")),
    Shape("chosen and rejected with the prompt in both", ("chosen", "rejected"), _LABELS, (), implied=True),
    Shape("pairs of two sides", ("support", "oppose"), two("support", "oppose"), kind="sides"),
    *(Shape(f"pairs of {one} and {other}", (one, other), two(one, other), _ASKED) for one, other in _BETTER_AND_WORSE),
    Shape("stack-exchange pairs", ("response_j", "response_k"), two("response_j", "response_k"), _ASKED),
    Shape("SHP rows", ("human_ref_a", "human_ref_b"), numbered("human_ref_a", "human_ref_b"), ("history", "prompt"), history=()),
    Shape("LLaMA-Factory alpaca ranking with a list of outputs", ("instruction|prompt|query", "output"), in_list("output"),
          ("instruction", "prompt", "query"), _CONTEXT),
    Shape("distilabel generations with ratings", ("generations", "|".join(_RATINGS)), rated("generations", _RATINGS), _ASKED),
    Shape("responses with scores", ("responses", "|".join(_RATINGS)), rated("responses", _RATINGS), _ASKED),
    Shape("UltraFeedback completions", ("completions",),
          scored("completions", ("response", "text", "completion"), ("overall_score", "score", "rating", "fine_grained_score")),
          _ASKED),
    Shape("summarize-from-feedback comparisons", ("summaries", "choice"), chosen_of("summaries", ("text",), "choice"),
          ("info.post", "info.article")),
    Shape("ranked answers", ("answers",), scored("answers", ("answer", "text", "response"), ("rank",), True), _ASKED),
)  # fmt: skip
_NAMED_BY_CHOICE = {
    "better_response_id": "SafeRLHF rows",
    "safer_response_id": "SafeRLHF rows",
    "winner": "arena records",
    "winner_model_a": "arena records",
    "winner_tie": "arena records",
}


def recognise(rows: Sequence[RawRow]) -> Shape | None:
    """The shape of the first row that has one."""
    for loose in (False, True):
        for row in rows:
            shape = _shape_of(row, loose)
            if shape is not None:
                return shape
    return None


def _shape_of(row: RawRow, loose: bool) -> Shape | None:
    """``loose``: fields that a row has without a value count too, and one of a pair is enough, so that what is missing can be
    named."""
    if not isinstance(row.value, dict):
        return None
    fields = Fields(row.value, row.where, literal=False)
    if loose:
        halves = {frozenset(("chosen", "rejected")): "chosen", frozenset(("support", "oppose")): "support"}
        side = next((first for pair, first in halves.items() if pair & fields.keys), None)
        return next((shape for shape in SHAPES if side and shape.needs[-2:-1] == (side,)), None)
    for shape in SHAPES:
        if all(any(name in fields for name in need.split("|")) for need in shape.needs) and _fits(shape, fields):
            return shape
    names = numbered_names(fields)
    if names is None:
        return None
    name = next((name for field, name in _NAMED_BY_CHOICE.items() if field in fields.keys), "two answers side by side")
    # What a model said may well begin with "Human:"; only labelled data is made of transcripts.
    asked = ("prompt", *_ASKED[:4], "context", "conversation", "messages")
    return Shape(name, (), numbered(*names), asked, _CONTEXT, plain=True)


def _fits(shape: Shape, fields: Fields) -> bool:
    """Whether what should be a list is one: ``output`` of most files is one answer, ``completions`` may be texts."""
    field = shape.needs[-1] if shape.needs[-1] in ("output", "completions", "answers") else ""
    if not field:
        return True
    value = fields.read_as_literal(field)
    if not isinstance(value, list):
        return False
    return field == "output" or all(isinstance(item, dict) for item in value)


def mapped(rows: Sequence[RawRow], mapping: Mapping[str, str], name: str) -> Shape:
    """The shape that fields mapped by hand make, over what is recognised without them.

    Args:
        mapping: ``prompt``, ``chosen`` (or ``preferred``), ``rejected`` and ``system`` to a field's name or path. An empty name of the
            prompt says that it is the beginning both answers share.

    Raises:
        DatasetError: it maps what is none of these, to a field that no row has, or only one of the two answers.
    """
    given = {_ALIASES.get(role.strip().lower(), role.strip().lower()): field.strip() for role, field in mapping.items()}
    for role, field in given.items():
        if role not in ROLES:
            raise DatasetError(f"{role!r} cannot be mapped; map {', '.join(ROLES)}.")
        if field and not any(isinstance(r.value, dict) and field in Fields(r.value, r.where) for r in rows):
            raise DatasetError(
                f"{name}: {role} is mapped to {field!r}; no row has that field, but {listed_fields(rows)}."
            )
    both = [role for role in ("chosen", "rejected") if given.get(role)]
    shape = recognise(rows)
    if len(both) == 2:
        sides = {"support", "oppose"} & {role.strip().lower() for role in mapping}
        kind: Kind = "sides" if sides else "labels"
        base = shape or Shape("", (), _LABELS, _ASKED)
        shape = replace(base, pick=two(given["chosen"], given["rejected"]), kind=kind, plain=False)
    elif both or shape is None:
        raise DatasetError(
            f"{name}: map both chosen and rejected, and the prompt; its fields are {listed_fields(rows)}."
        )
    if "prompt" in given:
        shape = replace(shape, prompt=(given["prompt"],) if given["prompt"] else (), context=(), history=())
        shape = replace(shape, implied=not given["prompt"], shared=not given["prompt"])
    if given.get("system"):
        shape = replace(shape, system=(given["system"],))
    fields = ", ".join(f"{role} = {field or 'shared beginning'}" for role, field in given.items())
    return replace(shape, name=f"fields mapped by hand ({fields})")


def field_names(rows: Iterable[RawRow]) -> list[str]:
    """The fields of the rows in order of appearance, those within an object by path."""
    names: dict[str, None] = {}
    for row in rows:
        if isinstance(row.value, dict):
            for name, value in row.value.items():
                names[str(name)] = None
                if isinstance(value, dict):
                    names.update(dict.fromkeys(f"{name}.{inner}" for inner in value))
    return list(names)


def listed_fields(rows: Sequence[RawRow]) -> str:
    """The fields of the rows for a message, bounded."""
    return listed(field_names(rows[:100])) or "none"


def listed(names: Iterable[str]) -> str:
    """Names from a file, bounded: a file may have thousands, or a sentence for one."""
    shown = [" ".join(name.split())[:40] for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
