"""Calibrations made up from known costs, through the amounts of real plans: no clock is read."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from pilotcut.cutting.plan import CutPlan, compile_plan
from pilotcut.options import AUTO, STATEVECTOR, EngineOptions
from pilotcut.perfmodel import resources
from pilotcut.perfmodel.calibration import (
    BatchObservation,
    Calibration,
    CallObservation,
    ModeObservations,
    key_of,
    now,
    observation,
    versions,
)
from pilotcut.perfmodel.calibration_files import path_of, save
from pilotcut.perfmodel.costmodel import BATCH, Costs, batch_amounts
from pilotcut.perfmodel.load import KINDS
from pilotcut.perfmodel.sample_circuits import FAMILIES
from pilotcut.perfmodel.workload import work_of
from pilotcut.pilots.description import PilotDescription

#: Seconds for each amount of a call; what is not named costs nothing.
CALL_S = {
    "calls": 5e-4,
    "circuits": 1e-4,
    "circuit_gates": 1e-5,
    "runs": 2e-4,
    "amplitude_gates": 2e-9,
    "amplitude_passes": 2e-9,
    "shots": 5e-7,
    "shot_bits": 1e-7,
    "operations": 2e-5,
    "near_products": 1e-9,
    "far_products": 2e-9,
    "copies": 1e-9,
    "grams": 5e-5,
    "gram_products": 1e-9,
    "draws": 1e-7,
    "network_groups": 2e-5,
    "network_products": 1e-10,
    "network_entries": 2e-9,
}

#: How much longer a pull-back takes than the values.
SLOPE = 3.0

#: Seconds for each amount of a batch; the calls' makespan counts as it is.
BATCH_S = {"batches": 2e-3, "makespan_s": 1.0, "calls": 1e-4, "contraction_s": 1.0}

#: (qubits, cuts) of the circuits of each family.
SIZES = ((3, 0), (4, 2), (6, 0), (8, 2), (10, 2), (12, 0), (12, 2), (16, 0), (18, 0))


def known_costs(mode: str) -> Costs:
    """Return the costs that a mode's calibration is made from."""
    call = tuple(CALL_S.get(name, 0.0) for name in KINDS[mode])
    batch = tuple(BATCH_S.get(name, 0.0) for name in BATCH)
    slope = tuple(SLOPE * cost for cost in call) if mode == "exact" else ()
    return Costs(call, batch, 1e-4, 1e-5, spread=0.1, slope=slope)


@cache
def plans() -> tuple[tuple[str, CutPlan], ...]:
    """Return the families' names and plans."""
    return tuple(
        (family, compile_plan(build(qubits), "Z" * qubits, cuts=cuts))
        for qubits, cuts in SIZES
        for family, build in FAMILIES.items()
    )


@cache
def observations(mode: str, slots: int = 1, factor: float = 1.0) -> ModeObservations:
    """Return what is seen of a pilot that takes `factor` times the known costs, exactly."""
    costs = known_costs(mode)
    calls: list[CallObservation] = []
    batches: list[BatchObservation] = []
    for number, (family, plan) in enumerate(plans()):
        # Exact mode by states and by networks, as it is measured.
        engine = EngineOptions((STATEVECTOR, AUTO)[number // 2 % 2])
        work = work_of(plan, mode, rows=(1, 4, 16)[number % 3], engine=engine)
        for load in work.loads:
            seconds = factor * float(load.amounts @ np.array(costs.call))
            calls.append(CallObservation(family, tuple(load.amounts.tolist()), seconds))
        amounts = batch_amounts(work, costs.call, slots)
        batches.append(observation(family, work, factor * float(amounts @ np.array(costs.batch))))
    slopes = [replace(one, seconds=SLOPE * one.seconds) for one in calls if mode == "exact"]
    compiling = (costs.compile_step_s, costs.compile_gate_s)
    return ModeObservations(tuple(calls), tuple(batches), *compiling, tuple(slopes))


def made_up(
    pilot: PilotDescription | None = None,
    modes: tuple[str, ...] = ("counts", "sampled", "exact"),
    factor: float = 1.0,
) -> Calibration:
    """Return a calibration of a pilot, None for this process, made here and now."""
    slots = 1 if pilot is None else pilot.slots
    return Calibration(
        pilot="here" if pilot is None else pilot.kind,
        key=key_of(pilot),
        slots=slots,
        machine=resources.machine(),
        seen=resources.detect(),
        versions=versions(),
        made=now(),
        modes={mode: observations(mode, slots, factor) for mode in modes},
    )


def install(pilot: PilotDescription | None = None, **how) -> Calibration:
    """Keep a made-up calibration where recommendations look for it."""
    made = made_up(pilot, **how)
    save(made, path_of(pilot))
    return made


#: A worker of it has 72 MiB for states, 22 qubits of them.
SMALL = PilotDescription(name="small", resource="slurm", memory_per_node="600 MB")


LARGE = PilotDescription(name="large", resource="slurm", memory_per_node="64 GiB")


def fault(error) -> str:
    (line,) = error.value.faults
    assert "\n" not in line
    return line
