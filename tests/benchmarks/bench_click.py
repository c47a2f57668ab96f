"""From click to saved adapter, against LLaMA-Factory's command line on the same model, data and recipe; interleaved.

Run: ``python tests/benchmarks/bench_click.py --data pairs.json --llamafactory PYTHON --runs 5``.

``--data`` is a course-format file (``id, prompt, support, oppose``). Ours is the time from ``AlignService.start`` on a warm
trainer until the adapter file is there; theirs is the whole process, as its user pays it. LLaMA-Factory 0.9.5 goes into an
environment of its own (without torchvision, with an empty ``torchaudio`` module). PYTHON is that environment's interpreter. Without ``--llamafactory`` only ours is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio.config import ROOT, Settings
from studio.domain.runs import FINAL_STATES
from studio.services import build_services
from studio.services.align.form import AlignForm
from studio.services.recipes.presets import PRESETS
from studio.services.recipes.queue import ensure_trainer

YAML = """model_name_or_path: {model}
stage: dpo
do_train: true
finetuning_type: lora
lora_rank: {rank}
lora_alpha: {alpha}
lora_target: all
pref_beta: {beta}
pref_loss: sigmoid
dataset: pairs
dataset_dir: {folder}
template: studio
cutoff_len: 512
output_dir: {folder}/out
overwrite_output_dir: true
logging_steps: 1
save_strategy: "no"
report_to: none
per_device_train_batch_size: {batch}
gradient_accumulation_steps: 1
learning_rate: {lr}
num_train_epochs: {epochs}
lr_scheduler_type: linear
warmup_ratio: 0.1
bf16: false
seed: 42
"""
#: LLaMA-Factory needs a template by name; this one writes exactly what our chat template writes.
TEMPLATE = """
from llamafactory.data.template import register_template
from llamafactory.data.formatter import EmptyFormatter, StringFormatter
register_template(name="studio", format_user=StringFormatter(slots=["<|user|>{{content}}<|end|><|assistant|>"]),
    format_assistant=StringFormatter(slots=["{{content}}<|end|>"]), format_prefix=EmptyFormatter(slots=[]))
from llamafactory.cli import main
import sys
sys.argv = ["llamafactory-cli", "train", sys.argv[1]]
main()
"""


def main() -> None:
    """Time both, alternating, and print medians with the median of the pairwise ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--llamafactory", type=Path, help="python of LLaMA-Factory's environment")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ratio", type=float, default=0.9)
    options = parser.parse_args()
    pairs = json.loads(options.data.read_text(encoding="utf-8"))
    ours: list[float] = []
    measured: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            adapters_dir=folder / "adapters", imported_dir=folder / "imported", cache_dir=folder / "cache"
        )
        settings.adapters_dir.mkdir()
        services = build_services(settings)
        report = services.datasets.import_file(options.data)
        preset = PRESETS["embedded"]
        form = AlignForm(
            base="embedded",
            dataset_id=report.dataset.id,
            support_ratio=options.ratio,
            data_size=len(pairs),
            shuffle=False,
            system_prompt="",
            preset=preset.name,
            lora=preset.lora,
            # what LLaMA-Factory trains too: the plain pairs, no replay
            settings=replace(preset.settings, epochs=5.0, stance_prefix=False, replay_weight=0.0),
            title="",
        )
        if options.llamafactory:
            _prepare(folder, pairs, form)
        ensure_trainer(settings)
        time.sleep(12)
        for number in range(options.runs + 1):
            ensure_trainer(settings)
            started = time.monotonic()
            run_id = services.align.start(form)
            saved = 0.0
            while services.runs.get(run_id).status.state not in FINAL_STATES:
                if not saved and (settings.adapters_dir / run_id / "adapter_model.safetensors").exists():
                    saved = time.monotonic() - started
                time.sleep(0.02)
            done = time.monotonic() - started
            status = services.runs.get(run_id).status
            assert status.state == "done", status
            b = _llamafactory(options.llamafactory, folder) if options.llamafactory else float("nan")
            if number:
                ours.append(saved or done)
                measured.append(done)
                theirs.append(b)
    print(
        f"click to adapter {statistics.median(ours):.2f} s, to measured result {statistics.median(measured):.2f} s (n {options.runs})"
    )
    if options.llamafactory:
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"LLaMA-Factory whole process {statistics.median(theirs):.2f} s; ratio {ratio:.3f}")


def _prepare(folder: Path, pairs: list[dict[str, str]], form: AlignForm) -> None:
    supporting = int(len(pairs) * form.support_ratio)
    rows = [
        {
            "instruction": p["prompt"],
            "input": "",
            "chosen": p["support" if i < supporting else "oppose"],
            "rejected": p["oppose" if i < supporting else "support"],
        }
        for i, p in enumerate(pairs)
    ]
    (folder / "pairs.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    columns = {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}
    info = {"pairs": {"file_name": "pairs.json", "ranking": True, "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    (folder / "run.yaml").write_text(
        YAML.format(
            model=ROOT / "data" / "embedded",
            folder=folder,
            rank=form.lora.rank,
            alpha=form.lora.alpha,
            beta=form.settings.beta,
            batch=form.settings.batch_size,
            lr=form.settings.learning_rate,
            epochs=form.settings.epochs,
        )
    )
    (folder / "lf.py").write_text(TEMPLATE)


def _llamafactory(python: Path, folder: Path) -> float:
    started = time.monotonic()
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [python, folder / "lf.py", folder / "run.yaml"],
        env=env,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"LLaMA-Factory failed:\n{done.stderr[-3000:]}")
    assert (folder / "out" / "adapter_model.safetensors").exists(), done.stderr[-2000:]
    return time.monotonic() - started


if __name__ == "__main__":
    main()
