"""Who may do what: visitors chat and look; training, deleting, importing and publishing are the operator's.

Without ``STUDIO_ADMIN_PASSWORD`` the studio runs on somebody's own machine and every visitor is the operator. With it, a
browser becomes the operator's by the password (:mod:`studio.ui.page.operator_box`): it then holds a random secret in a cookie
that no script can read and no other site can send. Handlers check it themselves, because hiding a button locks nothing; the
hash of a session, which stands in addresses, opens nothing.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from anyio import from_thread
from gradio.context import LocalContext

from studio.domain.data import SHIPPED
from studio.errors import NotAllowedError
from studio.services import Services
from studio.services.access import Gate

#: Where rows would stand that are not for visitors.
OPERATORS_ROWS = "The rows of imported data are only shown to the operator here (STUDIO_VISITORS_READ_RUNS)."


class Visitor:
    """Who is at a page: the operator by what they are (``operator``), or by the cookie of the request being handled. Not a
    dataclass, since Gradio would take it apart."""

    def __init__(self, operator: bool = False, gate: Gate | None = None) -> None:
        self._operator = operator
        self._gate = gate

    def __deepcopy__(self, memo: dict[int, Any]) -> Visitor:
        """Gradio copies the first value for each page; the gate is the server's."""
        return Visitor(self._operator, self._gate)

    @property
    def operator(self) -> bool:
        """Whether this is the operator."""
        if self._operator or self._gate is None:
            return self._operator
        return self._gate.knows(secret_of(LocalContext.request.get(None)))


def new_visitor(gate: Gate) -> Visitor:
    """The visitor of a freshly opened page."""
    return Visitor(gate=gate)


def require_operator(visitor: Visitor, action: str) -> None:
    """Refuse ``action`` (a gerund: "training") to visitors.

    Raises:
        NotAllowedError: the page is not the operator's.
    """
    if not visitor.operator:
        raise NotAllowedError(f"Visitors may chat and look; {action} needs the operator's password (top right).")


def require_password(gate: Gate, request: gr.Request, password: str, action: str) -> None:
    """:func:`require_operator` for an endpoint that takes the operator's password, where the request does not come from the operator's
    browser anyway. For a handler in a thread of its own: a wrong password waits.

    Raises:
        NotAllowedError: the password is wrong or missing.
    """
    mark = new_visitor(gate)
    if password and not mark.operator:
        from_thread.run(gate.check, password, address_of(request), request.session_hash or "")
        mark = Visitor(operator=True)
    require_operator(mark, action)


def may_read_runs(services: Services) -> bool:
    """Whether who asks now may read a run's log and its training data: the operator, and visitors where
    ``STUDIO_VISITORS_READ_RUNS`` lets them."""
    return services.settings.runs_readable or new_visitor(services.gate).operator


def may_load(services: Services) -> bool:
    """Whether who asks now may have a base loaded: the operator, and what works without a page."""
    return LocalContext.request.get(None) is None or new_visitor(services.gate).operator


def may_read_data(services: Services, dataset_id: str | None) -> bool:
    """Whether who asks now may read the rows of a dataset: everybody those that are shipped (or of no dataset), of others who
    :func:`may_read_runs`.

    Raises:
        NotFoundError, DatasetError: as ``DatasetService.get``.
    """
    return not dataset_id or services.datasets.get(dataset_id).source == SHIPPED or may_read_runs(services)


def address_of(request: Any) -> str:
    """Where a request (Gradio's or Starlette's) came from; behind a proxy of ``STUDIO_TRUSTED_PROXIES`` what that says, behind
    another one the proxy itself."""
    client = getattr(request, "client", None)
    return str(client.host) if client else ""


def secret_of(request: Any) -> str:
    """The operator's secret that came with a request (Gradio's or Starlette's); empty where there is none."""
    request = request.request if isinstance(request, gr.Request) else request
    return str(request.cookies.get(cookie_name(request), "")) if request is not None else ""


def cookie_name(request: Any) -> str:
    """The cookie's name. Browsers share cookies between the ports of a machine, where another studio may run."""
    server = request.scope.get("server")
    return f"studio_operator_{server[1] if server else 0}"
