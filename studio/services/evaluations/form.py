"""What somebody asks of a before/after evaluation, checked before anything is stored."""

from __future__ import annotations

from dataclasses import dataclass, field

from studio.domain.chat import BASE, Sampling
from studio.domain.toxicity import TestPrompt
from studio.errors import InputError
from studio.services.compare.panes import check_sampling
from studio.services.texts import check_text

MAX_PROMPTS = 2_000
MAX_SAMPLES = 50
#: Pairs of answers of one evaluation.
MAX_ROWS = 20_000
MAX_TITLE = 200
MAX_ID = 100


@dataclass(frozen=True)
class EvaluationForm:
    """What to ask, of whom, and who judges.

    Attributes:
        adapters: run ids, each compared with ``before`` (:data:`studio.domain.chat.BASE` or a run id).
        prompt_set: what the prompts are called.
        scorer: a scorer's name (``studio/domain/toxicity.py``).
        base: the base model, where no side is a run (empty: the embedded one).
        sampling: of every answer; a prompt's sample has the same seed on both sides.
        title: empty: made of the adapters' titles and the prompt set.
    """

    adapters: tuple[str, ...]
    prompts: tuple[TestPrompt, ...]
    prompt_set: str = ""
    scorer: str = "embedded"
    before: str = BASE
    base: str = ""
    samples: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    system_prompt: str = ""
    title: str = ""


def check_form(form: EvaluationForm) -> None:
    """Raises InputError, naming the value and the way out, where an evaluation cannot be made as asked."""
    if not form.adapters:
        raise InputError("No adapter is chosen; choose at least one to compare with what stands before.")
    twice = next((name for name in form.adapters if form.adapters.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Adapter {twice} is chosen twice; choose it once.")
    if form.before in form.adapters:
        what = "The base" if form.before == BASE else f"Adapter {form.before}"
        raise InputError(f"{what} stands on both sides; choose something else for before or after.")
    _check_prompts(form.prompts)
    if not 1 <= form.samples <= MAX_SAMPLES:
        raise InputError(f"samples is {form.samples}; it must be between 1 and {MAX_SAMPLES}.")
    check_sampling(form.sampling)
    if form.samples > 1 and form.sampling.temperature == 0:
        raise InputError(
            f"At temperature 0 all {form.samples} samples of a prompt are the same answer; set samples to 1, or a temperature "
            "above 0."
        )
    rows = len(form.adapters) * len(form.prompts) * form.samples
    if rows > MAX_ROWS:
        raise InputError(
            f"These are {rows:,} pairs of answers ({len(form.adapters)} adapters × {len(form.prompts):,} prompts × "
            f"{form.samples} samples); an evaluation takes {MAX_ROWS:,}."
        )
    check_text("system_prompt", form.system_prompt, empty=True)
    check_title(form.title)


def check_title(title: str, *, empty: bool = True) -> str:
    """``title`` without space around it.

    Raises:
        InputError: it is too long, cannot be stored, or is empty and must not be (``empty``).
    """
    return check_text("title", title, limit=MAX_TITLE, empty=empty).strip()


def _check_prompts(prompts: tuple[TestPrompt, ...]) -> None:
    if not prompts:
        raise InputError("There is no prompt to answer; choose a prompt set, or write prompts, one a line.")
    if len(prompts) > MAX_PROMPTS:
        raise InputError(f"These are {len(prompts):,} prompts; an evaluation takes {MAX_PROMPTS:,}.")
    seen: set[str] = set()
    for number, prompt in enumerate(prompts, 1):
        check_text(f"id of prompt {number}", prompt.id, limit=MAX_ID)
        check_text(f"prompt {number}", prompt.text)
        if prompt.id in seen:
            raise InputError(f"Two prompts have the id {prompt.id!r}; each needs its own.")
        seen.add(prompt.id)
