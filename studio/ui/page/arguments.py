"""Arguments of the endpoints for programs, which come as whatever JSON holds: each is checked against its annotation."""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr

from studio.errors import InputError

Handler = TypeVar("Handler", bound=Callable[..., Any])
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_MOST = 60


def checked(handler: Handler) -> Handler:
    """Wrap an endpoint (function or generator): an argument of the wrong kind is refused by its name. One text where a list of texts is wanted is a
    list of one; ``null`` is the default where there is one.

    Raises (when called):
        InputError: an argument is of the wrong kind.
    """
    parameters = list(inspect.signature(handler).parameters.values())
    kinds = typing.get_type_hints(handler)

    def bound(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = {parameter.name: value for parameter, value in zip(parameters, args, strict=False)} | kwargs
        for parameter in parameters:
            name = parameter.name
            if name in given and kinds[name] is not gr.Request:
                missing = given[name] is None and parameter.default is not inspect.Parameter.empty
                given[name] = parameter.default if missing else value_of(name, given[name], kinds[name])
        return given

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from handler(**bound(args, kwargs))

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        return handler(**bound(args, kwargs))

    return call  # type: ignore[return-value]


def value_of(name: str, value: Any, kind: Any) -> Any:
    """``value`` as ``kind``: text, a whole number, a number, true or false, a list of texts or numbers, or one of these or None.

    Raises:
        InputError: it is something else; the sentence names ``name``.
    """
    if isinstance(kind, types.UnionType):
        kinds = [one for one in typing.get_args(kind) if one is not types.NoneType]
        return None if value is None else value_of(name, value, kinds[0])
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        entries = value if isinstance(value, list) else [value]
        wanted = f"it must be a list of {'texts' if item is str else 'numbers'}"
        if not isinstance(value, list | item) and not (item is float and type(value) is int):
            raise InputError(f"{name} is {_shown(value)}; {wanted}.")
        for number, entry in enumerate(entries, 1):
            try:
                value_of(name, entry, item)
            except InputError:
                raise InputError(f"{name} holds {_shown(entry)} at place {number}; {wanted}.") from None
        return [value_of(name, entry, item) for entry in entries]
    if kind is int and type(value) is int and abs(value) >= 2**63:
        raise InputError(f"{name} is {_shown(value)}; it must be below 2 to the power of 63.")
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # JavaScript writes 1 as it writes 1.0
    number = kind is float and isinstance(value, int | float) and not isinstance(value, bool)
    if number and _finite(value):
        return float(value)
    if kind is float or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} is {_shown(value)}; it must be {_NAMES[kind]}.")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_MOST:
        return f"a number of more than {_MOST} digits"  # Python refuses to write thousands of them out
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
