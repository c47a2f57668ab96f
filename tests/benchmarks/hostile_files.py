"""Hostile files and bombs at every reader of uploads: peak memory above idle, seconds, and what a person is told.

    python tests/benchmarks/hostile_files.py [--seed 0] [--only NAME] [--json]

Each file is read by each path in a process of its own, as a server would: the memory is that process's and its children's
together, looked at a hundred times a second. Seconds are given by the clock, which other work on the machine lengthens, and of
computing. Wanted: at most 300 MB above idle, 5 s, one sentence.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

MB = 1 << 20
MOST_MB, MOST_S = 300, 5.0


# -- the files --------------------------------------------------------------------------------------------------------


def bombs() -> dict[str, Callable[[], bytes]]:
    """Name of the file -> what is in it; all small, all large once read."""
    import numpy
    import pyarrow

    def lists(count: int) -> Any:
        offsets = pyarrow.array([0, count], pyarrow.int32())
        return pyarrow.ListArray.from_arrays(offsets, pyarrow.nulls(count, pyarrow.string()))

    def dictionary(rows: int, characters: int) -> Any:
        return pyarrow.DictionaryArray.from_arrays(numpy.zeros(rows, dtype="int32"), pyarrow.array(["x" * characters]))

    def gz(begin: bytes, middle: bytes, end: bytes, megabytes: int) -> bytes:
        return gzip.compress(begin + middle * (megabytes * MB // len(middle)) + end)

    return {
        "dictionary.parquet": lambda: _parquet({"prompt": dictionary(6_000_000, 1_000)}),
        "wide-dictionary.parquet": lambda: _parquet({"prompt": dictionary(150_000, 1_000_000)}),
        "nested-nulls.parquet": lambda: _parquet({"prompt": lists(100_000_000)}),
        "nulls.parquet": lambda: _parquet({"prompt": pyarrow.nulls(50_000_000, pyarrow.string())}),
        "long-value.parquet": lambda: _parquet({"prompt": ["x" * 250 * MB]}),
        "lying.parquet": lambda: _lying_parquet(lists(20_000_000)),
        "lists.json.gz": lambda: gz(b"[", b"[],", b"[]]", 100),
        "lists-in-one.json.gz": lambda: gz(b'[{"prompt":[', b"[],", b"[]]}]", 100),
        "objects.jsonl.gz": lambda: gz(b"", b'{"":[{}]}\n', b"", 100),
        "rows.json.gz": lambda: gz(b"[", b'{"prompt":"a","chosen":"b","rejected":"c"},', b"1]", 300),
        "columns.json.gz": lambda: gz(b'{"prompt":[', b"[],", b"[]]}", 100),
        "text.txt.gz": lambda: gz(b"", b"x", b"", 500),
        "text.csv.gz": lambda: gz(b"prompt,chosen,rejected\n", b"x", b"", 500),
        "commas.csv.gz": lambda: gz(b"prompt,chosen,rejected\n", b",", b"", 500),
        "quoted.csv.gz": lambda: gz(b'prompt,chosen,rejected\n"', b"x\n", b'"', 500),
        "emoji.jsonl.gz": lambda: gz(b"", b'{"prompt":"' + b"x" * 4_000 + '😀"}\n'.encode(), b"", 190),
        "members.jsonl.gz": lambda: gzip.compress(b"") * 240_000,
        "twice.gz.jsonl": lambda: gzip.compress(gzip.compress(b"[]," * 30 * MB)),
        "names.csv": lambda: ",".join(f"n{n}" for n in range(90_000)).encode(),
        "names.jsonl": lambda: b"{" + b",".join(b'"n%d":1' % n for n in range(300_000)) + b"}",
        "strings.xlsx": lambda: _xlsx({"xl/sharedStrings.xml": b"<sst>" + b"<si><t/></si>" * (180 * MB // 13) + b"</sst>"}),
        "rows.xlsx": lambda: _xlsx({"xl/worksheets/sheet1.xml": _SHEET % (b'<row><c t="str"><v>a</v></c></row>' * 4_000_000)}),
        "far-row.xlsx": lambda: _xlsx({"xl/worksheets/sheet1.xml": _SHEET % b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'}),
        "laughs.xlsx": lambda: _xlsx({"xl/worksheets/sheet1.xml": _LAUGHS + _SHEET % b'<row><c t="str"><v>&j;</v></c></row>'}),
    }  # fmt: skip


def oddities(seed: int) -> dict[str, bytes]:
    """Small files that are broken in ways people and attackers break them: by hand, and by seeded damage to sound ones."""
    deep = 100_000
    made = {
        "deep.json": b"[" * deep,
        "deep-closed.json": b"[" * deep + b"]" * deep,
        "deep-objects.jsonl": b'{"a":' * deep,
        "deep-900.json": b"[" + b"[" * 900 + b"]" * 900 + b"]",
        "deep-cell.csv": b"prompt,chosen,rejected\na,b," + b"[{" * 50_000,
        "deep-whole-cell.csv": b'prompt,chosen,rejected\na,b,"' + b'[{""a"":' * 50_000 + b"1" + b"}]" * 50_000 + b'"\n',
        "half.json": b'[{"prompt":"\\ud83d","chosen":"a","rejected":"b"}]',
        "half-name.json": b'[{"\\ud83d":"x","prompt":"q","chosen":"a","rejected":"b"}]',
        "half-cell.csv": b'prompt,chosen,rejected\nq,a,"[{""role"":""assistant"",""content"":""\\ud83d""}]"\n',
        "digits.json": b"[" + b"1" * 100_000 + b"]",
        "exponent.json": b'[{"prompt":1e999999,"chosen":"a","rejected":"b"}]',
        "nan.json": b'[{"prompt":NaN,"chosen":"a","rejected":"b"}]',
        "twice.json": b'[{"prompt":"a","prompt":"b","chosen":"c","rejected":"d"}]',
        "twice.csv": b"prompt,prompt,chosen,rejected\na,b,c,d\n",
        "id.json": b'[{"id":[1],"prompt":"q","chosen":"a","rejected":"b"}]',
        "empty.json": b"", "space.json": b" " * MB, "null.json": b"null", "word.json": b"tru", "string.json": b'"' + b"x" * MB,
        "zero.csv": b"\0" * MB, "zero-in.csv": b"prompt,chosen,rejected\na,\0,c\n", "return.csv": b"prompt\rchosen\rrejected\r",
        "quote.csv": b'"' * MB, "crlf.csv": b"\r\n" * MB, "one-line.csv": b"a," * (2 * MB), "lines.txt": b"a\n" * (2 * MB),
        "utf16.json": "[]".encode("utf-16"), "utf16-odd.csv": "prompt\nü".encode("utf-16") + b"\xd8", "utf32.csv": "prompt\na".encode("utf-32"),
        "latin.csv": "prompt,chosen,rejected\nü,ö,ä\n".encode("latin-1"), "marks.json": b"\xef\xbb\xbf" * 9 + b"[]",
        "separator.json": "[\"\u2028\x85\"]".encode(), "not.parquet": b"PAR1" + b"\xff" * 4_096 + b"PAR1", "not.xlsx": b"PK\x03\x04" + b"\0" * 4_096,
        "not.json.gz": b"\x1f\x8b" + b"\0" * 4_096, "zip.csv": _zip({"a.csv": b"prompt\na\n"}), "pickle.jsonl": b"\x80\x04cos\nsystem\n.",
        "script.txt": b"<script>alert(1)</script>\n", "formula.csv": b"prompt,chosen,rejected\n=cmd|' /C calc'!A0,a,b\n",
        "nested.json": b'{"train":{"train":{"train":[]}}}', "mixed.json": b'[1,"a",null,{"prompt":"q"},[[]]]', "trailing.json": b"[],[]",
    }  # fmt: skip
    rng = random.Random(seed)
    sound = _sound()
    while len(made) < 147:
        name = rng.choice(sorted(sound))
        stem, suffix = name.split(".", 1)
        made[f"{stem}-{len(made)}.{suffix}"] = _damaged(sound[name], rng)
    return made


def _sound() -> dict[str, bytes]:
    rows = [{"id": n, "prompt": f"question {n}?", "chosen": "yes " * 20, "rejected": "no " * 20} for n in range(40)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    sheet = "".join(f'<row><c t="str"><v>{n}</v></c></row>' for n in range(30)).encode()
    return {
        "damaged.json": json.dumps(rows).encode(),
        "damaged.jsonl": text,
        "damaged.csv": b"id,prompt,chosen,rejected\n" + b"".join(b'%d,"q",a,b\n' % n for n in range(40)),
        "damaged.jsonl.gz": gzip.compress(text),
        "damaged.parquet": _parquet({name: [row[name] for row in rows] for name in rows[0]}),
        "damaged.xlsx": _xlsx({"xl/worksheets/sheet1.xml": _SHEET % sheet}),
    }


def _damaged(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(made))
        kind = rng.randrange(5)
        if kind == 0:
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            made[at : at + rng.randrange(64)] = rng.randbytes(rng.randrange(64))
        elif kind == 2:
            del made[at : at + rng.randrange(1, 200)]
        elif kind == 3:
            made[at:at] = made[at : at + 64] * rng.randrange(1, 2_000)
        else:
            made[at : at + 4] = b"\xff\xff\xff\x7f"
        made = made or bytearray(b"x")
    return bytes(made)


def _parquet(table: dict[str, Any]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(table), out, compression="zstd")
    return out.getvalue()


def _lying_parquet(column: Any) -> bytes:
    """Its description says that a row group holds a hundred values; the pages hold millions."""
    data = bytearray(_parquet({"prompt": column}))
    size = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - size : -8]
    for number in (len(column.values),):
        coded = bytearray()
        zigzag = number << 1
        while zigzag > 127:
            coded.append(zigzag & 127 | 128)
            zigzag >>= 7
        coded.append(zigzag)
        small = bytearray([200, *([128] * (len(coded) - 2)), 0])
        small[0] |= 128
        footer = footer.replace(bytes(coded), bytes(small))
    return bytes(data[: -8 - size] + footer + data[-8:])


_SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
_LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 12) for c in range(ord("b"), ord("k")))
    + b"]>"
)


def _xlsx(parts: dict[str, bytes]) -> bytes:
    import openpyxl

    out = io.BytesIO()
    book = openpyxl.Workbook()
    book.active["A1"] = "prompt"
    book.save(out)
    with zipfile.ZipFile(out) as sound:
        whole = {name: sound.read(name) for name in sound.namelist()}
    return _zip(whole | parts)


def _zip(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return out.getvalue()


# -- the readers ------------------------------------------------------------------------------------------------------


def readers(scratch: Path) -> dict[str, Callable[[Path], Any]]:
    """Every way a file from a page takes, as its handler calls it."""
    from studio.config import Settings
    from studio.services.data.datasets import DatasetService
    from studio.services.data.formats import read_document, read_prompts
    from studio.services.data.prompts import bounded_prompts, prompts_from_file
    from studio.services.rating.pair_files import read_comparisons
    from studio.services.votes.read_export import read_votes

    settings = Settings(data_dir=scratch / "data", imported_dir=scratch / "imported")
    datasets = DatasetService(settings)
    most = settings.max_upload_mb * 1_000_000
    return {
        "compare prompts": lambda path: bounded_prompts(path, of_visitor=True),
        "own prompts": lambda path: prompts_from_file(path, of_visitor=True),
        "prompts, command line": lambda path: prompts_from_file(path),
        "import": datasets.import_file,
        "test prompts": lambda path: read_prompts(path, most),
        "pairs": lambda path: read_comparisons(read_document(path, most), path.name),
        "votes": lambda path: read_votes(path, most),
    }


def read_one(reader: str, path: Path, scratch: Path, told: Any) -> None:
    """In a process of its own: read, and send what a person would be told."""
    from studio.errors import StudioError

    read = readers(scratch)[reader]
    import numpy  # noqa: F401  what a server has loaded anyway
    import pyarrow.parquet  # noqa: F401

    told.send("ready")
    told.recv()
    began, computed = time.monotonic(), _computed()
    try:
        read(path)
        end = ("read", "")
    except StudioError as error:
        end = ("refused", str(error))
    except BaseException:
        end = ("broke", traceback.format_exc())
    told.send((time.monotonic() - began, _computed() - computed, *end))


def _computed() -> float:
    """Seconds of computing of this process and its children that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(spent.ru_utime + spent.ru_stime for spent in times)


