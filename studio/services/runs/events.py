"""What a run's worker appended: events, film-strip, log. Read incrementally, only complete lines."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from studio.domain.events import (
    DetoxEvent,
    DetoxReport,
    MeasureEvent,
    ProbeEvent,
    RewardReport,
    SampleEvent,
    StepEvent,
    SupportShare,
    TranscriptEvent,
    WeightChange,
)
from studio.services.files.plain import plain_file
from studio.services.files.records import decode_line, parse_line, read_lines

Event = StepEvent | ProbeEvent | MeasureEvent | RewardReport | DetoxEvent | DetoxReport | WeightChange
#: Told at a run's end: a step repeated after a resume does not replace them, their own repetition does.
_AT_THE_END = (MeasureEvent, RewardReport, DetoxReport, WeightChange)
E = TypeVar("E", StepEvent, ProbeEvent, DetoxEvent)
S = TypeVar("S", SampleEvent, TranscriptEvent)

#: Kinds of lines by what they call themselves: those of ``events.jsonl`` and those of ``samples.jsonl``.
EVENT_KINDS: dict[str, Any] = {
    kind.type: kind
    for kind in (StepEvent, ProbeEvent, MeasureEvent, RewardReport, DetoxEvent, DetoxReport, WeightChange)
}
SAMPLE_KINDS: dict[str, Any] = {kind.type: kind for kind in (SampleEvent, TranscriptEvent)}
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOG_BYTES = 65536


def read_events(folder: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Events from byte ``offset`` on, oldest first, and the offset to ask from next time."""
    lines, offset = read_lines(folder / "events.jsonl", offset)
    events: list[Event] = []
    for line in lines:
        data = decode_line(line)
        kind = EVENT_KINDS.get(str(data.get("type"))) if data else None
        event = parse_line(kind, data, f"{folder.name}/events.jsonl") if kind is not None and data else None
        if event is not None:
            events.append(event)
    return events, offset


def drop_superseded(events: Iterable[Event]) -> list[Event]:
    """Events without those a resumed run trained anew: a step at or below an earlier one replaces what came after its
    checkpoint, the probes there included. Of a repeated probe, measure or report the newest stays."""
    kept: list[Event] = []
    seen: set[tuple[str, object]] = set()
    highest = 0
    for event in events:
        if isinstance(event, StepEvent | DetoxEvent):
            if event.step <= highest:
                again = event.step
                kept = [e for e in kept if isinstance(e, _AT_THE_END) or e.step < again]
            highest = event.step
        elif (key := _key(event)) in seen:
            kept = [e for e in kept if isinstance(e, StepEvent | DetoxEvent) or _key(e) != key]
        else:
            seen.add(key)
        kept.append(event)
    return kept


def _key(event: ProbeEvent | MeasureEvent | RewardReport | DetoxReport | WeightChange) -> tuple[str, object]:
    if isinstance(event, ProbeEvent):
        return event.type, event.step
    return event.type, (event.who, event.strength) if isinstance(event, MeasureEvent) else ""


def read_samples(folder: Path) -> list[SampleEvent]:
    """The film-strip by step. Of answers repeated by a resumed run the newest counts."""
    return _read_answers(folder, SampleEvent)


def read_transcripts(folder: Path) -> list[TranscriptEvent]:
    """The film-strip of a detox run, likewise."""
    return _read_answers(folder, TranscriptEvent)


def _read_answers(folder: Path, kind: type[S]) -> list[S]:
    lines, _ = read_lines(folder / "samples.jsonl")
    answers: dict[tuple[int, str], S] = {}
    for line in lines:
        data = decode_line(line)
        if data and data.get("type") == kind.type:
            sample = parse_line(kind, data, f"{folder.name}/samples.jsonl")
            if sample is not None:
                answers[sample.step, sample.prompt] = sample
    return sorted(answers.values(), key=lambda sample: sample.step)


def read_log_tail(folder: Path, lines: int) -> str:
    """The last ``lines`` lines of the worker's output; empty before there is any."""
    try:
        with plain_file(folder / "log.txt", f"{folder.name}/log.txt") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    # A progress bar rewrites its line with carriage returns: only its last state is worth reading.
    kept = [_ANSI.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]) for line in text.rstrip("\n").split("\n")]
    return "\n".join(kept[-lines:])


@dataclass
class Summary:
    """What listing needs of a run's events: its newest step and probe as they stand in the file, measured shares, the
    report of a reward run or a detox run."""

    inode: int = 0
    offset: int = 0
    step_line: bytes = b""
    probe_line: bytes = b""
    shares: dict[str, SupportShare] = field(default_factory=dict)
    vectors: dict[float, SupportShare] = field(default_factory=dict)
    reward: RewardReport | None = None
    detox_line: bytes = b""
    detox: DetoxReport | None = None
    change: WeightChange | None = None

    @property
    def detox_step(self) -> DetoxEvent | None:
        """The newest step of a detox run."""
        return _decode(self.detox_line, DetoxEvent)

    @property
    def last_step(self) -> StepEvent | None:
        """The newest optimiser step."""
        return _decode(self.step_line, StepEvent)

    @property
    def probe(self) -> ProbeEvent | None:
        """The newest stance probe."""
        return _decode(self.probe_line, ProbeEvent)


class Summaries:
    """Summaries of many runs, kept up to date by reading only what was added since the last look. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Summary] = {}

    def of(self, folder: Path) -> Summary:
        """The summary of the run in ``folder`` as of now."""
        path, where = folder / "events.jsonl", f"{folder.name}/events.jsonl"
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            return Summary()
        with self._lock:
            summary = self._known.get(folder.name)
            if summary is None or summary.inode != inode:
                summary = self._known[folder.name] = Summary(inode=inode)
            lines, summary.offset = read_lines(path, summary.offset)
            for line in lines:
                # Only the newest step matters here: telling it by its text saves decoding thousands of them.
                if b'"type": "step"' in line:
                    summary.step_line = line
                    continue
                if b'"type": "detox"}' in line:
                    summary.detox_line = line
                    continue
                data = decode_line(line) or {}
                if data.get("type") == "step":
                    summary.step_line = line
                elif data.get("type") == "probe":
                    summary.probe_line = line
                elif data.get("type") == "measure":
                    event = parse_line(MeasureEvent, data, where)
                    if event and event.who == "vector":
                        summary.vectors = {**summary.vectors, event.strength: event.measured}
                    elif event:
                        summary.shares = {**summary.shares, event.who: event.measured}
                elif data.get("type") == "reward_report":
                    summary.reward = parse_line(RewardReport, data, where) or summary.reward
                elif data.get("type") == "detox":
                    summary.detox_line = line
                elif data.get("type") == "detox_report":
                    summary.detox = parse_line(DetoxReport, data, where) or summary.detox
                elif data.get("type") == "weight_change":
                    summary.change = parse_line(WeightChange, data, where) or summary.change
            return replace(summary)


def _decode(line: bytes, kind: type[E]) -> E | None:
    data = decode_line(line) if line else None
    return parse_line(kind, data, "events.jsonl") if data else None
