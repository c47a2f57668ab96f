"""How long a DPO step takes, beside a bare torch + peft loop and plain TRL, and how soon the first step is done.

    python tests/benchmarks/bench_dpo.py [--base embedded|135m|FOLDER] [--steps 30] [--threads 1] [--trl]

The studio's steps and the bare loop's alternate one by one in one process (the bare step runs inside the event callback
of the run), so that whatever else the machine does meets both alike; ratios are of medians. The bare loop is the
fastest plain one: bfloat16 weights, LoRA weights in bfloat16 too (second line: in float32, PEFT's default and what the
studio trains), logits of answer tokens only, cached reference, fused AdamW. Plain TRL runs afterwards by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from studio.domain.events import StepEvent  # noqa: E402
from studio.ml.dpo.run import DpoJob, preload, train_dpo  # noqa: E402
from studio.ml.models.loading import load_model, load_tokenizer  # noqa: E402
from studio.ml.training.logprobs import answer_log_probs  # noqa: E402
from studio.ml.training.pairs import encode_rows, pad_answers  # noqa: E402
from tests.helpers.dpo import make_base, make_job  # noqa: E402

SMOL_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
}


class BareLoop:
    """DPO in thirty lines of torch and peft, on the same rows."""

    def __init__(self, job: DpoJob, adapter_float32: bool) -> None:
        import torch
        from peft import LoraConfig, get_peft_model

        tokenizer = load_tokenizer(job.base_path)
        self._pairs = encode_rows(tokenizer, job.rows, "", 512)
        base = load_model(job.base_path, device="cpu", dtype="bfloat16")
        answers = [answer for pair in self._pairs for answer in pair]
        self._reference = dict(zip(answers, answer_log_probs(base, answers, 0), strict=True))
        torch.manual_seed(0)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        self._model = get_peft_model(base, config, autocast_adapter_dtype=adapter_float32).train()
        self._weights = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, lr=2e-3, weight_decay=0.0, fused=True)
        self._beta, self._size, self._next = job.recipe.settings.beta, job.recipe.settings.batch_size, 0
        self._order: list[int] = []
        self.times: list[float] = []

    def step(self) -> None:
        began = time.perf_counter()
        self._step()
        self.times.append(time.perf_counter() - began)

    def _step(self) -> None:
        import torch

        if not self._order:
            self._order = torch.randperm(len(self._pairs)).tolist()
        rows, self._order = self._order[: self._size], self._order[self._size :]
        answers = [self._pairs[row][side] for side in (0, 1) for row in rows]
        batch = pad_answers(answers, 0)
        lengths = torch.tensor([len(answer) for answer in answers])
        seen = (torch.arange(batch.input_ids.shape[1]) < lengths[:, None]).long()
        llama = self._model.get_base_model()
        hidden = llama.model(input_ids=batch.input_ids, attention_mask=seen, use_cache=False).last_hidden_state
        mask = batch.completion_mask[:, 1:]
        logits = llama.lm_head(hidden[:, :-1][mask]).float()
        tokens = -torch.nn.functional.cross_entropy(logits, batch.input_ids[:, 1:][mask], reduction="none")
        sums = torch.zeros(len(answers)).index_add(0, mask.nonzero()[:, 0], tokens)
        chosen, rejected = (sums - torch.tensor([self._reference[answer] for answer in answers])).chunk(2)
        loss = -torch.nn.functional.logsigmoid(self._beta * (chosen - rejected)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        loss.item()


def studio_against_bare(job: DpoJob) -> tuple[list[float], list[BareLoop]]:
    """Seconds of each studio step after the first epoch (references cached), and the bare loops with theirs."""
    loops = [BareLoop(job, adapter_float32=False), BareLoop(job, adapter_float32=True)]
    times: list[float] = []
    last = time.perf_counter()
    warm = -(-len(job.rows) // job.recipe.settings.batch_size)

    def emit(event: Any) -> None:
        nonlocal last
        if not isinstance(event, StepEvent):
            last = time.perf_counter()
            return
        took = time.perf_counter() - last
        for loop in loops:
            loop.step()
        if event.step > warm:
            times.append(took)
        else:
            for loop in loops:
                loop.times.clear()
        last = time.perf_counter()

    train_dpo(job, emit, lambda: False)
    return times, loops


def plain_trl(job: DpoJob, steps: int, folder: Path) -> list[float]:
    """Seconds of each step of TRL's trainer as its users run it on a CPU: float32 weights under bfloat16 autocast."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    times: list[float] = []

    class Watch(TrainerCallback):
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter() - self.began)

    rows = [
        {
            "prompt": [{"role": "user", "content": row.prompt}],
            "chosen": [{"role": "assistant", "content": row.chosen}],
            "rejected": [{"role": "assistant", "content": row.rejected}],
        }
        for row in job.rows
    ]
    DPOTrainer(
        model=load_model(job.base_path, device="cpu", dtype="float32"),
        args=DPOConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=True,
            activation_checkpointing=False,
            max_steps=steps,
            per_device_train_batch_size=job.recipe.settings.batch_size,
            learning_rate=2e-3,
            beta=job.recipe.settings.beta,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(job.base_path),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Watch()],
    ).train()
    return times[1:]


def first_step_seconds(job: DpoJob) -> float:
    """From the call (everything imported) to the first step's event."""

    class Enough(Exception):
        pass

    def emit(event: Any) -> None:
        raise Enough

    began = time.perf_counter()
    with contextlib.suppress(Enough):
        train_dpo(job, emit, lambda: False)
    return time.perf_counter() - began


def make_base_of(name: str, folder: Path) -> Path:
    if name == "135m":
        import torch
        from transformers import AutoModelForCausalLM

        make_base(folder, **SMOL_135M)
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
        return folder
    return ROOT / "data" / "embedded" if name == "embedded" else Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--trl", action="store_true", help="measure plain TRL too")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    preload()
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        base = make_base_of(options.base, here / "base")
        count = 48
        job = make_job(
            base, here / "run", count=count, heldout=0, batch_size=options.batch, probe_every=0, sample_every=0
        )
        epochs = 1 + options.steps * options.batch / count
        job = replace(
            job,
            threads=lambda: options.threads,
            judge_pairs=(),
            recipe=replace(job.recipe, settings=replace(job.recipe.settings, epochs=epochs)),
        )
        cold = first_step_seconds(job)
        times, loops = studio_against_bare(job)
        warm = first_step_seconds(job)
        studio = statistics.median(times)
        print(f"base {options.base}, batch {options.batch} pairs, {options.threads} thread(s), {len(times)} steps each")
        print(f"call to first step's end: {cold:.2f} s first time, {warm:.2f} s with the references cached")
        print(f"studio step                      {studio * 1e3:8.1f} ms")
        for loop, name in zip(loops, ("bare loop, all bfloat16", "bare loop, LoRA in float32"), strict=True):
            bare = statistics.median(loop.times)
            print(f"{name:32s} {bare * 1e3:8.1f} ms   studio / bare = {studio / bare:.2f}")
        if options.trl:
            trl = statistics.median(plain_trl(job, max(4, options.steps // 4), here / "trl"))
            print(f"plain TRL                        {trl * 1e3:8.1f} ms   studio / TRL  = {studio / trl:.2f}")


if __name__ == "__main__":
    main()