def measured(reader: str, path: Path, scratch: Path) -> dict[str, Any]:
    """What one reader makes of one file."""
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload(
        ["studio.services.data.datasets", "studio.services.votes.read_export", "numpy", "pyarrow.parquet"]
    )
    here, there = warm.Pipe()
    child = warm.Process(target=read_one, args=(reader, path, scratch, there))
    child.start()
    here.recv()
    process = psutil.Process(child.pid)
    idle = peak = _memory(process)
    here.send("go")
    began = time.monotonic()
    while not here.poll(0.01) and child.is_alive() and time.monotonic() - began < 120:
        peak = max(peak, _memory(process))
    lost = (time.monotonic() - began, 0.0, "broke", "killed")
    seconds, cpu, end, sentence = here.recv() if here.poll() else lost
    child.kill()
    child.join()
    return {
        "file": path.name,
        "reader": reader,
        "mb": (peak - idle) / MB,
        "s": seconds,
        "cpu": cpu,
        "end": end,
        "sentence": sentence,
    }


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def files(seed: int, only: str) -> Iterator[tuple[str, bytes]]:
    """All of them, one after the other, as some are large while they are made."""
    for name, make in bombs().items():
        if only in name:
            yield name, make()
    for name, data in oddities(seed).items():
        if only in name:
            yield name, data


