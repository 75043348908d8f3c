"""Duration of requests, roughly and before they run: what would take long says so first.

Counted from shapes, within about a factor of three (`benchmarks/forecast.py`): no circuit is built,
and no calibration is needed (`pilotcut.perfmodel` knows better with one, and takes longer to
count). The constants were measured on one core; what takes minutes there takes minutes elsewhere.
Refuses to know plans, and what is done about a long one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from pilotcut import backends
from pilotcut.backends.cache import Cache
from pilotcut.backends.outcomes import outcome_wires
from pilotcut.backends.statevector_plan import StatevectorPlan
from pilotcut.circuits.observables import independent_rows
from pilotcut.cutting.fragment import Fragment
from pilotcut.execution.batching import exact_rows, parts_of, predicted_s
from pilotcut.execution.work_units import Request
from pilotcut.options import AUTO, STATEVECTOR

#: What is quicker than this, by an upper estimate, is not counted any closer.
QUICK_S = 0.1

# Seconds, with torch 2.13 and Aer 0.18 on one core of a two-core machine.
_OPERATION_S = 3e-4  # of an operation of the exact engine, whatever its size
_AMPLITUDE_S = 6e-8  # of an amplitude that a gate makes
_PAIR_S = 8e-9  # of an amplitude of a pair of branches, for what bits observables flip
_SUM_S = 6e-10  # of such an amplitude, for an observable
_LETTER_S = 1e-5  # of an observable, whatever the size of the states
_BRANCH_PAIR_S = 2.5e-9  # of a branch pair, for a variant that is drawn and an observable
_DRAW_S = 4e-6  # of a variant that is drawn
_SIGN_S = 1e-9  # of a product in the transform of a variant's signs
_CALL_S = 3e-3  # of a call that draws
_CIRCUIT_S = 2e-4  # of a circuit with shots, beside what Aer takes for it

#: A backward pass works on each state several times again.
_BACKWARD = 3.0


def seconds_of(
    requests: Sequence[Request],
    mode: str,
    *,
    pulled: int = 0,
    outcomes: bool = False,
    engine: str = AUTO,
) -> float:
    """Return about how many seconds requests take on one worker.

    Parameters
    ----------
    requests
        What is to be run; shots do not matter in exact mode.
    mode
        "counts", "sampled" or "exact".
    pulled
        In exact mode, how many outputs are differentiated by the angles.
    outcomes
        Whether all final bits are asked for, as by a distribution, and not observables.
    engine
        Of the exact mode.
    """
    return sum(_seconds_of(request, mode, pulled, outcomes, engine) for request in requests)


def _seconds_of(request: Request, mode: str, pulled: int, outcomes: bool, engine: str) -> float:
    fragment, rows = request.fragment, len(request.angles)
    if mode == "exact":
        if not outcomes and (network := backends.exact_engine(engine).network(fragment)):
            return max(1, pulled) * network.seconds(rows)
        calls = len(exact_rows(fragment, rows, STATEVECTOR))
        return _exact_s(fragment, rows, calls, _letters(fragment)) * (1 + _BACKWARD * pulled)
    if not request.subexperiments:
        return 0.0
    if mode == "sampled":
        return _sampled_s(request, outcomes)
    shots = request.total_shots / request.subexperiments
    return request.subexperiments * (_CIRCUIT_S + predicted_s(fragment, shots))


# -- the exact engine --------------------------------------------------------------------


def _letters(fragment: Fragment) -> float:
    return float(max(1, len(fragment.observables)))


def _exact_s(fragment: Fragment, rows: int, calls: float, letters: float) -> float:
    """Return seconds of tensors for `rows` rows, with so many observables each."""
    branches = float(prod(site.rank for site in fragment.sites))
    size = 2.0 ** min(fragment.num_wires, 2 * fragment.width, 200)
    steps = len(fragment.steps) + letters
    each = rows * branches * size
    most = calls * steps * _OPERATION_S + each * (
        len(fragment.steps) * _AMPLITUDE_S + letters * branches * _PAIR_S
    )
    if most < QUICK_S:
        return most
    states = _states_of(fragment)
    grams = states.pairs * _PAIR_S + states.sums * _SUM_S
    work = rows * (states.made * _AMPLITUDE_S + letters / _letters(fragment) * grams)
    return calls * (states.operations * _OPERATION_S + letters * _LETTER_S) + work


def state_bytes(fragment: Fragment) -> float:
    """Return the bytes of all states of one parameter set in the exact engine."""
    return 16.0 * _states_of(fragment).kept


@dataclass(frozen=True)
class _States:
    """What the exact engine does for one parameter set of a fragment.

    Parameters
    ----------
    operations
        How many there are.
    made, kept
        Amplitudes that gates make, and those of all states.
    pairs, sums
        See `pilotcut.backends.statevector_plan.GramSize`.
    """

    operations: int
    made: float
    kept: float
    pairs: float
    sums: float


# By fingerprint: a training asks the same at every step.
_known: Cache[str, _States] = Cache(64)


def _states_of(fragment: Fragment) -> _States:
    return _known.get(fragment.fingerprint, lambda: _counted(fragment))


def _counted(fragment: Fragment) -> _States:
    # The engine knows sites of one wire.
    plan = StatevectorPlan.cheapest(fragment.listing(None).separated())
    made = [
        float(prod(op.shape)) ** (2 if op.mixed else 1)
        for op in plan.operations
        if op.kind == "apply"
    ]
    pairs, sums = (sum(some) for some in zip(*((g.pairs, g.sums) for g in plan.grams), strict=True))
    return _States(len(plan.operations), sum(made), float(plan.amplitudes), pairs, sums)


# -- draws -------------------------------------------------------------------------------


def _sampled_s(request: Request, outcomes: bool) -> float:
    """Return seconds of draws: distributions of each call's rows, and each variant's part of them.

    Every call computes the tensors of its rows anew, for all products of observables that are
    measured together. Then each variant is a contraction of them over the branch pairs of all
    sites, which is what takes hours beyond seven cuts a fragment.
    """
    fragment, rows = request.fragment, len(request.angles)
    signs = [_independent(fragment, group) for group in fragment.groups]
    products = sum(2.0**k for k in signs)
    letters = products
    if outcomes:  # a tensor over all bits of the wires that are left, in place of observables
        signs, letters = [0] * len(signs), 1.0
        products = 2.0 ** len(outcome_wires(fragment))
    # As the estimator will divide it: calls for the same rows repeat their tensors.
    parts = [some for some, _, _ in parts_of(request)]
    repeated = sum(some.stop - some.start for some in parts)
    exact = _exact_s(fragment, repeated, len(parts), letters) + len(parts) * _CALL_S
    pairs = float(prod(site.rank**2 for site in fragment.sites))
    variants = rows * float(fragment.num_variants)
    # Of the first site's axis all pairs, of the next a quarter, ...: 4/3 in all, once without and
    # once with the signs of measurements.
    contracted = variants * products * pairs * (8 / 3 if fragment.sites else 1.0)
    transformed = variants * sum(
        4.0**k + 2.0**k * len(group) ** 2 for k, group in zip(signs, fragment.groups, strict=True)
    )
    drawn = variants * len(signs) * _DRAW_S
    return exact + contracted * _BRANCH_PAIR_S + transformed * _SIGN_S + drawn


def _independent(fragment: Fragment, group: Sequence[int]) -> int:
    """Return how many of a group's signs are independent, those of measurements included."""
    members = fragment.observables[list(group)]
    independent, _ = independent_rows(np.hstack([members.x, members.z]))
    return len(independent) + bool(fragment.sites)
