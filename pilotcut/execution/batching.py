"""Batching: requests divided into work units that are worth dispatching.

A unit is about `TARGET_S` of work. How a batch is divided depends on the plan and the shots alone,
never on the workers, and every unit's seed derives from (query, request, unit): results are the
same on one worker or sixteen, under any policy, and with workers dying in between. What runs on
devices is divided by the number of circuits and bound to them beforehand (see
`pilotcut.execution.device_assignment`). Knows rough costs; refuses to know who runs a unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil, prod

import numpy as np

from pilotcut import backends
from pilotcut.backends.base import Shots
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.execution.work_units import CircuitUnit, ExactUnit, Request, size_of
from pilotcut.options import USUAL_ENGINE, EngineOptions

#: Work of one unit in predicted seconds. Small enough to keep many workers busy, large enough that
#: dispatching it (about 1 ms) does not matter. 80 ms and not 50, for packing needs company: a
#: subexperiment cost 0.6 ms in units of 25 circuits and 0.35 ms in units of 200.
TARGET_S = 0.08

# Measured on one core of a two-core machine with Aer 0.18: floor of a circuit, of a shot
# and its bits, and of a gate on one amplitude. Only the sizes of units depend on them.
_CIRCUIT_S, _SHOT_S, _SHOT_BIT_S, _GATE_AMPLITUDE_S = 3e-4, 5e-7, 1.5e-7, 2e-9

_EXACT_AMPLITUDE_S = 2e-9

# Small subexperiments share circuits up to this width (see `pilotcut.backends.aer`).
_SHARED_WIDTH = 8


def circuit_units(
    requests: Sequence[Request],
    seed: np.random.SeedSequence,
    backend: str,
    most_circuits: int | None = None,
    kind: type[CircuitUnit] = CircuitUnit,
) -> list[CircuitUnit]:
    """Return the units of all requests with shots; those of the first rows come first.

    Parameters
    ----------
    requests
        What is asked.
    seed
        Each unit's seed derives from it.
    backend
        Name of the backend.
    most_circuits
        Circuits of a unit, where not its time decides.
    kind
        `CircuitUnit`, or `OutcomeUnit` for what the shots end in.
    """
    units = [
        kind(
            request=index,
            number=number,
            rows=rows,
            angles=request.angles[rows],
            cost_s=_cost_s(request.fragment, *size_of(rows, part, shots)),
            part=part,
            shots=shots,
            seed=seed_of(seed, index, number),
            backend=backend,
        )
        for index, request in enumerate(requests)
        for number, (rows, part, shots) in enumerate(parts_of(request, most_circuits))
    ]
    # Row by row, and not fragment by fragment: so the first rows are complete early, and their
    # contraction is hidden behind the units of the others.
    return sorted(units, key=lambda unit: unit.rows.start)


def exact_units(
    requests: Sequence[Request],
    cotangents: Sequence[np.ndarray] | None = None,
    wanted: Sequence[np.ndarray] | None = None,
    outcomes: bool = False,
    engine: EngineOptions = USUAL_ENGINE,
) -> list[ExactUnit]:
    """Return the units of all requests for values, for pulling back cotangents, or for states."""
    units = [
        ExactUnit(
            request=index,
            number=number,
            rows=rows,
            angles=request.angles[rows],
            cost_s=(rows.stop - rows.start) * exact_row_s(request.fragment, engine),
            cotangent=None if cotangents is None else cotangents[index][rows],
            wanted=None if wanted is None else wanted[index],
            outcomes=outcomes,
            engine=engine,
        )
        for index, request in enumerate(requests)
        for number, rows in enumerate(exact_rows(request.fragment, len(request.angles), engine))
    ]
    return sorted(units, key=lambda unit: unit.rows.start)


def parts_of(
    request: Request, most_circuits: int | None = None
) -> Iterator[tuple[slice, slice, Shots]]:
    """Yield rows, subexperiments and their shots, each about `TARGET_S` or so many circuits."""
    circuits = request.fragment.num_subexperiments
    rows = len(request.angles)
    run = request.subexperiments
    if not run:
        return
    # Of a batch's grid of parameter sets and subexperiments only those with shots take time.
    filled = run / (rows * circuits)
    if most_circuits is None:
        cell_s = predicted_s(request.fragment, request.total_shots / run) * filled
        most = max(1, round(TARGET_S / cell_s))
    else:
        most = max(1, round(most_circuits / filled))
    # Even pieces: a small last one would only wait for its dispatch.
    for some in _even(rows, max(1, most // circuits)):
        for part in _even(circuits, most):
            shots = request.shots
            yield some, part, shots[some, part] if isinstance(shots, np.ndarray) else shots


def exact_rows(fragment: Fragment, rows: int, engine: EngineOptions = USUAL_ENGINE) -> list[slice]:
    """Return the rows of each unit of the exact engine."""
    return even_rows(rows, exact_row_s(fragment, engine))


def even_rows(rows: int, row_s: float, most: int | None = None) -> list[slice]:
    """Return slices of rows, each about `TARGET_S` of work and of at most so many rows."""
    fitting = max(1, int(min(TARGET_S / row_s, rows)))
    return _even(rows, fitting if most is None else min(fitting, most))


def _even(size: int, most: int) -> list[slice]:
    pieces = ceil(size / most)
    edges = [size * k // pieces for k in range(pieces + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def exact_row_s(fragment: Fragment, engine: EngineOptions = USUAL_ENGINE) -> float:
    """Return the rough cost of one parameter set in the exact engine, in seconds."""
    if (network := backends.exact_engine(engine).network(fragment)) is not None:
        return network.seconds(1)
    branches = prod(site.rank for site in fragment.sites)
    # Of a state of all wires, or of a density matrix of those alive.
    amplitudes = branches * 2.0 ** min(fragment.num_wires, 2 * fragment.width, 60)
    # A fragment without any gate would cost nothing, and batches are divided by what a row costs.
    return max(1, len(fragment.steps)) * amplitudes * _EXACT_AMPLITUDE_S


def predicted_s(fragment: Fragment, shots: float) -> float:
    """Return the rough cost of one of the fragment's subexperiments, in seconds."""
    gates = sum(not isinstance(step, Site) for step in fragment.steps)
    width = fragment.width + len(fragment.sites) / 2  # with the ancillas of half the sites
    copies = max(1.0, _SHARED_WIDTH / width)
    shot_s = _SHOT_S + _SHOT_BIT_S * width * copies
    amplitudes = 2.0 ** min(width * copies, 60.0)
    circuit_s = _CIRCUIT_S + shots * shot_s + gates * copies * amplitudes * _GATE_AMPLITUDE_S
    return circuit_s / copies


def _cost_s(fragment: Fragment, circuits: int, shots: int) -> float:
    return circuits * predicted_s(fragment, shots / max(circuits, 1))


def seed_of(seed: np.random.SeedSequence, request: int, number: int) -> int:
    """Spawn a unit's seed; Aer counts circuits up from it, so seeds must be far apart."""
    key = (*seed.spawn_key, request, number)
    child = np.random.SeedSequence(seed.entropy, spawn_key=key)
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