def main() -> int:
    """Print a table of the worst, and a line of sums; exit code 1 where a bound was not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose name holds this")
    parser.add_argument("--reader", default="", help="readers whose name holds this")
    parser.add_argument("--bombs", action="store_true", help="only the bombs")
    parser.add_argument("--json", action="store_true", help="every measurement as a line of JSON")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        scratch = Path(name)
        (scratch / "data").mkdir()
        names = [reader for reader in readers(scratch) if options.reader in reader]
        bomb_names = bombs()
        for file, data in files(options.seed, options.only):
            if options.bombs and file not in bomb_names:
                continue
            path = scratch / file
            path.write_bytes(data)
            del data
            for reader in names:
                found = measured(reader, path, scratch)
                found["bomb"] = file in bomb_names
                results.append(found)
                if options.json:
                    print(json.dumps(found), flush=True)
            path.unlink()
    _report(results)
    return int(any(_bad(found) for found in results))


def _bad(found: dict[str, Any]) -> bool:
    one = "\n" not in found["sentence"] and len(found["sentence"]) < 600
    return found["mb"] > MOST_MB or found["s"] > MOST_S or found["end"] == "broke" or not one


def _report(results: list[dict[str, Any]]) -> None:
    print(
        f"{'reader':<22} {'kind':<6} {'files':>5} {'peak MB':>8} {'s':>6} {'cpu s':>6} {'read':>5} {'refused':>7} {'broke':>5}  worst"
    )
    for reader in dict.fromkeys(found["reader"] for found in results):
        for bomb in (True, False):
            own = [found for found in results if found["reader"] == reader and found["bomb"] == bomb]
            if not own:
                continue
            ends = [sum(found["end"] == end for found in own) for end in ("read", "refused", "broke")]
            most, slow = max(own, key=lambda f: f["mb"]), max(own, key=lambda f: f["cpu"])
            longest = max(found["s"] for found in own)
            print(
                f"{reader:<22} {'bombs' if bomb else 'odd':<6} {len(own):>5} {most['mb']:>8.0f} {longest:>6.1f} {slow['cpu']:>6.1f} "
                f"{ends[0]:>5} {ends[1]:>7} {ends[2]:>5}  {most['file']}, {slow['file']}"
            )
    for found in filter(_bad, results):
        print(
            f"OVER {found['file']} by {found['reader']}: {found['mb']:.0f} MB, {found['s']:.1f} s ({found['cpu']:.1f} of computing), {found['end']} {found['sentence'][-400:]}"
        )


if __name__ == "__main__":
    sys.exit(main())
