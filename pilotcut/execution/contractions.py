"""Contractions of plans: in which basis, whether they are small enough, and what is contracted.

In exact mode a cut is no necessity but a way to compute. What its branches cost may be more than
what the whole circuit costs, as a state or as a tensor network; then the plan is run *joined*, as
one that has no cuts. Owns that choice and the checks of sizes. Refuses to know how fragments are
computed.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from pilotcut import backends
from pilotcut.cutting.plan import CutPlan, build_plan, check_overhead, check_size, is_too_large
from pilotcut.errors import CutError
from pilotcut.options import NETWORK, STATEVECTOR, USUAL_ENGINE, EngineOptions
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch

#: Predicted seconds of a batch without cuts for which no networks of fragments are looked for.
SMALL_S = 5e-3


def contraction_of(
    plan: CutPlan,
    mode: str,
    *,
    engine: EngineOptions = USUAL_ENGINE,
    term_samples: bool = False,
) -> Contraction:
    """Return the contraction of a plan in a mode; in exact mode joined, where that is quicker.

    Parameters
    ----------
    plan
        As it was asked for.
    mode
        "counts", "sampled" or "exact".
    engine
        How the exact mode computes.
    term_samples
        Whether terms of the cuts are drawn, in place of all variants.

    Raises
    ------
    CutError
        If the plan is too large, or has no network where one is asked for.
    """
    if mode == "exact":
        return _exact(plan, engine)
    if term_samples:
        check_overhead(plan)
    else:
        check_size(plan, coherent=False)
    # It draws from statevectors of the branches: these count beside the variants.
    if mode == "sampled":
        check_size(plan, coherent=True)
    return Contraction.of(plan)


def _exact(plan: CutPlan, engine: EngineOptions) -> Contraction:
    """Return the contraction in the coherent basis, of a plan or of it joined."""
    if engine.way != STATEVECTOR and plan.bonds:
        joined = _joined(plan)
        if _is_quicker(joined, plan, engine):
            return replace(Contraction.of(joined, coherent=True), asked=plan)
    check_size(plan, coherent=True)
    if engine.way == NETWORK:
        _check_networks(plan, engine)
    return Contraction.of(plan, coherent=True)


def way_of(contraction: Contraction, engine: EngineOptions = USUAL_ENGINE) -> str:
    """Return in words how a contraction's fragments are computed, for records."""
    exact = backends.exact_engine(engine)
    networks = {exact.network(f) is not None for f in contraction.plan.fragments}
    ways = " and ".join(
        name
        for is_network, name in ((False, STATEVECTOR), (True, NETWORK))
        if is_network in networks
    )
    return ways if contraction.asked is None else f"joined {ways}"


def _joined(plan: CutPlan) -> CutPlan:
    """Return the plan of the same circuit without cuts."""
    steps = tuple(step for step in plan.program.steps if step.name != "cut_wire")
    program = replace(plan.program, steps=steps)
    return build_plan(program, plan.binding, plan.terms, None)


def _is_quicker(joined: CutPlan, plan: CutPlan, engine: EngineOptions) -> bool:
    """Return whether a batch with its derivatives is predicted to be quicker without the cuts."""
    # Networks are dear to look for, so each only as far as it may be the quickest way.
    limit_s = inf
    if engine.way != NETWORK:
        by_states_s = _seconds(plan, engine, by_states=True)
        limit_s = by_states_s if by_states_s < inf else _seconds(plan, engine)
    whole_s = _seconds(joined, engine, limit_s)
    # What is small costs its calls, and fragments of it have about as many each.
    if whole_s >= limit_s or whole_s < SMALL_S:
        return whole_s < limit_s
    return whole_s < _seconds(plan, engine)


def _seconds(
    plan: CutPlan, engine: EngineOptions, limit_s: float = inf, *, by_states: bool = False
) -> float:
    """Return about how long a batch takes with its derivatives; infinite where memory lacks.

    Also where it takes longer than a limit; `by_states` without networks.
    """
    exact = backends.exact_engine(engine)
    rows = exact.typical_rows
    if is_too_large(plan, coherent=True):
        return inf
    if engine.way == NETWORK and any(exact.network(f) is None for f in plan.fragments):
        return inf
    fragments = sum(
        exact.state_seconds(fragment, rows) if by_states else exact.seconds(fragment, rows, limit_s)
        for fragment in plan.fragments
    )
    if fragments == inf or not plan.bonds:
        return fragments
    contraction = Contraction.of(plan, coherent=True)
    return fragments + cost_of_batch(contraction, rows, True, 16).seconds


def _check_networks(plan: CutPlan, engine: EngineOptions) -> None:
    """Raise CutError unless every fragment is a network's."""
    # Here, as it loads torch, which other modes do without.
    from pilotcut.backends.network import MOST_GATES, MOST_SEEN, MOST_WIRES

    exact = backends.exact_engine(engine)
    for fragment in plan.fragments:
        if exact.network(fragment) is None:
            which = f"fragment {fragment.label}" if plan.bonds else "the circuit"
            raise CutError(
                f"engine is 'network', but {which} has {len(fragment.steps):,} gates for "
                f"{len(fragment.observables):,} terms, expected at most {MOST_GATES:,} gates, "
                f"{MOST_SEEN:,} in the terms' light cones, of at most {MOST_WIRES} wires, and not "
                f"too entangled; use engine='statevector'"
            )
