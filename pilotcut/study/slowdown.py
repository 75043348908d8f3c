"""Slowdown by stragglers: beside its bound, and what duplicates took away of it.

Slowdowns compare cells of one round (`pilotcut.study.stragglers`), so that a drift of the machine
hits both sides.

The *bound* of a slowdown is the work, delays included, over the work without: 1 + p delay / t,
t being the seconds of a task that nothing delays. No schedule that runs every task once does
better, if slots were all busy at p = 0; where they were not, delays fill the gaps, and what
is as if they had been *spread* evenly over all slots is the tighter bound. What a slowdown has
over 1 is what stragglers cost in all; most of that nobody can take away, for a delayed run
holds its slot until it ends. What it has over the bound is slots that idle while a batch waits
for its last runs. That is what duplicates are for, and the excess of which they remove a share.
It may be more than all: the rest of an outrun run can pass between batches, when slots are free.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotcut.errors import UserError
from pilotcut.study.stragglers import Condition

#: Resamples of the rounds for an interval, and the part of them that is inside.
RESAMPLES, INSIDE = 2000, 0.95
#: With fewer rounds there is no interval.
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One condition over all rounds.

    Attributes
    ----------
    rounds, tasks
        Rounds, and tasks of a batch.
    median_s, p95_s
        Wall seconds of a batch.
    task_s
        t: mean seconds of a task at p = 0 without duplicates, under the same policy.
    slowdown, slowdown_of_wall
        Seconds from the first submission of a batch to the end of its last task, and those of
        the whole batch, over those of the same policy at p = 0 without duplicates.
    bound
        1 + p delay / t.
    drawn
        The bound for as many delays as these rounds drew.
    spread
        1 + drawn delays / (slots x seconds at p = 0): as if they had been dealt evenly to
        all slots. Lower than `drawn` as far as slots idle at p = 0 already.
    over_one, over_bound, over_spread
        What the slowdown has over 1, over `drawn` and over `spread`.
    removed, removed_low, removed_high
        The share of `over_bound` that is gone with duplicates, and its interval by resampling
        rounds. None without duplicates, at p = 0 and where there is nothing to remove; the
        interval also where there are too few rounds.
    removed_of_spread
        The same share of `over_spread`.
    delayed, duplicated, won
        Number of tasks whose first run was delayed, of duplicates started, and of those that
        were quicker.
    """

    policy: str
    probability: float
    duplicates: bool
    rounds: int
    tasks: float
    median_s: float
    p95_s: float
    task_s: float
    slowdown: float
    slowdown_of_wall: float
    bound: float
    drawn: float
    spread: float
    over_one: float
    over_bound: float
    over_spread: float
    delayed: int
    duplicated: int
    won: int
    removed: float | None = None
    removed_low: float | None = None
    removed_high: float | None = None
    removed_of_spread: float | None = None


Record = Mapping[str, Any]
Round = tuple[str, int]
#: The cells of one condition, by policy and seed.
Cells = Mapping[Round, Record]

#: The policy of rows over all policies.
ALL = "all"

#: What must be the same in all records.
_SHARED = ("delay_s", "device_s", "mode", "qubits", "cuts", "rows", "shots", "slots", "batches")


def compare(records: Iterable[Record], *, pooled: bool = False) -> list[Row]:
    """Return one row for each condition in the records of `measure`.

    A cell is compared with those of the same policy and seed alone; with `pooled` a row is
    about all policies together, whose rounds then count one by one. What is at p = 0 and
    without duplicates sets times and bounds, so duplicates that cost something where nothing
    straggles show as a slowdown over 1.

    Raises
    ------
    UserError
        If records are of several settings, or if a policy was not measured at p = 0 without
        duplicates in the same rounds.
    """
    cells = _by_condition(records, pooled)
    rows = []
    for condition, cell in cells.items():
        base = cells.get(Condition(condition.policy, 0.0, False), {})
        without = cells.get(Condition(condition.policy, condition.probability, False), {})
        rows.append(_row(condition, cell, base, without))
    return rows


def _by_condition(records: Iterable[Record], pooled: bool) -> dict[Condition, dict[Round, Record]]:
    cells: dict[Condition, dict[Round, Record]] = {}
    first: Record | None = None
    for record in records:
        first = record if first is None else first
        for name in _SHARED:
            if record[name] != first[name]:
                raise UserError(
                    f"records have {name} {first[name]!r} and {record[name]!r}, expected one "
                    f"setting; compare them apart"
                )
        policy = ALL if pooled else record["policy"]
        condition = Condition(policy, record["probability"], record["duplicates"])
        cells.setdefault(condition, {})[record["policy"], record["seed"]] = record
    policies = list(dict.fromkeys(condition.policy for condition in cells))
    order = sorted(cells, key=lambda c: (policies.index(c.policy), c.probability, c.duplicates))
    return {condition: cells[condition] for condition in order}


