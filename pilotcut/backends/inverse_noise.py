"""Inverses of noise, as sums of operations that a device can do, with weights of both signs.

The noise of a gate is relaxation and Pauli errors; what undoes it is no operation, but a weighted
sum of Paulis and resets on the gate's qubits (Temme, Bravyi and Gambetta, arXiv:1612.02058). The
weights are those with the least sum of sizes; the noise of what is put in is part of the sum.
Refuses to know whose noise it is, and how sums are sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import pi

import numpy as np
from qiskit.circuit import Instruction
from qiskit.circuit.library import (
    PhaseGate,
    RGate,
    RXGate,
    RZGate,
    SXGate,
    UGate,
    XGate,
    ZGate,
)
from qiskit.circuit.reset import Reset
from qiskit.quantum_info import PTM, SuperOp
from qiskit.transpiler import Target

#: What may be put in on a qubit: Paulis, and a reset to 0 or 1. The first is nothing.
LETTERS = "IXYZ01"

#: Where Pauli transfer matrices (rows and columns I, X, Y, Z) of Paulis, relaxation and resets have
#: entries; without resets the last is out of reach.
_ENTRIES = ((0, 0), (1, 1), (2, 2), (3, 3), (3, 0))

#: Entries elsewhere up to here are rounding; a turn by as many radians leaves them.
_TURN = 1e-6

#: The noise of an instruction on qubits of a device, as a matrix; None where there is none.
NoiseOf = Callable[[str, tuple[int, ...]], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Insertion:
    """What may be put in on a qubit.

    Parameters
    ----------
    steps
        Instructions of the device.
    transfer
        Pauli transfer matrix (4, 4) with the noise of these.
    """

    steps: tuple[Instruction, ...]
    transfer: np.ndarray


@dataclass(frozen=True, eq=False)
class Inverse:
    """The inverse of a gate's noise.

    Parameters
    ----------
    steps
        Of each term, the instructions on each qubit of the gate; of the first term none.
    weights
        Of each term; they add up to 1.
    """

    steps: tuple[tuple[tuple[Instruction, ...], ...], ...]
    weights: np.ndarray

    @property
    def overhead(self) -> float:
        """How many times as large errors are with the same shots: the sum of the sizes."""
        return float(np.abs(self.weights).sum())


def transfer_of(noise: SuperOp) -> np.ndarray:
    """Return the Pauli transfer matrix of noise, the first qubit's Paulis running fastest."""
    return np.asarray(PTM(noise).data.real)


def insertions_on(qubit: int, target: Target, noise_of: NoiseOf) -> list[Insertion]:
    """Return what may be put in on a qubit, by the device's gates; [] without all Paulis."""
    found: list[tuple[Instruction, ...]] = [()]
    x, z, y = (_first(ways, qubit, target) for ways in (_XS, _ZS, _YS))
    if x is None:
        return []
    z = z or (None if y is None else (*y, *x))
    if z is None:
        return []
    found += [x, y or (*z, *x), z]
    if target.instruction_supported("reset", (qubit,)):
        found += [(Reset(),), (Reset(), *x)]
    return [Insertion(steps, _noisy(steps, qubit, noise_of)) for steps in found]


_XS: tuple[tuple[Instruction, ...], ...] = (
    (XGate(),),
    (RXGate(pi),),
    (RGate(pi, 0.0),),
    (SXGate(), SXGate()),
    (UGate(pi, 0.0, pi),),
)
_YS: tuple[tuple[Instruction, ...], ...] = ((RGate(pi, pi / 2),), (UGate(pi, pi / 2, pi / 2),))
_ZS: tuple[tuple[Instruction, ...], ...] = (
    (RZGate(pi),),
    (ZGate(),),
    (PhaseGate(pi),),
    (UGate(0.0, 0.0, pi),),
)


def _first(
    ways: Sequence[tuple[Instruction, ...]], qubit: int, target: Target
) -> tuple[Instruction, ...] | None:
    def known(step: Instruction) -> bool:
        return bool(
            target.instruction_supported(step.name, (qubit,), parameters=step.params or None)
        )

    return next((steps for steps in ways if all(map(known, steps))), None)


def _noisy(steps: Sequence[Instruction], qubit: int, noise_of: NoiseOf) -> np.ndarray:
    whole = np.eye(4)
    for step in steps:
        noise = noise_of(step.name, (qubit,))
        whole = transfer_of(SuperOp(step)) @ whole
        whole = whole if noise is None else noise @ whole
    return whole


def inverse_of(noise: np.ndarray, options: Sequence[Sequence[Insertion]]) -> Inverse | None:
    """Return the inverse of noise behind a gate, None if its qubits' operations make up none.

    Where a qubit has no reset, relaxation is undone as if it went to 0 and to 1 alike: that is
    its average over Paulis around the gate.

    Parameters
    ----------
    noise
        Pauli transfer matrix (4^n, 4^n) on n qubits.
    options
        What may be put in on each qubit, the first nothing.
    """
    try:
        wanted = np.linalg.inv(noise)
    except np.linalg.LinAlgError:
        return None
    size = len(options)
    if np.abs(wanted[~_among(size, [5] * size)]).max(initial=0.0) > _TURN:
        return None
    within = _among(size, [4 if len(some) < len(LETTERS) else 5 for some in options])
    terms = list(product(*options))
    # The first qubit's index runs fastest, so its matrix is the last factor.
    columns = np.stack(
        [reduce(np.kron, [one.transfer for one in term[::-1]])[within] for term in terms], axis=1
    )
    weights = _least(columns, wanted[within])
    if weights is None or weights[0] <= 0:
        return None
    some = np.flatnonzero(weights).tolist()  # the first is among them
    steps = tuple(tuple(one.steps for one in terms[k]) for k in some)
    return Inverse(steps, weights[some])


def _among(size: int, kept: Sequence[int]) -> np.ndarray:
    """Return which entries Paulis, relaxation and resets have, (4^n, 4^n)."""
    whole = np.ones((1, 1), dtype=bool)
    for number in kept:
        one = np.zeros((4, 4), dtype=bool)
        one[tuple(np.transpose(_ENTRIES[:number]))] = True
        whole = np.kron(one, whole)
    assert whole.shape == (4**size, 4**size)
    return whole


def _least(columns: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Return the weights of columns that add up to something, of the least sum of sizes.

    The first column is near to it, and its weight positive.
    """
    # Here, as it is two thirds of what the backends take to be imported, by every worker.
    from scipy.optimize import linprog

    number = columns.shape[1]
    rest = wanted - columns[:, 0]
    scale = float(np.abs(rest).max())
    # Of the rest, in its own size: the solver's tolerance is larger than the noise of good gates.
    found = linprog(
        np.ones(2 * number - 1),
        A_eq=np.hstack([columns, -columns[:, 1:]]),
        b_eq=rest / scale,
        bounds=[(None, None), *[(0, None)] * (2 * number - 2)],
        method="highs",
    )
    if found.x is None:
        return None
    weights = found.x[:number].copy()
    weights[1:] -= found.x[number:]
    some = np.abs(weights) > 1e-9
    some[0] = True
    weights[some] = np.linalg.lstsq(columns[:, some], rest / scale, rcond=None)[0]
    weights[~some] = 0.0
    if np.abs(columns @ weights - rest / scale).max() > 1e-6:
        return None
    return np.eye(number)[0] + scale * weights
