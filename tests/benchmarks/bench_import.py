"""An import of many pairs by the command line, in a fresh process: seconds, and the largest memory of it and of a child that reads for it.

python -m tests.benchmarks.bench_import --pairs 1000000 --format jsonl
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from studio.config import ROOT

FORMATS = ("jsonl", "jsonl.gz", "json", "csv", "parquet")
FIELDS = ("prompt", "chosen", "rejected")


def made_rows(count: int) -> Iterator[dict[str, str]]:
    """Rows of about 330 bytes: distinct prompts, answers of some twenty words, all drawn from seed 0."""
    draw, words = random.Random(0), [f"word{number}" for number in range(2000)]
    for number in range(count):
        texts = [" ".join(draw.choices(words, k=k)) for k in (8, 18, 14)]
        yield dict(zip(FIELDS, (f"{number}: {texts[0]}?", *texts[1:]), strict=True))


def write(path: Path, count: int) -> None:
    """The rows in the format that the name says."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        with pyarrow.parquet.ParquetWriter(
            path, pyarrow.schema([(name, pyarrow.string()) for name in FIELDS])
        ) as table:
            batch = []
            for row in made_rows(count):
                batch.append(row)
                if len(batch) == 10_000:
                    table.write_table(pyarrow.Table.from_pylist(batch, schema=table.schema))
                    batch.clear()
            table.write_table(pyarrow.Table.from_pylist(batch, schema=table.schema))
        return
    opened: IO[str] = gzip.open(path, "wt", 1) if path.suffix == ".gz" else open(path, "w", newline="")  # noqa: SIM115
    with opened as out:
        if path.suffix == ".csv":
            table_writer = csv.DictWriter(out, FIELDS)
            table_writer.writeheader()
            table_writer.writerows(made_rows(count))
        elif path.suffix == ".json":
            out.write("[")
            for number, row in enumerate(made_rows(count)):
                out.write((",\n" if number else "") + json.dumps(row))
            out.write("]")
        else:
            out.writelines(json.dumps(row) + "\n" for row in made_rows(count))


def run(command: list[str], env: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, largest resident memory in MB (that of the command alone), and what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        output.seek(0)
        told = output.read()
    assert status == 0, told
    return seconds, usage.ru_maxrss / 1000, f"{usage.ru_utime + usage.ru_stime:.1f} s of computing; {told}"


def main() -> None:
    """Measure one import, and what a form of it asks for: the list of datasets and the rows that a table shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--format", choices=FORMATS, default="jsonl")
    parser.add_argument("--heldout", default="0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"many.{options.format}"
        write(path, options.pairs)
        print(f"{options.pairs:,} pairs, {path.stat().st_size / 1e6:.0f} MB {options.format}", flush=True)
        env = {
            **os.environ,
            "STUDIO_DATA_ROOT": f"{folder}/root",
            "STUDIO_MAX_UPLOAD_MB": "4000",
            "STUDIO_MAX_ROWS": "2000000",
        }
        command = [sys.executable, "-m", "studio", "import", str(path), "--heldout", options.heldout]
        seconds, peak, told = run(command, env)
        kept = sum(file.stat().st_size for file in Path(folder, "root").rglob("many*") if file.is_file())
        print(
            f"import: {seconds:.1f} s, {peak:.0f} MB at most; kept in {kept / 1e6:.0f} MB\n{told.strip()}", flush=True
        )
        seconds, peak, told = run([sys.executable, "-c", _FORM, "many"], env)
        print(f"form of 50 pairs, in a fresh process: {seconds:.1f} s, {peak:.0f} MB at most; {told.strip()}")


_FORM = """
import sys, time
from studio.config import load_settings
from studio.services import build_services
from studio.services.align.form import AlignForm
services = build_services(load_settings())
began = time.monotonic()
services.datasets.list()
listed = time.monotonic()
form = AlignForm.from_preset("embedded", "embedded", dataset_id=sys.argv[1], support_ratio=0.5, data_size=50)
rows = services.align.preview(form)
print(f"list {listed - began:.2f} s, {len(rows)} rows {time.monotonic() - listed:.2f} s")
"""


if __name__ == "__main__":
    main()
