"""Which rows are too long for a run, told before it is queued: with the base's tokenizer, without its weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.domain.data import PreferenceRow, RatedAnswer
from studio.domain.runs import LongRow, RowsThatFit
from studio.domain.settings import PairSettings, RewardSettings
from studio.ml.models.loading import load_tokenizer
from studio.ml.reward.rows import encode_rows
from studio.ml.training.pairs import conversation, fit_answers, texts_of

#: Tokens that a chat template adds at most, as far as the quick check goes; a token has at least one byte.
_TEMPLATE = 256


def rows_that_fit(
    base_path: str,
    rows: Sequence[PreferenceRow | RatedAnswer],
    system_prompt: str,
    settings: PairSettings,
    trust_remote_code: bool = False,
) -> RowsThatFit:
    """Which rows a run can train on, and how many answers it cuts; by the same code as the run itself.

    Args:
        base_path: the base's folder.

    Raises:
        ModelLoadError: the base's tokenizer cannot be read.
        RecipeError: its chat template refuses a row's conversation.
    """
    limit = min(settings.max_length, _positions(base_path))
    suspects = [place for place, row in enumerate(rows) if _bytes(row, system_prompt) + _TEMPLATE > limit]
    if not suspects:
        return RowsThatFit(tuple(range(len(rows))), (), 0, limit)
    tokenizer = _tokenizer(base_path, trust_remote_code)
    if isinstance(settings, RewardSettings):
        limit = min(limit, int(tokenizer.model_max_length))
    left_out, cut = [], 0
    for place in suspects:
        why, shortened = _checked(tokenizer, rows[place], system_prompt, limit, settings)
        cut += shortened
        if why:
            left_out.append(LongRow(place, row_id(rows[place]), why))
    gone = {row.place for row in left_out}
    kept = tuple(place for place in range(len(rows)) if place not in gone)
    return RowsThatFit(kept, tuple(left_out), cut, limit)


def row_id(row: PreferenceRow | RatedAnswer) -> str:
    """What names a row in its data."""
    return row.id if isinstance(row, RatedAnswer) else row.pair_id


def _checked(
    tokenizer: Any, row: PreferenceRow | RatedAnswer, system_prompt: str, limit: int, settings: PairSettings
) -> tuple[str, int]:
    """Why a row is left out (empty: it is not), and how many of its answers are cut."""
    if isinstance(settings, RewardSettings) and isinstance(row, PreferenceRow):
        done = encode_rows(tokenizer, [row], system_prompt, limit, "Row", settings.cuts_answers, quiet=True)
        why = f"an answer has more tokens than max_length {limit:,}, or both are the same"
        return (why, 0) if done.dropped else ("", done.shortened)
    before = conversation(row.prompt, system_prompt, row.history)
    fit = fit_answers(tokenizer, before, texts_of(row), limit, settings.cuts_answers)
    return fit.why, fit.cut


def _bytes(row: PreferenceRow | RatedAnswer, system_prompt: str) -> int:
    """Bytes of the longest of the row's conversations."""
    texts = (system_prompt, row.prompt, *(turn.content for turn in row.history))
    return sum(len(text.encode()) for text in texts) + max(len(text.encode()) for text in texts_of(row))


@functools.lru_cache(maxsize=4)
def _tokenizer(base_path: str, trust_remote_code: bool) -> Any:
    return load_tokenizer(base_path, trust_remote_code=trust_remote_code)


def _positions(base_path: str) -> int:
    """Tokens that a base has positions for, as its configuration says. RoBERTa and its kin count theirs from behind the padding's
    index."""
    config = json.loads((Path(base_path) / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    positions = text.get("max_position_embeddings") or text.get("n_positions") or 1_000_000
    shifted = config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "longformer")
    return int(positions) - (int(config.get("pad_token_id") or 1) + 1 if shifted else 0)
