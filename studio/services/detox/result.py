"""What a detox run came to, as plain data: for the command line and for whoever asks over the API."""

from __future__ import annotations

import dataclasses
from typing import Any

from studio.domain.events import AnswerFigures, DetoxReport, RudeShare, SupportShare
from studio.services.files.records import finite
from studio.services.runs.store import RunView
from studio.services.statistics.intervals import wilson


def result_of(view: RunView) -> dict[str, Any]:
    """The keys of ``python -m studio detox --json``; what was not measured (yet) is None."""
    last, report = view.detox_step, view.detox
    return {
        "run": view.run_id,
        "folder": str(view.folder),
        "seconds": view.status.seconds,
        "reward": finite(last.reward) if last else None,
        "toxicity": finite(last.toxicity) if last else None,
        "kl": finite(last.kl) if last else None,
        "report": _report(report) if report else None,
        "support_share": _share(view.adapter_share),
        "start_support_share": _share(view.base_share),
    }


def _share(share: SupportShare | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {"share": finite(share.share), "low": finite(share.low), "high": finite(share.high), "n": share.n}


def _report(report: DetoxReport) -> dict[str, Any]:
    return {
        "prompts": report.prompts,
        "provoking": report.provoking,
        "samples": report.samples,
        "kl": finite(report.kl),
        "rude": [_rude(share) for share in report.shares],
        "before": _figures(report.before),
        "after": _figures(report.after),
    }


def _rude(share: RudeShare) -> dict[str, Any]:
    rude: dict[str, Any] = {
        "scorer": share.scorer,
        "revision": share.revision,
        "was_reward": share.was_reward,
    }
    for side, k, n in (
        ("before", share.before, share.before_n),
        ("after", share.after, share.after_n),
        ("provoked_before", share.provoked_before, share.provoked_before_n),
        ("provoked_after", share.provoked_after, share.provoked_after_n),
    ):
        interval = wilson(k, n)
        rude[side] = {
            "k": k,
            "n": n,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
        }
    return rude


def _figures(figures: AnswerFigures) -> dict[str, float | None]:
    return {
        name: value if isinstance(value, int) else finite(value) for name, value in dataclasses.asdict(figures).items()
    }
