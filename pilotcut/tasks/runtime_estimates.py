"""Estimates of run times: by kind of task, what is short and what straggles; by pilot, its rate."""

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
LEAST_S = 0.02

#: A pilot's rate is that of so many of its last tasks, and of so many at the rate of all.
RATED, PRIOR_RUNS = 64, 1

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
        # The longest of late, forgotten by and by: a parcel must not hold a surprise, for what
        # stands behind a slow task in it could have run elsewhere.
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
        # Asked for every task that runs, at every turn of the binder: computed once for each new
        # run.
        if when != self._count:
            times = np.array(known)
            ordinary = times[times <= ORDINARY * np.median(times)]
            limit = max(LEAST_S, FACTOR * float(np.quantile(ordinary, 0.95)))
            self._limits[kind] = (self._count, limit)
        return limit


class PilotRates:
    """Rates of pilots: seconds of `cost_s` done in a second of run time.

    Costs are guesses, and all may be off by the same factor, which is as good as another
    rate. A pilot of which little is known is taken for as fast as the others.

    Examples
    --------
    >>> rates = PilotRates()
    >>> rates.of("a")
    1.0
    >>> for _ in range(4):
    ...     rates.add("a", 3.0, 1.0)
    >>> rates.of("a"), rates.of("b")
    (3.0, 3.0)
    >>> rates.add("b", 1.0, 1.0)
    >>> 1.0 < rates.of("b") < 3.0
    True
    """

    def __init__(self) -> None:
        self._of_pilot: dict[str, _Ratio] = {}
        self._of_all = _Ratio()

    def add(self, pilot: str, cost_s: float, run_s: float) -> None:
        """Take note of a run of a task of known cost."""
        if cost_s > 0 and run_s > 0:
            self._of_all.add(cost_s, run_s)
            own = self._of_pilot.get(pilot, _Ratio())
            own.add(cost_s, run_s)
            self._of_pilot[pilot] = own  # not before it knows a run: other threads read

    def of(self, pilot: str) -> float:
        """Return the rate of a pilot, 1 as long as nothing is known of any."""
        own = self._of_pilot.get(pilot)
        return self._of_all.value if own is None else own.after(self._of_all.value)


class _Ratio:
    """Cost over run time of the last tasks, summed before divided: long tasks count for more."""

    def __init__(self) -> None:
        self._runs: deque[tuple[float, float]] = deque(maxlen=RATED)
        self._cost_s = self._run_s = 0.0

    def add(self, cost_s: float, run_s: float) -> None:
        self._runs.append((cost_s, run_s))
        self._cost_s = sum(cost_s for cost_s, _ in self._runs)
        self._run_s = sum(run_s for _, run_s in self._runs)

    @property
    def value(self) -> float:
        return self._cost_s / self._run_s if self._runs else 1.0

    def after(self, prior: float) -> float:
        """Return the ratio as it would be after a few runs more, these at the rate `prior`."""
        more_s = PRIOR_RUNS * self._cost_s / len(self._runs)
        return (self._cost_s + more_s) / (self._run_s + more_s / prior)
