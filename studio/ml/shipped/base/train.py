"""Train the embedded base model from scratch: ``python -m studio.ml.shipped.base.train --out data/embedded``.

Plain loop, deterministic from ``--seed``: conversations are sampled afresh all the time (no epochs), packed into rows
of one static length with a block-diagonal mask so that conversations in one row do not see each other, and trained in bf16
with fp32 master weights. Matrices of the layers go to Muon (Jordan et al. 2024, ``torch.optim.Muon``), embeddings and
norms to AdamW; the learning rate falls linearly to zero. ``--resume`` goes on from the last snapshot.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.ml.shipped.base.corpus import Language, Lists, Sampler
from studio.ml.shipped.base.tokenizer import Encoder, load_tokenizer, save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PretrainSettings:
    """Size and schedule of the embedded base."""

    hidden: int = 192
    layers: int = 5
    intermediate: int = 512
    heads: int = 6
    kv_heads: int = 3
    vocab: int = 4096
    row_length: int = 256
    rows: int = 12
    steps: int = 12_000
    learning_rate: float = 4e-3
    muon_learning_rate: float = 2e-2
    weight_decay: float = 0.05
    warmup: int = 200
    prompt_weight: float = 0.1
    zh_share: float = 0.55
    seed: int = 20261121
    threads: int = 1
    compile: bool = False

    def flags(self) -> str:
        """The options that give these settings, the number of steps always among them; threads change no result."""
        plain = asdict(PretrainSettings(steps=0, threads=self.threads))
        changed = {name: value for name, value in asdict(self).items() if value != plain[name]}
        return " ".join(
            f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in changed.items()
        )


class Packer:
    """Endless batches of packed conversations: ids, positions and conversation numbers of shape [rows, row_length], and
    weights of the same shape."""

    def __init__(
        self, settings: PretrainSettings, encoder: Encoder, samplers: dict[Language, Sampler], seed: int
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._samplers = samplers
        self._rng = random.Random(seed)
        self._waiting: list[tuple[list[int], list[float]]] = []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        import torch

        rows = [self._row() for _ in range(self._settings.rows)]
        ids, positions, segments, weights = zip(*rows, strict=True)
        return torch.tensor(ids), torch.tensor(positions), torch.tensor(segments), torch.tensor(weights)

    def _row(self) -> tuple[list[int], list[int], list[int], list[float]]:
        length = self._settings.row_length
        ids: list[int] = []
        positions: list[int] = []
        segments: list[int] = []
        weights: list[float] = []
        number = 0
        while True:
            while len(self._waiting) < 32:
                language: Language = "zh" if self._rng.random() < self._settings.zh_share else "en"
                encoded, weight = self._encoder.encode(self._samplers[language].conversation())
                self._waiting.append((encoded[:length], weight[:length]))
            room = length - len(ids)
            # First fit among the waiting ones keeps padding near 2 % without favouring short conversations overall.
            fit = next((i for i, (entry, _) in enumerate(self._waiting) if len(entry) <= room), None)
            if fit is None:
                break
            entry, weight = self._waiting.pop(fit)
            number += 1
            ids += entry
            positions += range(len(entry))
            segments += [number] * len(entry)
            weights += weight
        pad = length - len(ids)
        return ids + [0] * pad, positions + [0] * pad, segments + [0] * pad, weights + [0.0] * pad


def block_mask(segments: torch.Tensor) -> torch.Tensor:
    """Additive bf16 attention mask [rows, 1, length, length]: causal, and only within the same conversation."""
    import torch

    length = segments.shape[1]
    allowed = (segments[:, :, None] == segments[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return torch.zeros(allowed.shape, dtype=torch.bfloat16).masked_fill_(~allowed, float("-inf")).unsqueeze(1)


def build_model(settings: PretrainSettings) -> Any:
    """A Llama of the given size with random weights, fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(settings.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=settings.hidden,
            intermediate_size=settings.intermediate,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.kv_heads,
            vocab_size=settings.vocab,
            tie_word_embeddings=True,
            max_position_embeddings=1024,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    )


