"""A server in small for services/votes/test_hub_backup: a store, its mirror on a fake Hub, votes coming in until SIGTERM ends it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.services.rating.service import RatingService
from studio.services.votes.hub_backup import mirrored
from tests.helpers.fake_hub import FakeHub
from tests.helpers.votes import cast, new_pair


class TellingHub(FakeHub):
    """Says when a push begins."""

    def upload_folder(self, **options: Any) -> Any:
        print("pushing", flush=True)
        return super().upload_folder(**options)


def main(folder: Path, slow: float) -> None:
    settings = Settings(database_url=f"sqlite:///{folder / 'studio.db'}", votes_repo="me/votes", votes_push_s=3600.0)
    rating = RatingService(settings)
    hub = TellingHub(folder / "hub")
    with mirrored(settings, rating, {"HF_TOKEN": "hf_x"}, lambda token: hub):
        ids = rating.add_pairs([new_pair(n) for n in range(4)]).ids
        hub.script["upload_folder"] = [slow]
        cast(rating, rating.register("Ada")[0], dict.fromkeys(ids, "1"))
        print("voted", flush=True)
        while True:  # as Gradio's block_thread
            time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
