"""Load of calls: the amounts that one call is counted in, by mode.

The names and the order of the amounts stand here and nowhere else: `circuit_load`,
`statevector_load` and `exact_load` count them, a calibration fits a cost to each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pilotcut.cutting.fragment import Fragment
from pilotcut.execution.batching import parts_of
from pilotcut.execution.work_units import Request

#: What a call of circuits with shots is made of, in the order of `Load.amounts`.
COUNTS = (
    "calls",
    "circuits",  # different ones, bound to many values
    "circuit_gates",
    "runs",
    "run_gates",
    "amplitude_gates",  # gates times amplitudes, up to `circuit_load.FUSED_QUBITS`
    "amplitude_passes",  # above, where Aer fuses gates: passes over the state, times amplitudes
    "shots",
    "shot_bits",
    "tableau_bits",  # those of Clifford circuits, which Aer simulates by a tableau
    "outcomes",  # distinct ones at most, which are read one by one
    "values",  # numbers bound to parameters
)

#: What a call of statevectors is made of. "near" states fit the caches, "far" ones do not.
STATES = (
    "calls",
    "operations",
    "free_sizes",  # 1 or 2 where gates of one or two qubits have free angles
    "free_factors",  # of gate matrices that are multiplied, all alike at once
    "fixed_factors",
    "row_factors",
    "row_operations",
    "near_products",  # multiplications of gates with states, and of joined ones
    "far_products",
    "copies",  # amplitudes brought into the order of a product, weighted (`copy_weight`)
    "grams",
    "near_gram_amplitudes",
    "far_gram_amplitudes",
    "gram_products",
)

#: What a call of a fragment's tensor networks is made of, beside itself.
NETWORKS = (
    "network_groups",  # of values that are computed in one call
    "network_rows",  # groups, once for each parameter set
    "network_products",  # multiplications
    "network_entries",  # numbers that are written
)

#: What a call of the exact engine is made of, which goes one of two ways.
EXACT = (*STATES, *NETWORKS)

#: What a call that draws from exact distributions is made of: states, and the draws.
SAMPLED = (*STATES, "distributions", "draws")

#: The amounts that calls of a mode are counted in.
KINDS = {"counts": COUNTS, "sampled": SAMPLED, "exact": EXACT}

#: Different calls that are counted one by one; of more, so many are, evenly chosen.
MOST_COUNTED = 256


@dataclass(frozen=True)
class Load:
    """Calls that are alike.

    Parameters
    ----------
    amounts
        Of one call, in the order of its mode's `KINDS`.
    number
        How many such calls there are.
    stage
        They wait for the calls of all stages before (`pilotcut.execution.wire_shots.stages_of`).
    """

    amounts: np.ndarray
    number: float = 1.0
    stage: int = 0


@dataclass(frozen=True)
class FragmentWork:
    """Work of a batch on one fragment; see `pilotcut.perfmodel.workload.Work`.

    Parameters
    ----------
    loads
        Calls on workers, alike ones together.
    template_gates
        Gates that workers compile once.
    memory_bytes
        Of the largest state of a worker.
    """

    loads: tuple[Load, ...]
    template_gates: int
    memory_bytes: float


def loads_of(
    fragment: Fragment, rows: int, shots: int, amounts: Callable[[int, slice], np.ndarray]
) -> tuple[Load, ...]:
    """Return the calls that subexperiments with shots are split into, alike ones together.

    Parameters
    ----------
    fragment, rows, shots
        As the estimator asks for them.
    amounts
        Counts one call: its number of parameter sets, and its part of the subexperiments.

    Notes
    -----
    Of more than `MOST_COUNTED` different calls some are counted, evenly chosen, and stand for the
    others: a million shots are split into thousands of calls that differ by a circuit or two.
    """
    parts = parts_of(Request(fragment, np.zeros((rows, 0)), shots))
    kinds = Counter((some.stop - some.start, part.start, part.stop) for some, part, _ in parts)
    chosen = list(kinds.items())[:: max(1, len(kinds) // MOST_COUNTED)]
    scale = kinds.total() / max(1, sum(number for _, number in chosen))
    return tuple(
        Load(amounts(size, slice(first, last)), number * scale)
        for (size, first, last), number in chosen
    )
