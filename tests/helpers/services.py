"""Services over folders of a test's own, closed when it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.services import Services, build_services


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Settings whose written folders all lie under ``folder``; shipped data is the real one."""
    (folder / "adapters").mkdir()
    fields = {
        "adapters_dir": folder / "adapters",
        "imported_dir": folder / "imported",
        "models_dir": folder / "models",
        "base": "embedded",
        "cache_dir": folder / "cache",
        "database_url": f"sqlite:///{folder / 'studio.db'}",
        "device": "cpu",
        "train_threads": 1,
        "chat_threads": 1,
    }
    return Settings(**{**fields, **changes})


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """Services over ``settings``; at the end their threads end and what they hold is let go."""
    services = build_services(settings)
    try:
        yield services
    finally:
        for part in (
            services.evaluations,
            services.sources,
            services.scoring,
            services.compare,
            services.rating,
        ):
            part.close()
