"""What a detox form comes to, beside it: the prompts, who rewards and who judges."""

from __future__ import annotations

from markupsafe import Markup

from studio.errors import StudioError
from studio.services import Services
from studio.services.detox.service import DetoxForm
from studio.ui.page.access import OPERATORS_ROWS, may_read_data
from studio.ui.parts.html import Macros, parts

_HTML = Macros("detox/preview.html")
#: Prompts shown as examples, under covers.
EXAMPLES = 4
_NO_JUDGE = "nobody: there will be only the reward's own figures, which proves little"


def prompts_html(services: Services, form: DetoxForm) -> Markup:
    """How many prompts a form comes to, and a few of them under covers; or what is wrong with it."""
    try:
        plan = services.detox.preview(form)
    except StudioError as error:
        return parts.message(str(error))
    if not may_read_data(services, form.dataset_id):
        return _HTML.prompts(plan, ()) + parts.message(OPERATORS_ROWS)
    return _HTML.prompts(plan, plan.prompts[:EXAMPLES])


def scorers_html(services: Services, form: DetoxForm) -> Markup:
    """Who rewards and what they measure, in their own words; and who judges."""
    judge = services.detox.judge_for(form)
    rewards = [(f"{term.weight:g}", _scorer(services, term.scorer)) for term in form.settings.rewards]
    return _HTML.scorers(rewards, _scorer(services, judge) if judge else _NO_JUDGE)


def _scorer(services: Services, name: str) -> str:
    """A scorer's title, revision and what it measures; or why it cannot score."""
    try:
        return _HTML.scorer(services.scoring.spec(name).info)
    except StudioError as error:
        return f"{name}: {error}"
