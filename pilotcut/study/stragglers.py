"""RQ3: how much stragglers cost under each dispatch policy, with and without duplicates.

As in arXiv:2602.16233, every run of a task is delayed by `delay_s` with some probability p. A
*cell* is a condition (policy, p, duplicates) measured over a few batches of an estimator; a
*round* is all conditions once, in an order of its own, on the same draws. Slowdowns compare
cells of one round, so that a drift of the machine hits both sides.

The *bound* of a slowdown is the work, delays included, over the work without: 1 + p delay / t,
t being the seconds of a task that nothing delays. No schedule that runs every task once does
better, if slots were all busy at p = 0; where they were not, delays fill the gaps, and what
is as if they had been *spread* evenly over all slots is the tighter bound. What a slowdown has
over 1 is what stragglers cost in all; most of that nobody can take away, for a delayed run
holds its slot until it ends. What it has over the bound is slots that idle while a batch waits
for its last runs. That is what duplicates are for, and the excess of which they remove a share.
It may be more than all: the rest of an outrun run can pass between batches, when slots are free.

This module knows how to measure and to compare, not where records are kept.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pilotcut.cutting.plan import CutPlan, compile_plan
from pilotcut.errors import UserError
from pilotcut.estimator import MODES, CutEstimator
from pilotcut.pilots.manager import PilotManager
from pilotcut.tasks import Policy, TaskFuture, TaskManager, launch_number
from pilotcut.tasks.submission import name_of
from pilotcut.training.model import Model, classifier

#: The policies of the study by name. `batched` binds one task for each of the slots at a time and
#: holds them half a task of 20 ms at most; fragments are a quarter of a task apart.
POLICIES = {
    "eager": "eager",
    "batched": "batched:size=4,delay_s=0.01",
    "staggered": "staggered:spacing_s=0.005",
    "cost-aware": "cost-aware",
}

PROBABILITIES = (0.0, 0.05, 0.1, 0.2)

#: Slots of the study's pilot: a batch of the default setting, 8 tasks, fills them twice. Its
#: tasks wait for a device that is not there, so that they may be more than cores.
SLOTS = 4

#: Resamples of the rounds for an interval, and the part of them that is inside.
RESAMPLES, INSIDE = 2000, 0.95
#: With fewer rounds there is no interval.
LEAST_ROUNDS = 3


# -- injection ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Injection:
    """Who is delayed, and by how much.

    Parameters
    ----------
    probability
        How likely a run of a task is delayed.
    delay_s
        By how much, in seconds.
    seed
        The draw of a run depends on this, the number of the task and that of the launch: a
        repetition draws the same, a duplicate or a retry draws anew.
    device_s
        Least seconds of every run, as on a device for which the worker waits.

    Examples
    --------
    >>> injection = Injection(probability=0.2, delay_s=0.1, seed=7)
    >>> sum(injection.delays(task, 0) for task in range(1000))
    195
    """

    probability: float = 0.0
    delay_s: float = 0.1
    seed: int = 0
    device_s: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        if not _is_number(self.probability) or not 0 <= self.probability <= 1:
            faults.append(f"probability is {self.probability!r}, expected a number from 0 to 1")
        for name in ("delay_s", "device_s"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < float("inf"):
                faults.append(f"{name} is {value!r}, expected seconds, a finite number from 0 up")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            faults.append(f"seed is {self.seed!r}, expected a whole number from 0 up")
        if faults:
            raise UserError(faults)

    def delays(self, task: int, launch: int) -> bool:
        """Return whether a launch of a task is delayed."""
        return bool(np.random.default_rng((self.seed, task, launch)).random() < self.probability)

    def run(self, task: int, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn` on a worker; the delay comes behind it, so that nothing else changes."""
        started = time.perf_counter()
        value = fn(*args, **kwargs)
        left_s = max(0.0, self.device_s - (time.perf_counter() - started))
        time.sleep(left_s + self.delay_s * self.delays(task, launch_number()))
        return value


@dataclass(frozen=True)
class Ran:
    """What became of one task.

    Attributes
    ----------
    submitted, ended
        When it was submitted, and when the run ended whose result it has, in seconds since the
        epoch; the latter by the worker's clock.
    run_s
        Seconds of that run, without its delay.
    delayed
        Whether the first run was delayed.
    launches, won
        How often it was launched, and whether a later launch than the first was quicker.
    """

    submitted: float
    ended: float
    run_s: float
    delayed: bool
    launches: int
    won: bool


