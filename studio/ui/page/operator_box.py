"""The operator's box at the top of the page, and the two routes behind it: ``operator/unlock`` and ``operator/lock``.

Plain routes, since only an answer of the server's own can set a cookie that no script can read.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from studio.errors import NotAllowedError
from studio.services.access import Gate
from studio.ui.page.access import Visitor, address_of, cookie_name, new_visitor, secret_of
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET

#: Characters of a request's body at most.
_MOST = 4_096
#: The page sends the password itself: it goes into no queue, and the answer's cookie is seen by no script.
_UNLOCK = """async (password) => {
    window.studioPage ??= String(Math.random());
    const body = JSON.stringify({password, page: window.studioPage});
    try {
        const answer = await fetch("operator/unlock", {method: "POST", headers: {"Content-Type": "application/json"}, body});
        return (await answer.json()).error;
    } catch (error) {
        return tr("The studio did not answer; try again.");
    }
}"""
_LOCK = '() => fetch("operator/lock", {method: "POST"}).then(() => "", () => "")'


def operator_routes(gate: Gate) -> list[BaseRoute]:
    """The routes, for ``launch(app_kwargs={"routes": ...})``."""

    async def unlock(request: Request) -> Response:
        try:
            body = json.loads((await request.body())[:_MOST])
            password, page = str(body["password"]), str(body.get("page", ""))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return JSONResponse({"error": "The body must be JSON with a password."}, 400)
        try:
            await gate.check(password, address_of(request), page[:100])
        except NotAllowedError as error:
            return JSONResponse({"error": str(error)}, 403)
        answer = JSONResponse({"error": ""}, headers={"Cache-Control": "no-store"})
        # no age: the browser forgets it when it is closed
        answer.set_cookie(
            cookie_name(request), gate.admit(), httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer

    async def lock(request: Request) -> Response:
        gate.lock(secret_of(request))
        answer = JSONResponse({"error": ""}, headers={"Cache-Control": "no-store"})
        answer.delete_cookie(cookie_name(request), httponly=True, samesite="strict")
        return answer

    return [
        Route("/operator/unlock", unlock, methods=["POST"]),
        Route("/operator/lock", lock, methods=["POST"]),
    ]


def build_operator_box(gate: Gate, visitor: gr.State, app: gr.Blocks) -> None:
    """Draw the field for the password and the *Lock* button, of which one is seen, and bind them."""
    with gr.Column(scale=0, min_width=260):
        password = gr.Textbox(
            placeholder="Operator's password",
            type="password",
            show_label=False,
            container=False,
            submit_btn="Unlock",
            elem_id="operator-password",
        )
        lock = gr.Button("Lock", size="sm", visible=False, elem_id="operator-lock")

    def shown() -> dict[Any, Any]:
        # a new value, so that what depends on who is there is drawn anew
        mark = new_visitor(gate)
        return {
            visitor: mark,
            password: gr.Textbox("", visible=not mark.operator),
            lock: gr.Button(visible=mark.operator),
        }

    def enter(error: str | None) -> dict[Any, Any]:
        if error:
            raise NotAllowedError(error)
        if not Visitor(gate=gate).operator:
            raise NotAllowedError(
                "The password is right, but this browser keeps no cookie here; open the studio at its own address, outside "
                "of another site's frame."
            )
        gr.Info("Unlocked: this browser may train, import, delete and publish until it is closed or locked.")
        return shown()

    outputs = [visitor, password, lock]
    app.load(guarded(shown), None, outputs, **QUIET)
    password.submit(guarded(enter), password, outputs, js=_UNLOCK, **QUIET)
    lock.click(guarded(shown), None, outputs, js=_LOCK, **QUIET)
