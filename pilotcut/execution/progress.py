"""Progress of a long call, as a line on a terminal that is written over.

Only for calls that run for a while and will go on for long: short ones, and all that nobody looks
at (files, notebooks, workers), show nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TextIO, TypeVar

Result = TypeVar("Result")

#: A call that is predicted to end within so many seconds shows nothing.
SHORT_S = 60.0

# Seconds before the first line, which says nothing by less, and between lines.
_FIRST_S, _EVERY_S = 5.0, 0.5


def shown(
    results: Iterator[Result],
    total: int,
    stream: TextIO | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Iterator[Result]:
    """Yield results, of which there are `total`, and show how many are there."""
    terminal = sys.stderr if stream is None else stream
    if not terminal.isatty():
        yield from results
        return
    started = last = clock()
    written = False
    for done, result in enumerate(results, 1):
        now = clock()
        if now - started >= _FIRST_S and now - last >= _EVERY_S:
            left = (now - started) / done * (total - done)
            if written or now - started + left >= SHORT_S:
                terminal.write(f"\r{done:,} of {total:,} parts, {_time(left)} left \x1b[K")
                terminal.flush()
                last, written = now, True
        yield result
    if written:
        terminal.write("\r\x1b[K")
        terminal.flush()


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