def _row(condition: Condition, cell: Cells, base: Cells, without: Cells) -> Row:
    rounds = sorted(cell.keys() & base.keys())
    if not rounds:
        raise UserError(
            f"records have no cell of policy '{condition.policy}' at probability 0 without "
            f"duplicates with seed {', '.join(str(seed) for _, seed in sorted(cell))}, expected "
            f"one to compare with; measure it too"
        )
    found = _Compared.of(cell, base, rounds)
    walls = [wall for one in rounds for wall in cell[one]["wall_s"]]
    return Row(
        policy=condition.policy,
        probability=condition.probability,
        duplicates=condition.duplicates,
        rounds=len(rounds),
        tasks=_total(cell, rounds, "tasks") / _total(cell, rounds, "batches"),
        median_s=statistics.median(walls),
        p95_s=float(np.quantile(walls, 0.95)),
        task_s=found.task_s,
        slowdown=found.slowdown,
        slowdown_of_wall=found.wall,
        bound=1 + condition.probability * cell[rounds[0]]["delay_s"] / found.task_s,
        drawn=found.drawn,
        spread=found.spread,
        over_one=found.slowdown - 1,
        over_bound=found.slowdown - found.drawn,
        over_spread=found.slowdown - found.spread,
        delayed=_total(cell, rounds, "delayed"),
        duplicated=_total(cell, rounds, "duplicated"),
        won=_total(cell, rounds, "won"),
        **_removed(condition, cell, base, without),
    )


@dataclass(frozen=True)
class _Compared:
    """The cells of a condition beside those at p = 0, over the same rounds."""

    task_s: float
    slowdown: float
    wall: float
    drawn: float
    spread: float

    @classmethod
    def of(cls, cell: Cells, base: Cells, rounds: Sequence[Round]) -> _Compared:
        tasks, base_s = _total(base, rounds, "tasks"), _mean_s(base, rounds, "span_s")
        task_s = sum(base[one]["task_s"] * base[one]["tasks"] for one in rounds) / tasks
        delay_s, slots = (cell[rounds[0]][name] for name in ("delay_s", "slots"))
        delays_s = _total(cell, rounds, "delayed") * delay_s
        return cls(
            task_s=task_s,
            slowdown=_mean_s(cell, rounds, "span_s") / base_s,
            wall=_mean_s(cell, rounds, "wall_s") / _mean_s(base, rounds, "wall_s"),
            drawn=1 + delays_s / (_total(cell, rounds, "tasks") * task_s),
            spread=1 + delays_s / (_total(cell, rounds, "batches") * slots * base_s),
        )


def _removed(condition: Condition, cell: Cells, base: Cells, without: Cells) -> dict[str, Any]:
    """Return the shares of the excess that duplicates removed, as far as they are known."""
    rounds = sorted(cell.keys() & base.keys() & without.keys())
    if not condition.duplicates or condition.probability == 0 or not rounds:
        return {}

    def share(some: Sequence[Round], over: str) -> float | None:
        one, other = _Compared.of(without, base, some), _Compared.of(cell, base, some)
        excess = one.slowdown - getattr(one, over)
        return (one.slowdown - other.slowdown) / excess if excess > 0 else None

    low, high = _interval(lambda some: share(some, "drawn"), rounds)
    return {
        "removed": share(rounds, "drawn"),
        "removed_low": low,
        "removed_high": high,
        "removed_of_spread": share(rounds, "spread"),
    }


def _interval(
    share: Callable[[Sequence[Round]], float | None], rounds: Sequence[Round]
) -> tuple[float | None, float | None]:
    """Return the interval of a share over resampled rounds; None if it has no end."""
    if len(rounds) < LEAST_ROUNDS:
        return None, None
    # Seeded, so that equal records have equal intervals.
    draws = np.random.default_rng(0).integers(len(rounds), size=(RESAMPLES, len(rounds)))
    drawn = (share([rounds[k] for k in draw]) for draw in draws.tolist())
    found = [value for value in drawn if value is not None]
    outside = (1 - INSIDE) / 2
    if len(found) < (1 - outside) * RESAMPLES:  # some rounds have no excess to remove
        return None, None
    low, high = np.quantile(found, (outside, 1 - outside))
    return float(low), float(high)


def _total(cells: Cells, rounds: Sequence[Round], name: str) -> int:
    return sum(cells[one][name] for one in rounds)


def _mean_s(cells: Cells, rounds: Sequence[Round], name: str) -> float:
    """Return the seconds of a batch, the mean over all."""
    return sum(sum(cells[one][name]) for one in rounds) / _total(cells, rounds, "batches")
