"""Estimates of run times: by kind of task, what is short and what straggles; by pilot, its rate."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque

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
        self._known: dict[Kind, _Latest] = {}

    def add(self, kind: Kind, seconds: float) -> None:
        """Take note of a run."""
        # The longest of late, forgotten by and by: a parcel must not hold a surprise, for what
        # stands behind a slow task in it could have run elsewhere.
        late = 0.7 * self._longest_of_late.get(kind, 0.0)
        self._longest_of_late[kind] = max(seconds, late)
        if seconds > SHORT_S:
            self._known.setdefault(kind, _Latest()).add(seconds)

    def longest(self, kind: Kind) -> float:
        """Return how long one may take, by what is known; infinite if nothing is."""
        return self._longest_of_late.get(kind, float("inf"))

    def is_short(self, kind: Kind) -> bool:
        """Return whether it may travel in a parcel."""
        return self.longest(kind) <= SHORT_S

    def straggles_after(self, kind: Kind) -> float:
        """Return the run time beyond which a task of this kind is a straggler."""
        known = self._known.get(kind)
        if known is None or len(known.ascending) < LEAST_KNOWN:
            return float("inf")
        if known.limit is None:  # asked for every task that runs, at every turn of the binder
            known.limit = max(LEAST_S, FACTOR * _high_of_ordinary(known.ascending))
        return known.limit


class _Latest:
    """The latest run times of a kind, in their order and by length."""

    def __init__(self) -> None:
        self._runs: deque[float] = deque()
        self.ascending: list[float] = []
        self.limit: float | None = None

    def add(self, seconds: float) -> None:
        if len(self._runs) == REMEMBERED:
            del self.ascending[bisect_left(self.ascending, self._runs.popleft())]
        self._runs.append(seconds)
        insort(self.ascending, seconds)
        self.limit = None


def _high_of_ordinary(ascending: list[float]) -> float:
    """Return the 95th percentile of run times of up to `ORDINARY` medians.

    Not by numpy, whose quantile took 0.1 ms for each task.

    Examples
    --------
    >>> round(_high_of_ordinary([1.0, 1.0, 2.0, 3.0, 99.0]), 2)
    2.85
    """
    ordinary = bisect_right(ascending, ORDINARY * _between(ascending, len(ascending), 0.5))
    return _between(ascending, ordinary, 0.95)


def _between(ascending: list[float], count: int, part: float) -> float:
    """Return a quantile of the first `count` numbers, between its two neighbours."""
    whole, rest = divmod(part * (count - 1), 1.0)
    low = ascending[int(whole)]
    return low + rest * (ascending[min(int(whole) + 1, count - 1)] - low)


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
        self._costs: deque[float] = deque(maxlen=RATED)
        self._runs: deque[float] = deque(maxlen=RATED)
        self._cost_s = self._run_s = 0.0

    def add(self, cost_s: float, run_s: float) -> None:
        self._costs.append(cost_s)
        self._runs.append(run_s)
        self._cost_s, self._run_s = sum(self._costs), sum(self._runs)

    @property
    def value(self) -> float:
        return self._cost_s / self._run_s if self._runs else 1.0

    def after(self, prior: float) -> float:
        """Return the ratio as it would be after a few runs more, these at the rate `prior`."""
        more_s = PRIOR_RUNS * self._cost_s / len(self._runs)
        return (self._cost_s + more_s) / (self._run_s + more_s / prior)
