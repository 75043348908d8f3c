"""How long tasks of a kind take: who is short enough for a parcel, and who is a straggler."""

from __future__ import annotations

from collections import deque

import numpy as np

#: A task known to take at most this long is sent in a parcel with others like it.
#: Measured on two local workers: no-op tasks one by one 700/s, in parcels 3,000/s.
SHORT_S = 0.002

#: A straggler runs longer than this factor times the 95th percentile of ordinary run times,
#: which are those of up to `ORDINARY` medians: otherwise a few stragglers would set the mark.
FACTOR, ORDINARY = 1.5, 3.0
#: Run times that must be known before anybody is called a straggler, and are remembered.
LEAST_KNOWN, REMEMBERED = 8, 256
#: Duplicating what takes less would cost more than it saves.
LEAST_S = 0.05

Kind = tuple[str, str]


class RunTimes:
    """Run times by kind of task, in seconds."""

    def __init__(self) -> None:
        self._longest_of_late: dict[Kind, float] = {}
        self._known: dict[Kind, deque[float]] = {}
        self._limits: dict[Kind, tuple[int, float]] = {}
        self._count = 0

    def add(self, kind: Kind, seconds: float) -> None:
        """Take note of a run."""
        # The longest of late: a parcel must not hold a surprise.
        late = 0.7 * self._longest_of_late.get(kind, 0.0)
        self._longest_of_late[kind] = max(seconds, late)
        if seconds > SHORT_S:
            self._known.setdefault(kind, deque(maxlen=REMEMBERED)).append(seconds)
            self._count += 1

    def longest(self, kind: Kind) -> float:
        """Return how long one may take, by what is known; infinite if nothing is."""
        return self._longest_of_late.get(kind, float("inf"))

    def is_short(self, kind: Kind) -> bool:
        """Return whether it may travel in a parcel."""
        return self.longest(kind) <= SHORT_S

    def straggles_after(self, kind: Kind) -> float:
        """Return the run time beyond which a task of this kind is a straggler."""
        known = self._known.get(kind, ())
        if len(known) < LEAST_KNOWN:
            return float("inf")
        when, limit = self._limits.get(kind, (-1, 0.0))
        if when != self._count:
            times = np.array(known)
            ordinary = times[times <= ORDINARY * np.median(times)]
            limit = max(LEAST_S, FACTOR * float(np.quantile(ordinary, 0.95)))
            self._limits[kind] = (self._count, limit)
        return limit
