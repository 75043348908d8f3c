"""Work of a batch: what a plan asks of workers, and of the process that reconstructs.

Counted before anything is run, call by call as the estimator will make them. Nothing here knows
how long anything takes: see `pilotcut.perfmodel.costmodel`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.shift_rules import rules_of
from pilotcut.execution.contractions import contraction_of, way_of
from pilotcut.execution.wire_shots import LEAST_DEALT, stages_of
from pilotcut.options import USUAL_ENGINE, EngineOptions
from pilotcut.perfmodel.circuit_load import circuit_work
from pilotcut.perfmodel.exact_load import exact_work
from pilotcut.perfmodel.load import FragmentWork, Load
from pilotcut.perfmodel.statevector_load import draw_work
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch


@dataclass(frozen=True)
class Work:
    """Work of one batch of a plan.

    Parameters
    ----------
    mode, rows, shots
        Of the batch; shots of each subexperiment, 0 in exact mode.
    loads
        Calls on workers, alike ones together.
    steps
        Instructions of the circuit.
    template_gates
        Gates of the circuits that workers compile once.
    memory_bytes
        Of the largest state of a worker, or of the largest network.
    contraction_s
        Seconds of the contraction (`pilotcut.reconstruction.contraction_cost.cost_of_batch`).
    entries
        Numbers of the fragments' tensors, which travel back to the process that contracts them.
    way
        In exact mode how fragments are computed, "" in others.
    slopes
        Calls of derivatives, which follow those of the values: shifted circuits, or in exact mode
        pull-backs, whose costs are others than those of values; () where none are wanted.
    slope_entries
        Numbers that these give back.
    """

    mode: str
    rows: int
    shots: int
    loads: tuple[Load, ...] = field(repr=False)
    steps: int
    template_gates: int
    memory_bytes: float
    contraction_s: float
    entries: float
    way: str = ""
    slopes: tuple[Load, ...] = field(default=(), repr=False)
    slope_entries: float = 0.0

    @cached_property
    def calls(self) -> float:
        """Number of calls for the values."""
        return sum(load.number for load in self.loads)

    @cached_property
    def slope_calls(self) -> float:
        """Number of calls for the derivatives."""
        return sum(load.number for load in self.slopes)


def work_of(
    plan: CutPlan,
    mode: str,
    rows: int,
    shots: int = 1024,
    contraction: Contraction | None = None,
    *,
    engine: EngineOptions = USUAL_ENGINE,
    slots: Collection[int] = (),
    outputs: int = 1,
) -> Work:
    """Return the work of a batch of `rows` parameter sets.

    Parameters
    ----------
    plan
        Whose fragments are run.
    mode
        "counts", "sampled" or "exact".
    rows
        Parameter sets.
    shots
        Of each subexperiment; without meaning in exact mode.
    contraction
        What is contracted in this mode, if that is known already: in exact mode it may be of the
        plan joined.
    engine
        Of the exact mode.
    slots
        Slots of the program by which values are differentiated as well.
    outputs
        How many observables are, in exact mode; with shots all of them together.

    Raises
    ------
    CutError
        If the plan is too large for its mode.
    """
    exact = mode == "exact"
    shots = 0 if exact else shots
    whole = contraction or contraction_of(plan, mode, engine=engine)
    fragments = whole.plan.fragments
    counted = [_fragment_work(fragment, mode, rows, shots, engine) for fragment in fragments]
    waiting = not exact and shots >= LEAST_DEALT
    stages = stages_of(plan) if waiting else [list(range(len(counted)))]
    loads = [
        replace(load, stage=k)
        for k, stage in enumerate(stages)
        for f in stage
        for load in counted[f].loads
    ]
    slopes = [_slope_work(one, mode, rows, shots, engine, slots, outputs) for one in fragments]
    itemsize = 16 if exact else 8
    cost = cost_of_batch(whole, rows, environments=True, itemsize=itemsize)
    return Work(
        mode=mode,
        rows=rows,
        shots=shots,
        loads=tuple(loads),
        steps=len(plan.program.steps),
        template_gates=sum(one.template_gates for one in counted),
        memory_bytes=max(one.memory_bytes for one in counted),
        contraction_s=cost.seconds,
        entries=float(rows * sum(_entries(fragment, exact) for fragment in fragments)),
        way=way_of(whole, engine) if exact else "",
        slopes=tuple(load for loads, _ in slopes for load in loads),
        slope_entries=float(sum(entries for _, entries in slopes)),
    )


def _fragment_work(
    fragment: Fragment, mode: str, rows: int, shots: int, engine: EngineOptions
) -> FragmentWork:
    if mode == "counts":
        return circuit_work(fragment, rows, shots)
    if mode == "sampled":
        return draw_work(fragment, rows, shots)
    return exact_work(fragment, rows, engine)


def _slope_work(
    fragment: Fragment,
    mode: str,
    rows: int,
    shots: int,
    engine: EngineOptions,
    slots: Collection[int],
    outputs: int,
) -> tuple[tuple[Load, ...], float]:
    """Return the calls of a fragment's derivatives, and how many numbers they give back."""
    wanted = [k for k, angle in enumerate(fragment.angles) if angle.slot in slots]
    if not wanted:
        return (), 0.0
    if mode == "exact":
        # Each output has a way back of its own; the costs are of one, with the way there.
        scale = (1 + outputs) / 2
        loads = exact_work(fragment, rows, engine).loads
        scaled = (replace(load, amounts=scale * load.amounts) for load in loads)
        return tuple(scaled), rows * outputs * len(fragment.angles)
    rules = rules_of(fragment)
    shifted = rows * sum(len(rules[k]) for k in wanted)
    loads = _fragment_work(fragment, mode, shifted, shots, engine).loads
    return loads, shifted * _entries(fragment, False)


def _entries(fragment: Fragment, exact: bool) -> int:
    """Return the numbers of a fragment's tensor for one parameter set."""
    sites = (s.rank**2 if exact else len(s.operations) for s in fragment.sites)
    return len(fragment.observables) * prod(sites)
