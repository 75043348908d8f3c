"""Streaming: complete rows of a batch go on to reconstruction while others still run.

Owns the times of a batch. Knows rows and tensors; refuses to know what runs them, and what takes
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from time import perf_counter
from typing import Any

from pilotcut.cutting.fragment_tensor import FragmentTensor

#: A batch is contracted in at most so many chunks of rows, each once it is complete.
MOST_CHUNKS = 8

#: Takes rows of a batch, and the tensors of the whole batch, once these rows are complete.
RowsReady = Callable[[slice, Sequence[FragmentTensor]], None]
#: Tells whether workers still run something.
Busy = Callable[[], bool]


def idle() -> bool:
    """Return that nothing runs beside this."""
    return False


def unfinished(futures: Iterable[Future[Any]]) -> Busy:
    """Return what tells whether any of the futures is not done."""
    # The last ones end last, as a rule: asked first, they answer for most.
    latest = list(futures)[::-1]
    return lambda: not all(future.done() for future in latest)


@dataclass
class BatchTimes:
    """Where the time of a batch went, in seconds, and on which devices.

    `run_s` and `reduce_s` are summed over workers, the others are wall time; `fill_s` is
    spent here on writing blocks into tensors, and `stream_s` on contracting rows that are
    complete, both between results. `hidden_s` of them passed while units still ran. `devices`
    says which device ran what of which fragment, and with which predicted error, and `moved` what
    another device ran since the first had gone.
    """

    generate_s: float = 0.0
    execute_s: float = 0.0
    fill_s: float = 0.0
    stream_s: float = 0.0
    hidden_s: float = 0.0
    run_s: float = 0.0
    reduce_s: float = 0.0
    units: int = 0
    devices: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Stream:
    """Rows of a batch handed on as soon as all pieces of them are there, with the time it took.

    Rows go in chunks between the edges of pieces, which depend on the plan and the shots
    alone: so do the last bits of what is computed chunk by chunk.

    Parameters
    ----------
    pieces
        Rows of each work unit.
    rows
        Number of rows of the batch.
    tensors
        Of the whole batch.
    ready
        Takes chunks; None for nobody.
    times
        What is written down here: `fill_s`, `stream_s`, `hidden_s`.
    """

    pieces: Sequence[slice]
    rows: int
    tensors: Sequence[FragmentTensor]
    ready: RowsReady | None
    times: BatchTimes = field(default_factory=BatchTimes)
    _missing: dict[int, int] = field(default_factory=dict)
    _chunks: list[slice] = field(default_factory=list)

    def __post_init__(self) -> None:
        least = ceil(self.rows / MOST_CHUNKS)
        edges = [0]
        for edge in sorted({piece.stop for piece in self.pieces} - {self.rows}):
            if edge - edges[-1] >= least and self.rows - edge >= least:
                edges.append(edge)
        self._chunks = [slice(*ends) for ends in pairwise([*edges, self.rows])]
        for k, chunk in enumerate(self._chunks):
            self._missing[k] = sum(_overlap(piece, chunk) for piece in self.pieces)

    def begin(self) -> None:
        """Hand on the rows of which nothing has to be run."""
        for k, chunk in enumerate(self._chunks):
            if not self._missing[k]:
                self._hand_on(chunk, idle)

    def done(self, piece: slice, busy: Busy) -> None:
        """Take note of a piece, and hand on the rows that are complete with it."""
        for k, chunk in enumerate(self._chunks):
            if _overlap(piece, chunk):
                self._missing[k] -= 1
                if not self._missing[k]:
                    self._hand_on(chunk, busy)

    def filled(self, seconds: float, busy: Busy) -> None:
        """Take note of time spent on writing a piece into its tensor."""
        self.times.fill_s += seconds
        self.times.hidden_s += seconds if busy() else 0.0

    def end(self, wall_s: float) -> None:
        """Take note that all is done: of `wall_s` seconds, workers ran for what is left."""
        self.times.execute_s = wall_s - self.times.fill_s - self.times.stream_s

    def _hand_on(self, chunk: slice, busy: Busy) -> None:
        if self.ready is None:
            return
        started = perf_counter()
        self.ready(chunk, self.tensors)
        seconds = perf_counter() - started
        self.times.stream_s += seconds
        self.times.hidden_s += seconds if busy() else 0.0


def _overlap(a: slice, b: slice) -> bool:
    return bool(a.start < b.stop and b.start < a.stop)
