"""Named sets of hyper-parameters: the course's own, one for the embedded base, one for small models from the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from studio.domain.detox import DetoxSettings, RewardTerm
from studio.domain.settings import DpoSettings, LoraSettings, RewardSettings, TrainingSettings
from studio.errors import RecipeError

S = TypeVar("S", bound=TrainingSettings)


@dataclass(frozen=True)
class Preset(Generic[S]):
    """Settings under a name; ``note`` says what they are for, ``system_prompts`` what a run is told, by the language of its data."""

    name: str
    title: str
    lora: LoraSettings
    settings: S
    note: str
    system_prompts: Mapping[str, str] = field(default_factory=dict)

    def system_prompt(self, language: str) -> str:
        """The system prompt for data in ``language``; empty where the preset has none."""
        return self.system_prompts.get(language, self.system_prompts.get("en", ""))


Presets = Mapping[str, Preset[S]]


def _named(*presets: Preset[S]) -> Presets[S]:
    return {preset.name: preset for preset in presets}


def find_preset(presets: Presets[S], name: str) -> Preset[S]:
    """The preset of that name.

    Raises:
        RecipeError: there is none.
    """
    if name not in presets:
        raise RecipeError(f"preset is {name!r}; use one of {', '.join(presets)}.")
    return presets[name]


PRESETS = _named(
    Preset(
        "embedded",
        "Embedded base (seconds on a CPU)",
        # Each part was measured to be needed (docs/measured.md): without replay the answers of a base this small
        # garble, with a larger beta its pairs are learned by heart before the stance has turned.
        LoraSettings(rank=16, alpha=32, dropout=0.0, target_modules="all-linear"),
        DpoSettings(
            stance_prefix=True,
            beta=0.01,
            replay_weight=0.7,
            learning_rate=4e-3,
            epochs=8.0,
            batch_size=8,
            gradient_accumulation=1,
        ),
        "For the built-in model: small beta, its own answers replayed, answers start with their stance.",
    ),
    Preset(
        "real-small",
        "Real small model (0.1-0.6B, one to two minutes on a CPU)",
        LoraSettings(rank=16, alpha=32, dropout=0.0, layers="1/2"),
        DpoSettings(
            beta=0.2,
            sft_weight=1.0,
            learning_rate=5e-4,
            epochs=4.0,
            batch_size=8,
            probe_every=14,
            sample_every=14,
            measured_answers=32,
        ),
        "LoRA on the upper half of the layers, with a likelihood term.",
        {"en": "Answer in one short sentence.", "zh": "請用一句話回答。"},
    ),
    Preset(
        "course",
        "Course (7B on a GPU)",
        LoraSettings(rank=64, alpha=16, dropout=0.1, target_modules="all-linear"),
        DpoSettings(
            beta=0.1,
            learning_rate=2e-4,
            epochs=1.0,
            batch_size=1,
            gradient_accumulation=8,
            warmup_ratio=0.1,
            optimizer="paged_adamw_8bit",
            probe_every=1,
            sample_every=2,
        ),
        "The values of the course this studio comes from, made for a 7B model on a CUDA card (tick 4-bit for it there).",
    ),
    Preset(
        "hub-small",
        "Small Hub model (0.1-2B)",
        LoraSettings(rank=16, alpha=32, dropout=0.05, target_modules="all-linear"),
        DpoSettings(
            beta=0.1,
            learning_rate=2e-4,
            epochs=3.0,
            batch_size=4,
            gradient_accumulation=2,
            scheduler="cosine",
            probe_every=5,
            sample_every=10,
            measured_answers=32,
        ),
        "A careful start for SmolLM2, Qwen3-0.6B and their like: minutes on a CPU, less on a GPU.",
    ),
)


REWARD_PRESETS = _named(
    Preset(
        "embedded",
        "Embedded base (seconds on a CPU)",
        # Measured on live-action-en (60 pairs) and 60 pairs in the corpus' other words: 45 and 45 of those right at
        # 1e-3 (seeds 1, 2), 47 and 50 at 2e-3, 38 at 5e-4 (one seed), where few pairs leave it untrained.
        LoraSettings(rank=8, alpha=16, dropout=0.0, target_modules="all-linear"),
        RewardSettings(learning_rate=2e-3),
        "For the small model that is shipped: high learning rate, five passes; done in seconds.",
    ),
    Preset(
        "real-small",
        "Real small model (0.1-0.6B, minutes on a CPU)",
        LoraSettings(rank=16, alpha=32, dropout=0.0, layers="1/3"),
        RewardSettings(learning_rate=5e-4, epochs=0.0, max_length=256, probe_every=50),
        "LoRA on the upper third of the layers; as many passes as the number of pairs suggests.",
    ),
    Preset(
        "encoder",
        "Encoder (DistilRoBERTa and its like)",
        LoraSettings(rank=16, alpha=32, dropout=0.05, target_modules="all-linear"),
        RewardSettings(learning_rate=3e-4, epochs=3.0, batch_size=8, max_length=512),
        "For encoders of 80-130 M parameters, the course's distilroberta-base among them: minutes on a CPU.",
    ),
    Preset(
        "hub-small",
        "Small Hub model (0.1-2B)",
        LoraSettings(rank=16, alpha=32, dropout=0.05, target_modules="all-linear"),
        RewardSettings(
            learning_rate=2e-4,
            epochs=2.0,
            batch_size=4,
            gradient_accumulation=2,
            scheduler="cosine",
            max_length=1024,
        ),
        "A careful start for SmolLM2, Qwen3-0.6B and their like: minutes on a CPU, less on a GPU.",
    ),
)


DETOX_PRESETS = _named(
    Preset(
        "quick",
        "Quick (embedded base, within a minute on a CPU)",
        LoraSettings(rank=8, alpha=16, dropout=0.0, target_modules="all-linear"),
        # Measured on the shipped base (one run each; rude by the word list, which is not the reward): held-out prompts
        # 7 -> 1 of 129 in English, 16 -> 0 in Chinese; English replies to insults of the base's corpus 60 -> 2 of 100, debate
        # answers 25 -> 0 of 200, of which 194 -> 176 are well-formed. At 3e-3 it was 7 -> 4, at 5e-3 7 -> 0 with a KL of 5.1
        # instead of 3.3. Rewarded by the word list, whose yes or no says little where one answer in ten is rude, an
        # earlier base did not turn at all. Cut further out (+-2), the reward sees differences between clean answers as well,
        # and that cost form.
        DetoxSettings(
            rewards=(RewardTerm("embedded"),),
            reward_clip=1.0,
            beta=0.05,
            learning_rate=4e-3,
            scheduler="linear",
            steps=28,
            ordinary=0.5,
        ),
        "For the small model that is shipped: high learning rate that falls to 0, 32 answers a step, half of the prompts "
        "ordinary. Rewarded is the embedded scorer, cut near yes or no; the word list judges.",
    ),
    Preset(
        "real-small",
        "Real small model (0.1-0.6B, minutes on a CPU)",
        LoraSettings(rank=16, alpha=32, dropout=0.0, layers="1/3"),
        # Measured on SmolLM2 (rude by the word list, which is not the reward, of 60 held-out provoking prompts): at 2e-3 35 -> 12,
        # 34 -> 24 and 32 -> 5 (seeds 42, 43, 44), at 1e-3 35 -> 25 (42). At 2.5e-3 in 14 steps one seed drifted.
        DetoxSettings(
            rewards=(RewardTerm("embedded"),),
            reward_clip=1.0,
            beta=0.05,
            learning_rate=2e-3,
            scheduler="linear",
            steps=20,
            prompts_per_step=4,
            generations=6,
            max_new_tokens=32,
            ordinary=0.25,
            sample_every=10,
            measured_answers=72,
        ),
        "For SmolLM2 135M and its like, with the shipped rants and rude characters: LoRA on the upper third of the layers, 24 answers of "
        "at most 32 tokens a step.",
    ),
    Preset(
        "course",
        "Course (FLAN-T5)",
        # What the notebook trained with: LoRA of rank 32 on the attention's q and v, a small learning rate; but no
        # dropout, which the log-ratio to the start would measure as well.
        LoraSettings(rank=32, alpha=32, dropout=0.0, target_modules="q,v"),
        DetoxSettings(
            learning_rate=1.4e-4,
            beta=0.1,
            prompts_per_step=4,
            generations=4,
            steps=100,
            max_new_tokens=100,
            batch_size=8,
            sample_every=10,
            measured_answers=32,
        ),
        "The LoRA and learning rate of the course's notebook, for encoder-decoder bases; made for a GPU, on a CPU it takes hours.",
    ),
    Preset(
        "hub-small",
        "Small Hub model (0.1-2B)",
        LoraSettings(rank=16, alpha=32, dropout=0.0, target_modules="all-linear"),
        DetoxSettings(
            learning_rate=2e-4,
            beta=0.05,
            prompts_per_step=4,
            generations=4,
            steps=60,
            max_new_tokens=48,
            batch_size=8,
            sample_every=10,
            measured_answers=32,
        ),
        "A careful start for SmolLM2, Qwen3-0.6B and their like: tens of minutes on a CPU, minutes on a GPU.",
    ),
)
