"""Writing zip files."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from studio.services.files.atomic import replacing


def pack(folder: Path, target: Path, top: str) -> Path:
    """Zip the files below ``folder`` under one top folder ``top``; ``target`` appears whole or not at all.

    Raises:
        OSError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            # Weights do not compress; trying costs seconds per gigabyte.
            method = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
            archive.write(path, f"{top}/{path.relative_to(folder).as_posix()}", compress_type=method)
    return target


def link_or_copy(source: Path, target: Path) -> None:
    """Weights can be gigabytes: a hard link where the file system allows one, else a copy. Nobody writes to either."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
