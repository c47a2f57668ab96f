"""Which base of this studio an adapter from elsewhere belongs to: its config names a Hub id, a folder of another machine
(Windows, Colab, a cache), or a quantised copy of the base."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from studio.config import Settings
from studio.domain.bases import KNOWN_BASES, hub_id
from studio.domain.runs import BaseModelRef
from studio.errors import InputError
from studio.services.hub import is_hub_id
from studio.services.library.adapter_files import AdapterFacts, check_fits
from studio.services.models.service import ModelService

_QUANTISED = re.compile(
    r"(?:-unsloth)?-bnb-[48]bit$|-(?:4|8)bit$|-(?:GPTQ|AWQ)(?:-Int[48]|-[48]bit)?$|-(?:int[48]|nf4|fp8)$", re.IGNORECASE
)
#: A folder of the Hub's cache.
_CACHED = re.compile(r"(?:^|/)models--([^/]+?)--([^/]+)(?:/|$)")
_NAME_IT = "name the right one beside the upload (--base on the command line)"


@dataclass(frozen=True)
class Match:
    """The base an adapter belongs to; ``folder`` is None where it is not on this machine yet. ``warnings`` are sentences."""

    ref: BaseModelRef
    folder: Path | None
    warnings: tuple[str, ...] = ()


def find_base(name: str, fingerprint: str, facts: AdapterFacts, models: ModelService, settings: Settings) -> Match:
    """Which base of this studio an adapter belongs to: by fingerprint where it has one, else by name, else by the last part of
    its name; and its layers' shapes must fit in any case. A Hub model that is not downloaded yet is accepted with a warning.

    Raises:
        InputError: none here is that base, or the shapes say it was made for another.
        ModelLoadError: a base's folder is broken.
    """
    if not name:
        raise InputError(
            "The adapter does not say which base model it belongs to; name the base beside the upload (--base on the command line)."
        )
    hub_name, last = _spelled(name)
    listed = [info.id for info in models.catalogue() if info.cached]
    exact = [i for i in listed if name in (i, hub_id(i)) or hub_name in (i, hub_id(i))]
    if hub_name and hub_name not in listed and models.info(hub_name).cached:
        exact.append(hub_name)
    alike = [i for i in _alike(last, listed) if i not in exact]
    if fingerprint:
        for candidate in [*exact, *alike, *(i for i in listed if i not in (*exact, *alike))]:
            ref, folder = models.resolve(candidate)
            if ref.fingerprint == fingerprint:
                check_fits(facts.modules, folder, last)
                return Match(ref, folder)
    elif exact:
        ref, folder = models.resolve(exact[0])
        check_fits(facts.modules, folder, last)
        return Match(ref, folder)
    unfit: InputError | None = None
    for candidate in [] if fingerprint else alike:
        ref, folder = models.resolve(candidate)
        try:
            check_fits(facts.modules, folder, last)
        except InputError as error:
            unfit = unfit or error
            continue
        return Match(ref, folder, (_by_its_name(name, ref.id),))
    if exact or (alike and not hub_name and fingerprint):
        raise InputError(
            f"This adapter was made for another version of the base {last!r} than the one here (fingerprint "
            f"{fingerprint[:12]}… is not among the bases of this studio)."
        )
    if hub_name and not (unfit and _plain(last) != last):  # a quantised copy has its original's layers
        return _not_here(name, hub_name, last, fingerprint, facts)
    if unfit is not None:
        raise unfit
    raise InputError(
        f"The adapter's base model {last[:120]!r} is not among the bases of this studio. Put its folder into "
        f"{settings.models_dir.name}/ or name the base beside the upload (--base on the command line)."
    )


def _spelled(name: str) -> tuple[str, str]:
    """The Hub id that a name is or that a folder of the Hub's cache stands for, else nothing; and its last part, however the
    machine it comes from writes paths."""
    path = name.strip().replace("\\", "/").rstrip("/")
    cached = _CACHED.search(path)
    if cached:
        path = f"{cached[1]}/{cached[2]}"
    last = path.rsplit("/", 1)[-1].replace("___", ".")  # as ModelScope's cache writes a dot
    return (path if is_hub_id(path) else ""), last or path


def _plain(last: str) -> str:
    """A base's name without what says that its weights are quantised."""
    return _QUANTISED.sub("", last)


def _alike(last: str, bases: Iterable[str]) -> list[str]:
    """The bases of that name, wherever they lie and whoever published them; before those, none of the plain name if the name is
    a quantised copy's."""
    bases = list(bases)

    def called(name: str) -> list[str]:
        return [i for i in bases if name.casefold() in {part.rsplit("/", 1)[-1].casefold() for part in (i, hub_id(i))}]

    return list(dict.fromkeys([*called(last), *called(_plain(last))]))


def _by_its_name(name: str, taken: str) -> str:
    last = _spelled(name)[1]
    fact = f"The adapter names its base {name[:200]}; {Path(taken).name if Path(taken).is_absolute() else taken} was taken for it: "
    if _plain(last) != last:
        return (
            f"{fact}the same model with plain weights, whose layers fit. It was trained on quantised weights, so answers here "
            f"can differ slightly from those it gave there. If that is wrong, {_NAME_IT}."
        )
    return f"{fact}a base of the same name whose layers fit. If that is wrong, {_NAME_IT}."


def _not_here(name: str, hub_name: str, last: str, fingerprint: str, facts: AdapterFacts) -> Match:
    plain = hub_name.removesuffix(last) + _plain(last)
    known = _alike(last, [base.id for base in KNOWN_BASES])
    target = known[0] if known and plain != hub_name else plain
    ref = BaseModelRef(target, facts.revision if target == name else "", fingerprint)
    warning = f"Its base {target} is not on this machine yet, so whether it fits is only seen when it is first used."
    return Match(
        ref,
        None,
        (warning,) if target == name else (_by_its_name(name, target).replace(", whose layers fit", ""), warning),
    )
