"""Cost model: pure functions from work, slots and costs to seconds.

A call's time is a sum of amounts (`pilotcut.perfmodel.load`) times costs that were measured on
the pilot. Calls are dealt to slots longest first, which is what binding late comes to, and the
batch's time is the makespan with what the caller does around it. Nothing here runs or measures.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from scipy.optimize import lsq_linear

from pilotcut.perfmodel.workload import Work

#: What a batch is made of, beside its calls. "makespan_s" is that of the calls, and "rows" are
#: parameter sets: what reads and hands back each of them.
BATCH = ("batches", "steps", "rows", "makespan_s", "calls", "entries", "contraction_s")

#: The stages of a query that they belong to.
STAGE_OF = {
    "batches": "generate",
    "steps": "generate",
    "rows": "generate",
    "makespan_s": "execute",
    "calls": "dispatch",
    "entries": "transfer",
    "contraction_s": "reconstruct",
}

STAGES = ("partition", "generate", "dispatch", "execute", "transfer", "reconstruct")

#: Standard deviations from the middle to the ends of an interval that holds 90 %.
WIDTH = 1.645

#: More calls than this are not dealt one by one.
MOST_DEALT = 4096


@dataclass(frozen=True)
class Costs:
    """Seconds for each amount of one mode on one kind of pilot.

    Parameters
    ----------
    call
        Seconds for each of the amounts of a call, in the order of the mode's `KINDS`.
    batch
        Seconds for each of the amounts of a batch, in the order of `BATCH`.
    compile_step_s, compile_gate_s
        Seconds to plan a step of a circuit, and for a worker to compile a gate of a template.
    spread
        Standard deviation of log(measured / predicted), of circuits that were not fitted.
    slope
        As `call`, of a pull-back in exact mode; () where derivatives are calls like all others.
    """

    call: tuple[float, ...]
    batch: tuple[float, ...]
    compile_step_s: float
    compile_gate_s: float
    spread: float
    slope: tuple[float, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """Predicted seconds, with the ends of an interval that should hold 90 % of runs.

    Parameters
    ----------
    stages
        Seconds by stage, of all batches.
    seconds, low_s, high_s
        Of all stages together.
    """

    stages: dict[str, float]
    seconds: float
    low_s: float
    high_s: float


def makespan(durations: Iterable[tuple[float, float]], slots: int) -> float:
    """Return when the last slot ends, calls dealt longest first to the slot that is free first.

    Parameters
    ----------
    durations
        (seconds, how many such calls) each.
    slots
        How many calls run at the same time.

    Examples
    --------
    >>> makespan([(3.0, 1), (2.0, 2)], slots=2)
    4.0
    """
    pairs = sorted(durations, reverse=True)
    total = sum(seconds * number for seconds, number in pairs)
    if slots == 1 or not pairs:
        return total
    if sum(number for _, number in pairs) > MOST_DEALT:  # then the last one decides little
        return total / slots + pairs[0][0] * (1 - 1 / slots)
    ends = [0.0] * slots
    for seconds, number in pairs:
        # Loads that stand for others have fractions of calls.
        for _ in range(max(1, round(number))):
            heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def amounts_around(work: Work, makespan_s: float) -> np.ndarray:
    """Return the amounts of one batch, in the order of `BATCH`, given the calls' makespan."""
    around = (work.steps, work.rows, makespan_s, work.calls, work.entries, work.contraction_s)
    return np.array([1.0, *around])


def batch_amounts(work: Work, costs: Sequence[float], slots: int) -> np.ndarray:
    """Return the amounts of one batch, in the order of `BATCH`, for the costs of calls."""
    weights = np.asarray(costs)
    stages: dict[int, list[tuple[float, float]]] = {}
    for load in work.loads:
        stages.setdefault(load.stage, []).append((float(load.amounts @ weights), load.number))
    span = sum(makespan(durations, slots) for durations in stages.values())
    return amounts_around(work, span)


def slope_amounts(work: Work, costs: Sequence[float], slots: int) -> np.ndarray:
    """Return the amounts of what follows for derivatives, in the order of `BATCH`.

    Nothing where none are wanted. `costs` are those of their calls.
    """
    if not work.slopes:
        return np.zeros(len(BATCH))
    weights = np.asarray(costs)
    durations = [(float(load.amounts @ weights), load.number) for load in work.slopes]
    span = makespan(durations, slots)
    around = [1.0, work.steps, work.rows, span, work.slope_calls, work.slope_entries, 0.0]
    return np.array(around)


def amounts_of(work: Work, costs: Costs, slots: int) -> np.ndarray:
    """Return the amounts of one batch, with those of its derivatives."""
    slopes = slope_amounts(work, costs.slope or costs.call, slots)
    return batch_amounts(work, costs.call, slots) + slopes


def predict(work: Work, costs: Costs, slots: int, batches: float = 1.0) -> Prediction:
    """Return what `batches` batches take on so many slots, compilation included.

    Parameters
    ----------
    work
        One batch.
    costs
        Of the work's mode.
    slots
        Of all pilots that take part.
    batches
        How many such batches are run; 0 for compilation alone.
    """
    # Call by call, and not by one formula of the speed-up, as the published model of Q-Dreamer is:
    # fitted to the same data, that one picks right in 70.8 % of 72 cases it has not seen, this one
    # in 94.4 % (benchmarks/README.md).
    amounts = amounts_of(work, costs, slots)
    stages = dict.fromkeys(STAGES, 0.0)
    for name, seconds in zip(BATCH, amounts * np.asarray(costs.batch), strict=True):
        stages[STAGE_OF[name]] += batches * float(seconds)
    stages["partition"] += work.steps * costs.compile_step_s
    stages["generate"] += work.template_gates * costs.compile_gate_s
    return with_interval(stages, costs.spread)


def with_interval(stages: dict[str, float], spread: float) -> Prediction:
    """Return the sum of the stages with its interval."""
    total = sum(stages.values())
    return Prediction(stages, total, total * exp(-WIDTH * spread), total * exp(WIDTH * spread))


# -- fitting -------------------------------------------------------------------------------


def fit(amounts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return costs of at least 0 that make ``amounts @ costs`` like `seconds`.

    Errors count in proportion, and far ones little (iteratively reweighted least squares with
    Huber's weights): one measurement on a busy machine does not move all the others.

    Parameters
    ----------
    amounts
        (observations, kinds).
    seconds
        (observations,), above 0.
    """
    # Rows are divided by their seconds, so that errors are relative, and columns by their norms:
    # a call has one "calls" and up to millions of amplitudes.
    scaled = amounts / seconds[:, None]
    size = np.linalg.norm(scaled, axis=0)
    size[size == 0] = 1.0
    weights = np.ones(len(seconds))
    costs = np.zeros(len(size))
    error = np.zeros(len(seconds))
    for _ in range(12):
        found = lsq_linear(
            scaled / size * weights[:, None], weights, bounds=(0, np.inf), method="bvls"
        )
        costs = np.maximum(found.x, 0.0)  # it may return -1e-20
        error = np.log(np.maximum(scaled @ (costs / size), 1e-6))
        # The benchmarks' machine took 8 to 15 ms for one loop within minutes: such errors are the
        # machine's and not the costs'.
        scale = max(0.05, 1.5 * float(np.median(np.abs(error))))
        weights = np.sqrt(1 / np.maximum(1.0, np.abs(error) / scale))
    return costs / size * np.exp(-np.median(error))  # as many above as below
