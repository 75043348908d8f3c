"""Streaming: rows of a batch go on to reconstruction while others are still being run."""

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
    """Say that nothing runs beside this."""
    return False


def unfinished(futures: Iterable[Future[Any]]) -> Busy:
    """Return what tells whether any of the futures is not done; the last ones end last."""
    latest = list(futures)[::-1]
    return lambda: not all(future.done() for future in latest)


@dataclass
class Spent:
    """Where the time of an evaluation went, in seconds.

    `run_s` and `reduce_s` are summed over workers, the others are wall time; `fill_s` is
    spent here on writing blocks into tensors, and `stream_s` on contracting rows that are
    complete, both between results. `hidden_s` of them passed while bundles still ran. `devices`
    says which device ran what of which fragment, and with which predicted error, and `moved` what
    went elsewhere since its device had gone.
    """

    generate_s: float = 0.0
    execute_s: float = 0.0
    fill_s: float = 0.0
    stream_s: float = 0.0
    hidden_s: float = 0.0
    run_s: float = 0.0
    reduce_s: float = 0.0
    bundles: int = 0
    devices: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Stream:
    """Hands rows on as soon as all pieces of them are there, and takes the time.

    Rows go in chunks between the edges of pieces, which depend on the plan and the shots
    alone: so do the last bits of what is computed chunk by chunk.
    """

    pieces: Sequence[slice]
    rows: int
    tensors: Sequence[FragmentTensor]
    ready: RowsReady | None
    fill_s: float = 0.0
    stream_s: float = 0.0
    hidden_s: float = 0.0
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
        self.fill_s += seconds
        self.hidden_s += seconds if busy() else 0.0

    def account(self, spent: Spent, wall_s: float) -> None:
        """Write down where `wall_s` seconds went."""
        spent.fill_s, spent.stream_s, spent.hidden_s = self.fill_s, self.stream_s, self.hidden_s
        spent.execute_s = wall_s - spent.generate_s - self.fill_s - self.stream_s

    def _hand_on(self, chunk: slice, busy: Busy) -> None:
        if self.ready is None:
            return
        started = perf_counter()
        self.ready(chunk, self.tensors)
        seconds = perf_counter() - started
        self.stream_s += seconds
        self.hidden_s += seconds if busy() else 0.0


def _overlap(a: slice, b: slice) -> bool:
    return bool(a.start < b.stop and b.start < a.stop)
