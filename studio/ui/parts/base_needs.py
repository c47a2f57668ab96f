"""What a page may show of a base model somebody typed."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from studio.errors import InputError, StudioError
from studio.services import Services
from studio.ui.page.access import Visitor
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared
from studio.ui.parts.base_fetch import BaseNeeds, bind_fetch
from studio.ui.parts.html import parts


def base_needs(services: Services, mark: Visitor, base: str) -> str:
    """What a base needs before it is loaded, or why it cannot be. Visitors learn about the listed ones only, not what lies
    in which folder of this machine."""
    if not mark.operator and base not in _listed(services):
        return "The operator may use any base; visitors see the listed ones only."
    try:
        return services.models.ask_hub(base).needs
    except StudioError as error:
        return str(error)


def bind_needs(
    services: Services,
    shared: Shared,
    app: gr.Blocks,
    base: gr.Dropdown,
    needs: BaseNeeds,
    known: Callable[[str], str] = str,
) -> None:
    """Have ``needs`` tell what the model in ``base`` needs, now and whenever it changes, and fetch it; ``known`` makes an id of
    what was typed."""

    def tell_needs(mark: Visitor, typed: str | None) -> str:
        return parts.base_needs(base_needs(services, mark, known(typed or "")), needs.others)

    here = [shared.visitor, base]
    gr.on([app.load, base.change, shared.base_ready.change], guarded(tell_needs), here, needs.line, **QUIET)
    bind_fetch(services, shared, app, base, needs, known)


def require_ready(services: Services, base: str) -> None:
    """Refuse a base that is not listed or not on this machine yet: a question must not start a download.

    Raises:
        InputError: names the base and the way out.
    """
    if not _listed(services).get(base, False):
        raise InputError(f"base is {base!r}, which is not ready on this machine; the operator can load it in Compare.")


def _listed(services: Services) -> dict[str, bool]:
    return {info.id: info.cached for info in services.models.catalogue()}
