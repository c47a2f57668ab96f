"""What a person can do, as plain Python: no gradio, no torch at import.

:class:`Services` is the one object the interface and the command line are built from. Nothing here is a module global: two
sets of services with different settings live side by side.

One package (or module) per feature; an import goes to the left only, never to a neighbour in the same group::

    files texts template_words strength wording statistics access recipes lessons glossary < hub < data runs < models jobs lineage
    < align compare scoring < words stage steering sweeps rating evaluations detox < votes < reward pages < library < worker < cluster
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from studio.config import Settings
from studio.errors import ChatServerError, StudioError

if TYPE_CHECKING:
    from studio.services.access import Gate
    from studio.services.align.service import AlignService
    from studio.services.compare.draws import DrawService
    from studio.services.compare.service import CompareService
    from studio.services.data.datasets import DatasetService
    from studio.services.detox.service import DetoxService
    from studio.services.evaluations.service import EvaluationService
    from studio.services.library.service import LibraryService
    from studio.services.models.background import BaseFetches
    from studio.services.models.service import ModelService
    from studio.services.rating.pair_sources import PairSourceService
    from studio.services.rating.rooms import RoomService
    from studio.services.rating.service import RatingService
    from studio.services.rating.thumbs import ThumbService
    from studio.services.reward.best_of import BestOfService
    from studio.services.reward.service import RewardService
    from studio.services.runs.queue import RunQueue
    from studio.services.runs.store import RunStore
    from studio.services.scoring.service import ScoringService
    from studio.services.steering import SteeringService
    from studio.services.sweeps.blend import BlendService
    from studio.services.sweeps.service import SweepService
    from studio.services.votes.hub_backup import VoteMirror
    from studio.services.worker.lent import LentTrainer

log = logging.getLogger(__name__)

#: How often a server tells the trainer that it is still wanted.
KEEPALIVE_S = 10.0


@dataclass
class Services:
    """Everything the page and the command line call."""

    settings: Settings
    gate: Gate
    datasets: DatasetService
    runs: RunStore
    queue: RunQueue
    models: ModelService
    fetches: BaseFetches
    align: AlignService
    compare: CompareService
    draws: DrawService
    library: LibraryService
    rating: RatingService
    rooms: RoomService
    thumbs: ThumbService
    sources: PairSourceService
    reward: RewardService
    best_of: BestOfService
    scoring: ScoringService
    evaluations: EvaluationService
    detox: DetoxService
    sweeps: SweepService
    blends: BlendService
    steering: SteeringService
    #: The copy of the votes on the Hub; a server sets it where the settings ask for one.
    mirror: VoteMirror | None = None
    #: Carries the runs out where the GPU is lent (ZeroGPU).
    lent: LentTrainer | None = None
    _left: threading.Event = field(default_factory=threading.Event)

    def warm_up(self) -> None:
        """Start the trainer, so that the first click on *Train* finds it warm, and keep it so for as long as this
        process lives; load the chat engine's base. Blocks: servers call it in a daemon thread once the port is bound."""
        from studio.services.files.leftovers import clear_leftovers
        from studio.services.recipes.queue import ensure_trainer

        clear_leftovers(self.settings)
        engine = threading.Thread(target=self._warm_engine, name="warm-engine", daemon=True)
        while True:
            try:
                ensure_trainer(self.settings)
                if self.lent:
                    self.lent.ensure()
            except OSError as error:  # a full or read-only folder; it may be mended while this lives
                log.warning("the trainer could not be kept alive, trying again in %.0f s: %s", KEEPALIVE_S, error)
            if engine.ident is None:
                engine.start()
                self.fetch_default_base()
            if self._left.wait(KEEPALIVE_S):
                return

    def leave(self) -> None:
        """This server ends: the trainer is kept warm no more, and ends as well unless it has a run to work on; a base is fetched no
        further; a server that answers forgets the adapters."""
        from studio.services.recipes.queue import release_trainer

        self._left.set()
        self.compare.leave()
        release_trainer(self.settings)
        self.fetches.leave()  # last: it may be waited for

    def fetch_default_base(self) -> None:
        """Begin to fetch the base that ``STUDIO_BASE`` names, where it is not on this machine; once it is, the chat engine
        loads it."""
        wanted = self.settings.base
        try:
            if self.models.default_base() == wanted:
                return
            self.fetches.start(wanted, done=self._warm_engine)
        except (StudioError, OSError) as error:
            log.warning("the default base is not fetched: %s", error)
            self.fetches.report(wanted, str(error))

    def _warm_engine(self) -> None:
        try:
            self.compare.warm_up()
        except ChatServerError as error:
            log.warning("nobody answers yet: %s", error)
        except Exception:
            # The page works without it; the first question will say what is wrong.
            log.exception("the chat engine did not warm up")


def build_services(settings: Settings) -> Services:
    """Join the services. Imports no torch, starts nothing, touches no file."""
    from studio.services.access import Gate
    from studio.services.align.service import AlignService
    from studio.services.compare.draws import DrawService
    from studio.services.compare.service import CompareService
    from studio.services.data.datasets import DatasetService
    from studio.services.detox.service import DetoxService
    from studio.services.evaluations.service import EvaluationService
    from studio.services.library.service import LibraryService
    from studio.services.models.background import BaseFetches
    from studio.services.models.service import ModelService
    from studio.services.rating.pair_sources import PairSourceService
    from studio.services.rating.rooms import RoomService
    from studio.services.rating.service import RatingService
    from studio.services.rating.thumbs import ThumbService
    from studio.services.reward.best_of import BestOfService
    from studio.services.reward.service import RewardService
    from studio.services.runs.queue import RunQueue
    from studio.services.runs.store import RunStore
    from studio.services.scoring.service import ScoringService
    from studio.services.steering import SteeringService
    from studio.services.sweeps.blend import BlendService
    from studio.services.sweeps.service import SweepService
    from studio.store.database import Database

    database = Database(settings.store_url)
    datasets, runs, models = DatasetService(settings), RunStore(settings), ModelService(settings)
    queue = RunQueue(settings, runs)
    align = AlignService(datasets, runs, models, queue)
    compare = CompareService(settings, runs, models)
    rating = RatingService(settings, database)
    rooms = RoomService(rating)
    sources = PairSourceService(settings, rooms, compare, runs, datasets)
    reward = RewardService(datasets, runs, models, queue, align, rooms)
    scoring = ScoringService(settings, runs, models, compare.threads)
    library = LibraryService(settings, runs, models, compare, scoring)
    evaluations = EvaluationService(settings, runs, compare, scoring, database)
    detox = DetoxService(datasets, runs, models, queue, scoring)
    sweeps = SweepService(settings, runs, queue, align)
    blends = BlendService(runs, compare, sweeps)
    lent = None
    if queue.lent:
        from studio.services.worker.lent import LentCompute, LentTrainer

        lent = LentTrainer(settings, LentCompute(settings, asker=queue.asker))
    return Services(
        settings,
        Gate(settings),
        datasets,
        runs,
        queue,
        models,
        BaseFetches(models),
        align,
        compare,
        DrawService(compare, runs),
        library,
        rating,
        rooms,
        ThumbService(rating),
        sources,
        reward,
        BestOfService(runs, models, compare, scoring),
        scoring,
        evaluations,
        detox,
        sweeps,
        blends,
        SteeringService(runs, compare),
        lent=lent,
    )
