"""An import of many rows by the command line, in a fresh process: seconds, and the largest memory of it or of a child that reads for it.

python -m tests.benchmarks.bench_import --rows 1000000 --kind pairs --format jsonl

``--format hub`` is a Parquet file that the real library streams in place of the Hub's.
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
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

from studio.config import ROOT

FORMATS = ("jsonl", "jsonl.gz", "json", "csv", "xlsx", "parquet", "hub")
#: Texts of a row, and the words in each: its rows take about 330, 190 and 420 bytes.
KINDS = {
    "pairs": {"prompt": 8, "chosen": 18, "rejected": 14},
    "answers": {"prompt": 8, "completion": 14, "label": 0},
    "dialogues": {"id": 1, "dialogue": 44, "summary": 5},
}


def made_rows(kind: str, count: int) -> Iterator[dict[str, str]]:
    """Rows that differ, all drawn from seed 0; of answers each second one is to the prompt before, and has the other label."""
    draw, words = random.Random(0), [f"word{number}" for number in range(2000)]
    row: dict[str, str] = {}
    for number in range(count):
        known = row if number % 2 and kind == "answers" else {}
        row = {name: f"{number}: {' '.join(draw.choices(words, k=k))}" for name, k in KINDS[kind].items()}
        if kind == "answers":
            row |= {"prompt": known.get("prompt", row["prompt"]), "label": ("true", "false")[number % 2]}
        yield row


def write(path: Path, kind: str, count: int) -> None:
    """The rows in the format that the name says."""
    fields, rows = list(KINDS[kind]), made_rows(kind, count)
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        with pyarrow.parquet.ParquetWriter(
            path, pyarrow.schema([(name, pyarrow.string()) for name in fields])
        ) as table:
            batch = []
            for row in rows:
                batch.append(row)
                if len(batch) == 10_000:
                    table.write_table(pyarrow.Table.from_pylist(batch, schema=table.schema))
                    batch.clear()
            if batch:
                table.write_table(pyarrow.Table.from_pylist(batch, schema=table.schema))
        return
    if path.suffix == ".xlsx":
        _write_sheet(path, [dict(zip(fields, fields, strict=True)), *rows])
        return
    opened: IO[str] = gzip.open(path, "wt", 1) if path.suffix == ".gz" else open(path, "w", newline="")  # noqa: SIM115
    with opened as out:
        if path.suffix == ".csv":
            table_writer = csv.DictWriter(out, fields)
            table_writer.writeheader()
            table_writer.writerows(rows)
        elif path.suffix == ".json":
            out.write("[")
            for number, row in enumerate(rows):
                out.write((",\n" if number else "") + json.dumps(row))
            out.write("]")
        else:
            out.writelines(json.dumps(row) + "\n" for row in rows)


def _write_sheet(path: Path, rows: list[dict[str, str]]) -> None:
    """As Excel writes it: each text once in a table of all texts, cells with their number there."""
    main, office = (
        "http://schemas.openxmlformats.org/" + end
        for end in ("spreadsheetml/2006/main", "officeDocument/2006/relationships")
    )
    package = "http://schemas.openxmlformats.org/package/2006"
    types = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    texts: dict[str, int] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
            f'relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="{types}.sheet.main+xml"/><Override '
            f'PartName="/xl/worksheets/sheet1.xml" ContentType="{types}.worksheet+xml"/><Override PartName="/xl/sharedStrings.xml" '
            f'ContentType="{types}.sharedStrings+xml"/></Types>',
        )
        for name, targets in (
            ("", {"officeDocument": "xl/workbook.xml"}),
            ("xl/", {"worksheet": "worksheets/sheet1.xml", "sharedStrings": "sharedStrings.xml"}),
        ):
            links = "".join(
                f'<Relationship Id="rId{n}" Type="{office}/{kind}" Target="{target}"/>'
                for n, (kind, target) in enumerate(targets.items(), 1)
            )
            file = "workbook.xml.rels" if name else ".rels"
            book.writestr(
                f"{name}_rels/{file}", f'<Relationships xmlns="{package}/relationships">{links}</Relationships>'
            )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        with book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(f'<worksheet xmlns="{main}"><sheetData>'.encode())
            for number, row in enumerate(rows, 1):
                cells = "".join(
                    f'<c r="{"ABC"[at]}{number}" t="s"><v>{texts.setdefault(text, len(texts))}</v></c>'
                    for at, text in enumerate(row.values())
                )
                sheet.write(f'<row r="{number}">{cells}</row>'.encode())
            sheet.write(b"</sheetData></worksheet>")
        with book.open("xl/sharedStrings.xml", "w", force_zip64=True) as table:
            table.write(f'<sst xmlns="{main}">'.encode())
            for text in texts:
                table.write(f"<si><t>{escape(text)}</t></si>".encode())
            table.write(b"</sst>")


def run(command: list[str], env: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, largest resident memory in MB (of the command or one of its children, not of both together), and what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        output.seek(0)
        told = output.read()
    assert status == 0 or "over the limit" in told or "MB of memory" in told, told
    return seconds, usage.ru_maxrss / 1000, f"{usage.ru_utime + usage.ru_stime:.1f} s of computing; {told}"


def main() -> None:
    """Measure one import, and what a form of it asks for: the list of datasets and the rows that a table shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kind", choices=tuple(KINDS), default="pairs")
    parser.add_argument("--format", choices=FORMATS, default="jsonl")
    parser.add_argument("--heldout", default="0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"many.{options.format.replace('hub', 'parquet')}"
        write(path, options.kind, options.rows)
        load = " ".join(f"{load:.1f}" for load in os.getloadavg())
        print(
            f"load {load}; {options.rows:,} {options.kind}, {path.stat().st_size / 1e6:.0f} MB {options.format}",
            flush=True,
        )
        env = {
            **os.environ,
            "STUDIO_DATA_ROOT": f"{folder}/root",
            "STUDIO_MAX_UPLOAD_MB": "4000",
            "STUDIO_MAX_ROWS": "2000000",
        }
        command = [sys.executable, "-m", "studio", "import", str(path), "--heldout", options.heldout]
        if options.format == "hub":
            command = [sys.executable, "-c", _HUB, str(path), options.heldout]
        seconds, peak, told = run(command, env)
        kept = sum(file.stat().st_size for file in Path(folder, "root").rglob("many*") if file.is_file())
        print(
            f"import: {seconds:.1f} s, {peak:.0f} MB at most; kept in {kept / 1e6:.0f} MB\n{told.strip()}", flush=True
        )
        if options.kind == "dialogues" or not kept:
            return
        seconds, peak, told = run([sys.executable, "-c", _FORM, "many"], env)
        print(f"form of 50 pairs, in a fresh process: {seconds:.1f} s, {peak:.0f} MB at most; {told.strip()}")


_HUB = """
import sys
import datasets, huggingface_hub
from studio.config import load_settings
from studio.services import build_services
from studio.services.data.datasets import ImportParts, counted
load = datasets.load_dataset
datasets.load_dataset = lambda dataset_id, name, split, streaming: load("parquet", data_files={"train": sys.argv[1]}, split=split, streaming=streaming)
huggingface_hub.HfApi.dataset_info = lambda self, dataset_id, timeout: None
done = build_services(load_settings()).datasets.import_hub("owner/many", parts=ImportParts(title="many", heldout_share=float(sys.argv[2])))
print(counted(done.dataset), *done.warnings)
"""

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
rows = services.align.preview_rated(form) or services.align.preview(form)
print(f"list {listed - began:.2f} s, {len(rows)} rows {time.monotonic() - listed:.2f} s")
"""


if __name__ == "__main__":
    main()
