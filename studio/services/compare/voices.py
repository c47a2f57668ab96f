"""Who answers in panes: the base of each, and the folders of the adapters. Bases that are not in memory are loaded as they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from studio.config import Settings
from studio.domain.bases import EMBEDDED
from studio.domain.chat import is_base, named_base
from studio.errors import InputError, ModelLoadError, NotAllowedError, StudioError
from studio.ml.chat.answerer import Answerer
from studio.ml.chat.bases import MAX_ADAPTERS, no_room
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.request import BaseSource
from studio.services.lineage.steps import adapter_folder, split_step
from studio.services.lineage.vector import made_vector
from studio.services.models.service import ModelService, Progress
from studio.services.runs.store import RunStore, RunView


class Voices:
    """Safe to use from many threads. ``may_load`` tells whether who asks now may have another base loaded; the page sets it."""

    def __init__(self, settings: Settings, runs: RunStore, models: ModelService, engine: Answerer) -> None:
        self._settings = settings
        self._runs = runs
        self._models = models
        self._engine = engine
        self.may_load: Callable[[], bool] = lambda: True

    def prepare(self, pane_ids: Sequence[str], base: str) -> tuple[dict[str, BaseSource], dict[str, Path]]:
        """The base of each pane, and the folder of each adapter. The plain base pane takes the base of the first adapter; ``base``
        where there is none (empty: the one that forms begin with).

        Raises:
            InputError: no pane, too many adapters, a base that is none; several bases where a server answers.
            NotAllowedError: who asks may not have a base loaded, and one is not in memory.
            NotFoundError, ConflictError, ModelLoadError: as :meth:`studio.services.compare.service.CompareService.stream`.
        """
        if not pane_ids:
            raise InputError("There is no pane to answer.")
        named = {pane: split_step(pane) for pane in dict.fromkeys(pane_ids) if not is_base(pane)}
        if len(named) > MAX_ADAPTERS:
            raise InputError(f"{len(named)} adapters at once are too many; {MAX_ADAPTERS} fit.")
        runs = {run_id: self._runs.get(run_id) for run_id, _ in named.values()}
        folders = {p: adapter_folder(runs[r], step) for p, (r, step) in named.items() if not isinstance(step, str)}
        shared = next((run.recipe.base.id for run in runs.values()), base or self._models.default_base())
        ids = {
            pane: runs[named[pane][0]].recipe.base.id if pane in named else named_base(pane) or shared
            for pane in dict.fromkeys(pane_ids)
        }
        sources = {model_id: self._checked(model_id, list(runs.values())) for model_id in self._allowed(ids.values())}
        for pane in named.keys() - folders.keys():
            if not isinstance(self._engine, ChatEngine):
                raise InputError(
                    "The server that answers (STUDIO_CHAT_URL) adds no steering vectors; choose an adapter."
                )
            run = runs[named[pane][0]]
            folders[pane] = made_vector(self._settings, self._engine, sources[run.recipe.base.id], self._runs, run)
        return {pane: sources[model_id] for pane, model_id in ids.items()}, folders

    def source(self, model_id: str, load_in_4bit: bool, progress: Progress | None = None) -> BaseSource:
        """A base to load; downloaded if it has to be.

        Raises:
            InputError, ModelLoadError: as :meth:`ModelService.resolve`.
        """
        ref, path = self._models.resolve(model_id, progress)
        return BaseSource(ref, path, load_in_4bit)

    def here(self, base: str) -> bool:
        """Whether a base is on this machine."""
        try:
            return self._models.info(base).cached
        except StudioError:  # none, or a folder that is gone
            return False

    def closed(self, base: str) -> str:
        """Why who asks now cannot have a base answer: it would have to be loaded; empty where they can. What ships with the studio and
        what forms begin with is for everybody."""
        if base in (EMBEDDED, self._models.default_base(), *self._engine.held()) or self.may_load():
            return ""
        if (
            self._settings.chat_url and self._models.info(base).cached
        ):  # the server has it in its own memory, or refuses it
            return ""
        return f"{base} is not in memory; loading another base needs the operator's password (top right)."

    def room(self, base: str) -> tuple[str, bool]:
        """What loading a base on this machine takes, in one sentence, and whether it fits; empty where it is in memory, and where that
        cannot be told."""
        try:
            info = self._models.info(base)
            room = self._engine.room(self.source(base, info.load_in_4bit)) if info.cached else None
        except StudioError:  # the base is gone; asking will say so
            room = None
        if room is None or base in self._engine.held():
            return "", True
        if not room.fits:
            return no_room(base, room), False
        said = [f"{base} is not in memory yet: it takes about {room.needs_mb:,} MB, {room.free_mb:,} MB are free."]
        if room.goes:
            said.append(f"{', '.join(room.goes)} leaves memory for it.")
        return " ".join(said), True

    def _allowed(self, model_ids: Iterable[str]) -> list[str]:
        """The bases of a request, each once."""
        bases = list(dict.fromkeys(model_ids))
        if len(bases) > 1 and self._settings.chat_url:
            raise InputError(
                f"The server that answers (STUDIO_CHAT_URL) holds one base, and these panes need {', '.join(bases)}; show one base at a time."
            )
        for base in bases:
            if why := self.closed(base):
                raise NotAllowedError(why)
        return bases

    def _checked(self, model_id: str, runs: Sequence[RunView]) -> BaseSource:
        """A base, where it is still the one that those of ``runs`` were trained on that are of it."""
        own = [run for run in runs if run.recipe.base.id == model_id]
        settings = [run.recipe.settings for run in own]
        in_4bit = any(s and s.load_in_4bit for s in settings) if own else self._models.info(model_id).load_in_4bit
        source = self.source(model_id, in_4bit)
        for run in own:
            trained_on = run.recipe.base.fingerprint
            if trained_on and trained_on != source.ref.fingerprint:
                raise ModelLoadError(
                    f"Run {run.run_id} was trained on another state of {model_id} ({trained_on[:12]}, here is "
                    f"{source.ref.fingerprint[:12]}), so its adapter does not fit. Train it anew."
                )
        return source
