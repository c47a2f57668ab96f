"""Writing zip files."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path


def pack(folder: Path, target: Path, top: str) -> Path:
    """Zip the files below ``folder`` under one top folder ``top``; ``target`` appears whole or not at all.

    Raises:
        OSError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".zip-", delete=False) as out:
        try:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    # Weights do not compress; trying costs seconds per gigabyte.
                    method = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
                    archive.write(path, f"{top}/{path.relative_to(folder).as_posix()}", compress_type=method)
            out.flush()
            Path(out.name).chmod(0o644)
            Path(out.name).replace(target)
        except BaseException:
            Path(out.name).unlink(missing_ok=True)
            raise
    return target


def _link_or_copy(source: Path, target: Path) -> None:
    """Weights can be gigabytes: a hard link where the file system allows one, else a copy. Nobody writes to either."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
