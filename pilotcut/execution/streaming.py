"""Streaming: complete rows of a batch go on to reconstruction while others still run.

Owns the times of a batch. Knows rows and tensors; refuses to know what runs them, and what takes
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from itertools import pairwise
from math import ceil
from time import perf_counter
from typing import Any

from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.cutting.fragment_tensor import FragmentTensor

#: A batch is contracted in at most so many chunks of rows, each once it is complete.
#: In a training on iris with 3 cuts 75 % of the reconstruction is hidden behind workers, and the
#: query waits for 0.1 to 0.2 % of its time (benchmarks/streaming.py, counts mode).
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
    says which device ran what of which fragment, and with which predicted error, `moved` what
    another device ran since the first had gone, or made it wait, and `mitigation` what was done
    about the errors of each fragment on each device, and why. `queues` are those that were read
    before, and `usage` is what was taken of devices that run circuits themselves.
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
    queues: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = NOTHING
    mitigation: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def since(cls, started: float, units: int) -> BatchTimes:
        """Return the times of units that ran here since `started`."""
        seconds = perf_counter() - started
        return cls(execute_s=seconds, run_s=seconds, units=units)

    def add(self, other: BatchTimes) -> None:
        """Take note of another part of the batch, which ran before or after."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def filled(self, seconds: float, busy: Busy) -> None:
        """Take note of time spent on writing a block into its tensor."""
        self.fill_s += seconds
        self.hidden_s += seconds if busy() else 0.0

    def streamed(self, seconds: float, busy: Busy) -> None:
        """Take note of time spent on contracting rows that are complete."""
        self.stream_s += seconds
        self.hidden_s += seconds if busy() else 0.0


def complete_chunks(
    pieces: Sequence[slice], rows: int, done: Iterable[tuple[slice, Busy]]
) -> Iterator[tuple[slice, Busy]]:
    """Yield each chunk of a batch's rows as soon as all pieces of it are done.

    Parameters
    ----------
    pieces
        Rows of each work unit.
    rows
        Number of rows of the batch.
    done
        Pieces in any order, each with what tells whether others still run; a chunk is yielded
        with that of its last piece.
    """
    chunks = _chunks(pieces, rows)
    missing = [sum(_overlap(piece, chunk) for piece in pieces) for chunk in chunks]
    for chunk, number in zip(chunks, missing, strict=True):
        if not number:  # nothing of it has to be run
            yield chunk, idle
    for piece, busy in done:
        for k, chunk in enumerate(chunks):
            if _overlap(piece, chunk):
                missing[k] -= 1
                if not missing[k]:
                    yield chunk, busy


def _chunks(pieces: Sequence[slice], rows: int) -> list[slice]:
    # Between the edges of pieces, which depend on the plan and the shots alone: so do the last bits
    # of what is computed chunk by chunk.
    least = ceil(rows / MOST_CHUNKS)
    edges = [0]
    for edge in sorted({piece.stop for piece in pieces} - {rows}):
        if edge - edges[-1] >= least and rows - edge >= least:
            edges.append(edge)
    return [slice(*ends) for ends in pairwise([*edges, rows])]


def _overlap(a: slice, b: slice) -> bool:
    return bool(a.start < b.stop and b.start < a.stop)