def train(settings: PretrainSettings, out: Path, work: Path, resume: bool) -> None:
    """Train and write the model folder ``out``; snapshots go to ``work`` every 500 steps.

    Snapshots hold optimizer state for ``--resume`` only and are read with ``weights_only=True``.
    """
    import torch

    torch.set_num_threads(settings.threads)
    work.mkdir(parents=True, exist_ok=True)
    snapshot = work / "snapshot.pt"
    state: dict[str, Any] = torch.load(snapshot, weights_only=True) if resume and snapshot.exists() else {"step": 0}
    first = state["step"]
    lists = [Lists("en"), Lists("zh")]
    tokenizer = load_tokenizer(work / "latest") if first else train_tokenizer(lists, settings.vocab, settings.seed)
    # A resumed training draws its text from seeds of its own: replaying what was seen would take minutes.
    seed = settings.seed + first
    samplers = {entry.language: Sampler(entry, random.Random(f"{seed}-{entry.language}")) for entry in lists}
    packer = Packer(settings, Encoder(tokenizer, settings.prompt_weight), samplers, seed + 1)

    model = build_model(settings).to(torch.bfloat16)
    # On CPU, SDPA's bf16 backward takes a third of a step at these sizes; plain attention with torch.compile is 1.45 x faster.
    model.set_attn_implementation("eager")
    parameters = [p for p in model.parameters() if p.requires_grad]
    masters = [p.detach().float().clone() for p in parameters]
    embedding = model.model.embed_tokens.weight
    hidden = [m for p, m in zip(parameters, masters, strict=True) if p.ndim == 2 and p is not embedding]
    others = [m for p, m in zip(parameters, masters, strict=True) if p.ndim != 2 or p is embedding]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            hidden, lr=settings.muon_learning_rate, weight_decay=settings.weight_decay, adjust_lr_fn="original"
        ),
        torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, foreach=True),
    ]
    peaks = [settings.muon_learning_rate, settings.learning_rate]
    stages: list[dict[str, Any]] = [{"from": 0, "flags": settings.flags()}]
    if first:
        stages = json.loads((work / "latest" / "pretraining.json").read_text(encoding="utf-8"))["stages"]
        # Going on with another number of steps or another rate changes the course: the record keeps every stage.
        if stages[-1]["flags"] != settings.flags():
            stages = [*stages, {"from": first, "flags": settings.flags()}]
        for master, saved in zip(masters, state["masters"], strict=True):
            master.copy_(saved)
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    print(json.dumps(asdict(settings)), f"parameters {sum(p.numel() for p in parameters) / 1e6:.2f} M", flush=True)

    def backbone(ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return model.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state

    run = torch.compile(backbone) if settings.compile else backbone
    started, tokens, mean_loss = time.monotonic(), 0, 0.0
    for step in range(first, settings.steps):
        with torch.no_grad():
            for parameter, master in zip(parameters, masters, strict=True):
                parameter.copy_(master)
        ids, positions, segments, weights = packer.batch()
        states = run(ids, block_mask(segments), positions)
        # Prompt tokens are scored with probability prompt_weight rather than with that weight: same expectation, and
        # the LM head, a quarter of the arithmetic, runs on two thirds of the positions.
        wanted = torch.rand(weights.shape, generator=torch.Generator().manual_seed(step)) < weights
        rows, columns = wanted[:, 1:].nonzero(as_tuple=True)
        logits = model.lm_head(states[rows, columns]).float()
        loss = torch.nn.functional.cross_entropy(logits, ids[rows, columns + 1])
        loss.backward()
        with torch.no_grad():
            for parameter, master in zip(parameters, masters, strict=True):
                assert parameter.grad is not None
                master.grad = parameter.grad.float()
                parameter.grad = None
        factor = min(1.0, (step + 1) / settings.warmup) * (1 - step / settings.steps)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
            optimizer.step()
        tokens += ids.numel()
        mean_loss = loss.item() if step == first else 0.98 * mean_loss + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            seconds = time.monotonic() - started
            print(f"step {step + 1} loss {mean_loss:.4f} {tokens / seconds:.0f} tok/s {seconds:.0f} s", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == settings.steps:
            with torch.no_grad():
                for parameter, master in zip(parameters, masters, strict=True):
                    parameter.copy_(master)
            save_folder(model, tokenizer, work / "latest")
            record = {**asdict(settings), "stages": stages}
            (work / "latest" / "pretraining.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            state = {"step": step + 1, "masters": masters, "optimizers": [o.state_dict() for o in optimizers]}
            torch.save(state, snapshot.with_suffix(".tmp"))
            snapshot.with_suffix(".tmp").replace(snapshot)
    shutil.copytree(work / "latest", out, dirs_exist_ok=True)


def save_folder(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a plain transformers folder: safetensors in bf16, tokenizer with its chat template, generation defaults."""
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.8, top_p=0.95, max_new_tokens=96, pad_token_id=0, eos_token_id=1
    )
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, folder)


def main() -> None:
    """Command line: every field of :class:`PretrainSettings` is an option."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="snapshots and the latest model folder")
    parser.add_argument("--resume", action="store_true")
    for name, value in asdict(PretrainSettings()).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true", default=value)
        else:
            parser.add_argument(flag, type=type(value), default=value)
    options = vars(parser.parse_args())
    out, work, resume = options.pop("out"), options.pop("work"), options.pop("resume")
    train(PretrainSettings(**options), out, work, resume)


if __name__ == "__main__":
    main()