class Straggling(TaskManager):
    """A task manager some of whose tasks straggle; results are what they would be without.

    Tasks are numbered in the order of submission. Those of several ranks, which are no
    subexperiments, are not delayed. Futures are kept until `drain`.

    Parameters
    ----------
    pilots, policy, duplicates
        As of a `TaskManager`.
    injection
        Who is delayed.

    Examples
    --------
    >>> from pilotcut.descriptions import embedded
    >>> with PilotManager(embedded()) as pilots:
    ...     with Straggling(pilots, Injection(1.0, delay_s=0.01)) as tasks:
    ...         tasks.submit_task(max, 3, 7).result(), tasks.drain()[0].delayed
    (7, True)
    """

    def __init__(
        self,
        pilots: PilotManager,
        injection: Injection,
        *,
        policy: str | Policy = "eager",
        duplicates: bool = True,
    ) -> None:
        super().__init__(pilots, policy=policy, duplicates=duplicates)
        self.injection = injection
        self._numbered = itertools.count()
        self._futures: deque[tuple[int, TaskFuture]] = deque()

    def submit_task(
        self, fn: Callable[..., Any] | Sequence[str], /, *args: Any, **options: Any
    ) -> TaskFuture:
        """Return the future of a task as `TaskManager.submit_task` does."""
        if not callable(fn) or options.get("ranks", 1) != 1:
            return super().submit_task(fn, *args, **options)
        number = next(self._numbered)
        options = {"name": f"{name_of(fn)}-{number}"} | options
        future = super().submit_task(self.injection.run, number, fn, *args, **options)
        self._futures.append((number, future))
        return future

    def drain(self) -> list[Ran]:
        """Return what became of the tasks that have ended since the last time; forget them."""
        found = []
        for _ in range(len(self._futures)):
            number, future = self._futures.popleft()
            if not future.done():
                self._futures.append((number, future))
            elif ran := self._ran(number, future):
                found.append(ran)
        return found

    def _ran(self, number: int, future: TaskFuture) -> Ran | None:
        task = future.task
        if task.launch is None or task.started is None or task.finished is None:
            return None  # canceled, or lost with its worker
        delay_s = self.injection.delay_s * self.injection.delays(number, task.launch)
        return Ran(
            submitted=task.submitted,
            ended=task.finished,
            run_s=task.finished - task.started - delay_s,
            delayed=self.injection.delays(number, 0),
            launches=task.launches,
            won=task.launch > 0,
        )


# -- measuring ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """What a cell is about."""

    policy: str
    probability: float
    duplicates: bool


@dataclass(frozen=True)
class Setting:
    """What all cells of a study share.

    By default outcomes are drawn from their exact law, which takes a few ms a task, and each run
    then waits until `device_s` are over, as for a device. With work for a core instead, slots
    beyond the cores would not be slots: others would be quicker while one straggles.
    For that, let ``mode="counts"``, ``device_s=0`` and as many slots as cores.

    Parameters
    ----------
    delay_s, device_s
        As of `Injection`. Duplicates need a delay of some times a task's own time: a straggler
        is one after 1.5 times that, and its duplicate takes as long again.
    mode, qubits, cuts, rows, shots
        What a batch is: parameter sets of a classifier (ZFeatureMap, RealAmplitudes), Z on
        every qubit. How many tasks that is depends on plan and shots.
    """

    delay_s: float = 0.1
    device_s: float = 0.02
    mode: str = "sampled"
    qubits: int = 4
    cuts: int = 2
    rows: int = 10
    shots: int = 3584

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"mode is {self.mode!r}, expected one of {', '.join(MODES)}")
        if self.rows < 1:
            raise UserError(f"rows is {self.rows!r}, expected a whole number from 1 up")


