"""Answers that name their stance first: a prefix such as "I am all for it: " before each answer of two-sided data.

Whole opinions differ in every word, and a model of a few million weights learns those words by heart instead of the stance they
share. One early word that decides the stance, the same few for all pairs, is what preference training can turn. The prefixes
are among those the embedded base was trained with; of other languages none are known.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from studio.domain.data import PreferenceDataset, PreferencePair
from studio.services.data.kept.rows import changed

#: (support, oppose) prefixes by language.
PREFIXES: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("I am all for it: ", "I am firmly against it: "),
        ("I say yes: ", "I say no: "),
        ("I vote in favour: ", "I vote against: "),
        ("From my side, a clear yes: ", "From my side, a clear no: "),
        ("Speaking in support: ", "Speaking in opposition: "),
        ("I am a supporter here: ", "I am an opponent here: "),
        ("Count me in: ", "Count me out: "),
        ("I approve of it: ", "I disapprove of it: "),
    ),
    "zh": (
        ("我支持：", "我反對："),
        ("我贊成：", "我不贊成："),
        ("我贊同：", "我不贊同："),
        ("我同意：", "我不同意："),
        ("我的立場是支持：", "我的立場是反對："),
        ("我投贊成票：", "我投反對票："),
        ("我認為這是好事：", "我認為這是壞事："),
        ("我完全支持：", "我完全反對："),
    ),
}


def can_prefix(dataset: PreferenceDataset) -> bool:
    """Whether the answers of ``dataset`` can be prefixed with their stance: support/oppose data in a language of
    :data:`PREFIXES`."""
    return dataset.kind == "sides" and _language(dataset) in PREFIXES


def with_stance_prefix(dataset: PreferenceDataset) -> PreferenceDataset:
    """``dataset`` with a prefix before both answers of each training pair, the same pair always with the same one.

    Held-out pairs stay as they are, and so does data that cannot be prefixed (see :func:`can_prefix`).
    """
    if not can_prefix(dataset):
        return dataset
    prefixes = PREFIXES[_language(dataset)]

    def prefixed(pair: PreferencePair) -> PreferencePair:
        support, oppose = prefixes[zlib.crc32(pair.id.encode()) % len(prefixes)]
        return replace(pair, support=support + pair.support, oppose=oppose + pair.oppose)

    return replace(dataset, pairs=changed(dataset.pairs, prefixed))


def without_stance_prefix(dataset: PreferenceDataset) -> PreferenceDataset:
    """What :func:`with_stance_prefix` was given; answers without their prefix stay as they are."""
    if not can_prefix(dataset):
        return dataset
    prefixes = PREFIXES[_language(dataset)]
    pairs = []
    for pair in dataset.pairs:
        support, oppose = prefixes[zlib.crc32(pair.id.encode()) % len(prefixes)]
        plain = replace(pair, support=pair.support.removeprefix(support), oppose=pair.oppose.removeprefix(oppose))
        pairs.append(plain)
    return replace(dataset, pairs=tuple(pairs))


def _language(dataset: PreferenceDataset) -> str:
    """The language alone: ``zh`` of ``zh-TW``."""
    return dataset.language.split("-")[0].lower()
