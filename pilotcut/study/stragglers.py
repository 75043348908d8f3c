"""Injected stragglers: batches measured while runs of tasks are delayed at random.

As in arXiv:2602.16233, every run of a task is delayed by `delay_s` with some probability p. A
*cell* is a condition (policy, p, duplicates) measured over a few batches of an estimator; a
*round* is all conditions once, in an order of its own, on the same draws.

This module knows how to measure, `slowdown` how to compare, and neither where records are kept.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pilotcut.cutting.plan import CutPlan, compile_plan
from pilotcut.errors import UserError
from pilotcut.options import MODES
from pilotcut.pilots.manager import PilotManager
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.tasks import Policy, TaskFuture, TaskManager, launch_number
from pilotcut.tasks.validation import function_name
from pilotcut.training import checks
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
#: A run on six slots of one process, where the tasks' own work filled the device's time, had
#: duplicates remove 13 % of the excess at p = 0.05; with these it is 74 % (benchmarks/README.md).
SLOTS = 4


_CHECKS: dict[str, checks.Check] = {
    "probability": checks.Number(0.0, 1.0, "a number from 0 to 1; 0.1 is a usual choice"),
    "delay_s": checks.Number(
        0.0, checks.FINITE, "seconds, a finite number from 0 up; 0.1 is the default"
    ),
    "device_s": checks.Number(
        0.0, checks.FINITE, "seconds, a finite number from 0 up; 0 is the default"
    ),
    "seed": checks.Whole(0, None, "0 is the default"),
}

# -- injection ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Injection:
    """Delays that are injected: how likely, and how long.

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
        if faults := checks.faults_of(vars(self), _CHECKS):
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
class TaskRun:
    """Times of one task, and whether it was delayed or duplicated.

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
    >>> from pilotcut.pilots.description import embedded
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
        options = {"name": f"{function_name(fn)}-{number}"} | options
        future = super().submit_task(self.injection.run, number, fn, *args, **options)
        self._futures.append((number, future))
        return future

    def drain(self) -> list[TaskRun]:
        """Return what became of the tasks that have ended since the last time; forget them."""
        found = []
        for _ in range(len(self._futures)):
            number, future = self._futures.popleft()
            if not future.done():
                self._futures.append((number, future))
            elif ran := self._ran(number, future):
                found.append(ran)
        return found

    def _ran(self, number: int, future: TaskFuture) -> TaskRun | None:
        task = future.task
        if task.launch is None or task.started is None or task.finished is None:
            return None  # canceled, or lost with its worker
        delay_s = self.injection.delay_s * self.injection.delays(number, task.launch)
        return TaskRun(
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
    """Condition that a cell is measured under."""

    policy: str
    probability: float
    duplicates: bool


@dataclass(frozen=True)
class Setting:
    """Settings that all cells of a study share.

    By default outcomes are drawn from their exact distribution, which takes a few ms a task, and
    each run then waits until `device_s` are over, as for a device. With work for a core instead,
    slots beyond the cores would not be slots: others would be quicker while one straggles.
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
    # 8 tasks a batch: with many waves of tasks a batch loses under 1 % to scheduling, and there
    # would be nothing for duplicates to remove.
    rows: int = 10
    shots: int = 3584

    def __post_init__(self) -> None:
        checks.require("mode", self.mode, checks.Choice(MODES))
        checks.require("rows", self.rows, checks.Whole(1, None, "10 is the default"))


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
    checks.require("batches", batches, checks.Whole(1, None, "8 is a usual choice"))
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
        ran: list[TaskRun] = []
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