@dataclass(frozen=True, eq=False)
class Workload:
    """A setting, compiled: the batch that all cells run, `values` of (rows, parameters)."""

    setting: Setting
    model: Model
    plan: CutPlan
    values: np.ndarray

    @classmethod
    def of(cls, setting: Setting) -> Workload:
        """Compile the plan, and draw the parameter sets, always the same."""
        model = classifier(setting.qubits)
        shape = (setting.rows, len(model.circuit.parameters))
        values = np.random.default_rng(0).uniform(0.0, 1.5, shape)
        plan = compile_plan(model.circuit, model.observable, cuts=setting.cuts)
        return cls(setting, model, plan, values)

    def estimator(self, tasks: TaskManager | None) -> CutEstimator:
        """Return an estimator; all give the same numbers."""
        mode, shots = self.setting.mode, self.setting.shots
        return CutEstimator(tasks, plan=self.plan, mode=mode, shots=shots, seed=0)

    def evaluate(self, estimator: CutEstimator) -> np.ndarray:
        """Return the values of one batch."""
        job = estimator.run([(self.model.circuit, self.model.observable, self.values)])
        return np.asarray(job.result()[0].data.evs)


def conditions(
    policies: Iterable[str] = tuple(POLICIES.values()),
    probabilities: Iterable[float] = PROBABILITIES,
) -> list[Condition]:
    """Return all conditions, each policy at each probability with and without duplicates.

    Examples
    --------
    >>> len(conditions())
    32
    """
    return [
        Condition(policy, probability, duplicates)
        for policy in policies
        for probability in probabilities
        for duplicates in (False, True)
    ]


def measure(
    pilots: PilotManager,
    condition: Condition,
    workload: Workload,
    *,
    seed: int,
    batches: int,
) -> dict[str, Any]:
    """Return the record of one cell.

    Parameters
    ----------
    pilots
        Where to run.
    condition, workload
        What to run, and how.
    seed
        Cells of one seed draw the same delays: it is the round's.
    batches
        Batches that are timed, one after the other; one goes before, by which the workers
        compile and the manager learns run times.

    Returns
    -------
    dict
        With ``wall_s`` of each batch and, of that, ``span_s`` from its first submission to the
        end of its last task, ``task_s``, the mean of the runs without their delays,
        numbers of ``tasks``, of those ``delayed`` in their first run, of ``duplicates`` that
        were started and of those that ``won``, and ``results``, a hash of all values.
    """
    if batches < 1:
        raise UserError(f"batches is {batches!r}, expected a whole number from 1 up")
    setting = workload.setting
    injection = Injection(condition.probability, setting.delay_s, seed, setting.device_s)
    tasks = Straggling(pilots, injection, policy=condition.policy, duplicates=condition.duplicates)
    with tasks:
        estimator = workload.estimator(tasks)
        workload.evaluate(estimator)
        tasks.drain()
        values: list[np.ndarray] = []
        wall_s: list[float] = []
        span_s: list[float] = []
        ran: list[Ran] = []
        for _ in range(batches):
            started = time.perf_counter()
            values.append(workload.evaluate(estimator))
            wall_s.append(time.perf_counter() - started)
            batch = tasks.drain()
            span_s.append(max(one.ended for one in batch) - min(one.submitted for one in batch))
            ran += batch
        slots = tasks.slots
    if condition.probability > 0:  # runs that were outrun still hold slots of the next cell
        time.sleep(setting.delay_s + statistics.median(one.run_s for one in ran))
    return {
        "kind": "stragglers",
        **asdict(condition),
        **asdict(setting),
        "seed": seed,
        "slots": slots,
        "batches": batches,
        "tasks": len(ran),
        "task_s": statistics.fmean(one.run_s for one in ran),
        "delayed": sum(one.delayed for one in ran),
        "duplicated": sum(one.launches - 1 for one in ran),
        "won": sum(one.won for one in ran),
        "wall_s": wall_s,
        "span_s": span_s,
        "results": hashlib.sha256(np.concatenate(values).tobytes()).hexdigest()[:16],
    }


def measure_round(
    pilots: PilotManager,
    workload: Workload,
    *,
    seed: int,
    batches: int,
    cells: Sequence[Condition] | None = None,
) -> list[dict[str, Any]]:
    """Return the records of one round: every condition once, in an order that the seed draws."""
    every = conditions() if cells is None else list(cells)
    order = np.random.default_rng((seed, 3)).permutation(len(every))
    return [measure(pilots, every[k], workload, seed=seed, batches=batches) for k in order]


# -- comparing ---------------------------------------------------------------------------


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


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
