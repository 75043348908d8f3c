"""Work of a batch: what a plan asks of workers, and of the process that reconstructs.

Counted before anything is run, call by call as the estimator will make them. Nothing here knows
how long anything takes: see `pilotcut.perfmodel.costmodel`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.wire_shots import LEAST_DEALT, stages_of
from pilotcut.perfmodel.circuit_load import circuit_work
from pilotcut.perfmodel.load import FragmentWork, Load
from pilotcut.perfmodel.statevector_load import draw_work, statevector_work
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
        Of the largest state of a worker.
    contraction_s
        Seconds of the contraction (`pilotcut.reconstruction.contraction_cost.cost_of_batch`).
    entries
        Numbers of the fragments' tensors, which travel back to the process that contracts them.
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

    @cached_property
    def calls(self) -> float:
        """Number of calls."""
        return sum(load.number for load in self.loads)


def work_of(
    plan: CutPlan, mode: str, rows: int, shots: int = 1024, contraction: Contraction | None = None
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
        The plan's in the basis of its mode, if its path has been searched already.
    """
    exact = mode == "exact"
    shots = 0 if exact else shots
    whole = contraction or Contraction.of(plan, coherent=exact)
    counted = [_fragment_work(fragment, mode, rows, shots) for fragment in plan.fragments]
    waiting = not exact and shots >= LEAST_DEALT
    stages = stages_of(plan) if waiting else [list(range(len(counted)))]
    loads = [
        replace(load, stage=k)
        for k, stage in enumerate(stages)
        for f in stage
        for load in counted[f].loads
    ]
    sites = [
        prod(s.rank**2 if exact else len(s.operations) for s in f.sites) for f in plan.fragments
    ]
    return Work(
        mode=mode,
        rows=rows,
        shots=shots,
        loads=tuple(loads),
        steps=len(plan.program.steps),
        template_gates=sum(one.template_gates for one in counted),
        memory_bytes=max(one.memory_bytes for one in counted),
        contraction_s=cost_of_batch(
            whole, rows, environments=True, itemsize=16 if exact else 8
        ).seconds,
        entries=float(
            sum(rows * len(f.observables) * n for f, n in zip(plan.fragments, sites, strict=True))
        ),
    )


def _fragment_work(fragment: Fragment, mode: str, rows: int, shots: int) -> FragmentWork:
    if mode == "counts":
        return circuit_work(fragment, rows, shots)
    if mode == "sampled":
        return draw_work(fragment, rows, shots)
    return statevector_work(fragment, rows)
