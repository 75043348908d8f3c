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

from pilotcut import backends
from pilotcut.backends.cache import Cache
from pilotcut.backends.outcomes import outcome_wires
from pilotcut.backends.statevector_plan import StatevectorPlan
from pilotcut.circuits.observables import independent_rows
from pilotcut.cutting.fragment import Fragment
from pilotcut.execution.batching import exact_rows, parts_of, predicted_s
from pilotcut.execution.work_units import Request
from pilotcut.io.large_numbers import bounded
from pilotcut.options import STATEVECTOR, USUAL_ENGINE, EngineOptions

#: What is quicker than this, by an upper estimate, is not counted any closer.
QUICK_S = 0.1

# Seconds, with torch 2.13 and Aer 0.18 on one core of a two-core machine.
_OPERATION_S = 8e-5  # of an operation of the exact engine, whatever its size
_AMPLITUDE_S = 1.2e-8  # of an amplitude that a gate makes
_PRODUCT_S = 8e-9  # of a product of amplitudes for observables
_SUM_S = 1e-9  # of a pair of branches' amplitudes, summed for an observable
_LETTER_S = 1e-5  # of an observable, whatever the size of the states
_BRANCH_PAIR_S = 1.2e-7  # of a branch pair, for an outcome of the signs
_BIN_S = 5e-8  # of an outcome of a variant's signs, contracted, drawn and transformed
_DRAW_S = 4e-6  # of a variant that is drawn
_SIGNS_S = 1e-8  # of a product of two signs, for a variant
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
    engine: EngineOptions = USUAL_ENGINE,
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


def _seconds_of(
    request: Request, mode: str, pulled: int, outcomes: bool, engine: EngineOptions
) -> float:
    fragment, rows = request.fragment, len(request.angles)
    if mode == "exact":
        # Where cuts are joint, exact mode would cut their gates one by one.
        single = fragment.listing(None).separated()
        if not outcomes and (network := backends.exact_engine(engine).network(single)):
            return max(1, pulled) * network.seconds(rows)
        calls = len(exact_rows(fragment, rows, EngineOptions(STATEVECTOR)))
        return _exact_s(fragment, rows, calls) * (1 + _BACKWARD * pulled)
    if not request.subexperiments:
        return 0.0
    if mode == "sampled":
        return _sampled_s(request, outcomes)
    shots = request.total_shots / request.subexperiments
    return request.subexperiments * (_CIRCUIT_S + predicted_s(fragment, shots))


# -- the exact engine --------------------------------------------------------------------


def _exact_s(fragment: Fragment, rows: int, calls: float, groups: int | None = None) -> float:
    """Return seconds of tensors for `rows` rows, of the observables or of so many groups."""
    letters = max(1, len(fragment.observables)) if groups is None else groups
    branches = bounded(prod(site.rank for site in fragment.sites))
    size = 2.0 ** min(fragment.num_wires, 2 * fragment.width, 200)
    steps = len(fragment.steps) + letters
    each = rows * branches * size
    most = calls * steps * _OPERATION_S + each * (
        len(fragment.steps) * _AMPLITUDE_S + letters * (_PRODUCT_S + branches * _SUM_S)
    )
    if most < QUICK_S:
        return most
    states = _states_of(fragment)
    grams = states.products * _PRODUCT_S + states.sums * _SUM_S
    if groups is not None:
        grams = groups * states.squares * _SUM_S
    work = rows * (states.made * _AMPLITUDE_S + grams)
    return calls * (states.operations * _OPERATION_S + letters * _LETTER_S) + work


def state_bytes(fragment: Fragment) -> float:
    """Return the bytes that states of one parameter set take in the exact engine at a time."""
    return bounded(_states_of(fragment).row_bytes)


@dataclass(frozen=True)
class _States:
    """What the exact engine does for one parameter set of a fragment.

    Parameters
    ----------
    operations
        How many there are.
    made
        Amplitudes that gates make.
    row_bytes
        Of states at a time.
    products, sums
        See `pilotcut.backends.statevector_plan.GramSize`.
    squares
        Amplitudes of all pairs of branches.
    """

    operations: int
    made: float
    row_bytes: int
    products: float
    sums: float
    squares: float


# By fingerprint: a training asks the same at every step.
_known: Cache[str, _States] = Cache(64)


def _states_of(fragment: Fragment) -> _States:
    return _known.get(fragment.fingerprint, lambda: _counted(fragment))


def _counted(fragment: Fragment) -> _States:
    # The engine knows sites of one wire.
    plan = StatevectorPlan.cheapest(fragment.listing(None).separated())
    made = [
        bounded(prod(op.shape) ** (2 if op.mixed else 1))
        for op in plan.operations
        if op.kind == "apply"
    ]
    products, sums = sum(g.products for g in plan.grams), sum(g.sums for g in plan.grams)
    squares = sum(g.branches**2 * g.amplitudes for g in plan.grams)
    return _States(len(plan.operations), sum(made), plan.row_bytes, products, sums, squares)


# -- draws -------------------------------------------------------------------------------


def _sampled_s(request: Request, outcomes: bool) -> float:
    """Return seconds of draws: distributions of each call's rows, and each variant's part of them.

    Every call computes the states of its rows anew, and for each group of observables how its signs
    are distributed over the branch pairs of all sites. The variants' distributions follow site by
    site, those of a beginning together.
    """
    fragment, rows = request.fragment, len(request.angles)
    bins = [bounded(2 ** _independent(fragment, group)) for group in fragment.groups]
    members = [len(group) for group in fragment.groups]
    if outcomes:  # all bits of the wires that are left, in place of observables
        bins, members = [bounded(2 ** len(outcome_wires(fragment)))], []
    # As the estimator will divide it: calls for the same rows repeat their states.
    parts = [some for some, _, _ in parts_of(request)]
    repeated = sum(some.stop - some.start for some in parts)
    exact = _exact_s(fragment, repeated, len(parts), len(bins)) + len(parts) * _CALL_S
    pairs = bounded(prod(site.rank**2 for site in fragment.sites))
    begun = repeated * pairs * sum(bins) * _BRANCH_PAIR_S
    signs = 2.0 if fragment.sites else 1.0  # with those of measurements
    variant = len(bins) * _DRAW_S + signs * sum(bins) * _BIN_S
    variant += sum(float(g) ** 2 for g in members) * _SIGNS_S
    return exact + begun + rows * float(fragment.num_variants) * variant


def _independent(fragment: Fragment, group: Sequence[int]) -> int:
    """Return how many of a group's signs are independent."""
    members = fragment.observables[list(group)]
    independent, _ = independent_rows(members.x | members.z)
    return len(independent)
