"""One cut in two bases: local operations a side, and the bond matrix between them.

A cut replaces a two-qubit gate, or a wire, by ``U(rho) = sum_ij C_ij (A_i x B_j)(rho)``, with the
*distinct* operations of each side and the bond matrix ``C`` between them.

An operation is a channel of one qubit, so two are the same when their Pauli transfer
matrices are.

That is the physical basis, what a QPU can run. The coherent basis is what a simulator can
run: the operator-Schmidt decomposition of the gate's matrix, ``U = sum_r c_r A_r x B_r``,
of rank 2 for CX, CZ, RZZ, CRZ and for a wire, and 4 for a SWAP.

This module owns what a basis is; those of gates and wires are `pilotcut.cutting.gate_basis`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.synthesis import OneQubitEulerDecomposer

#: Where an operation stands on its wire: inside it, at its end (the source of a wire
#: cut, which measures and discards) or at its start (the destination, which prepares).
KINDS = ("gate", "end", "start")

_PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_EULER = OneQubitEulerDecomposer("U")


@dataclass(frozen=True)
class LocalOperation:
    """``U(*before)``, then a signed Z measurement if `measured`, then ``U(*after)``.

    Parameters
    ----------
    before, after
        The angles (theta, phi, lambda) of a `qiskit.circuit.library.UGate`, in radians.
    measured
        Whether the operation measures and multiplies the outcome's sign into the result.
    """

    before: tuple[float, float, float]
    measured: bool = False
    after: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class JointOperation:
    """Rotations about strings of Z on several wires, then perhaps a signed measurement of one.

    Parameters
    ----------
    rotations
        The angle t of ``exp(-i t/2 Z_S)`` in radians for every set S of wires, given as bits
        from 1 to 2^n - 1.
    measured
        The set of wires, as bits, whose product of Z is measured and whose sign multiplies
        the result; 0 for none.
    """

    rotations: tuple[float, ...]
    measured: int = 0


@dataclass(frozen=True)
class BasisState:
    """A state of one of the mutually unbiased bases of some wires.

    Where the wires end it is found by measuring in that basis, where they start it is prepared.
    See `pilotcut.cutting.wires` for the bases.

    Parameters
    ----------
    basis
        Number of the basis; 0 is the computational one.
    state
        Number of the state, wire by wire as bits, the first wire the lowest.
    rotations
        For each wire the angles of the `qiskit.circuit.library.UGate` that turns ``|0>`` into its
        part of the state, before the gates CZ.
    entangled
        The pairs of wires, by place, that a CZ follows on.
    after
        Angles of a last U on each wire, behind the CZ; () for none.
    """

    basis: int
    state: int
    rotations: tuple[tuple[float, float, float], ...]
    entangled: tuple[tuple[int, int], ...] = ()
    after: tuple[tuple[float, float, float], ...] = ()

    @property
    def measured(self) -> int:
        """The set of entangled pairs as bits: states that agree on it share a circuit."""
        return sum(1 << (4 * a + b) for a, b in self.entangled)


Operation = LocalOperation | JointOperation | BasisState


@dataclass(frozen=True)
class CutBasis:
    """One cut in both bases: the local operations of its sides, and what joins them.

    Parameters
    ----------
    kinds
        Where each side's operations stand on their wires, of `KINDS`.
    operations
        The distinct operations of side 0 and of side 1.
    coefficients
        Array (d0, d1), or (3, d0, d1) with a free angle x: the bond matrix is then
        ``c[0] + c[1] cos(x) + c[2] sin(x)``. Several angles have an axis of length 3 each.
    branches
        The coherent basis ``U = sum_r c_r(x) A_r x B_r``: (R, 2, 2) complex, ``A_r`` of side 0
        and ``B_r`` of side 1. Those of a wire are the states ``|r>``: at its end the wire itself
        becomes the branch.
    amplitudes
        (R,) complex, or (3, R) with a free angle x in radians: ``c`` is then
        ``a[0] + a[1] cos(x/2) + a[2] sin(x/2)``. Several angles have an axis of length 3 each.
    overhead
        Sampling overhead gamma^2 of the joint terms, at the worst angle if that is free.
    """

    kinds: tuple[str, str]
    operations: tuple[tuple[Operation, ...], tuple[Operation, ...]]
    coefficients: np.ndarray
    branches: tuple[np.ndarray, np.ndarray]
    amplitudes: np.ndarray
    overhead: float

    @property
    def rank(self) -> int:
        """Number of branches R."""
        return self.amplitudes.shape[-1]


def harmonics(x: np.ndarray) -> np.ndarray:
    """Return 1, cos x and sin x of angles (batch,), as (batch, 3)."""
    return np.stack([np.ones_like(x), np.cos(x), np.sin(x)], axis=1)


def weighted(coefficients: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Return sums over the leading axes of length 3, (batch, ...) for weights (batch, 3) each."""
    result = coefficients[None]
    for some in weights:
        flat = result.reshape(len(result), 3, -1)  # the first of them has a batch of one
        summed = np.einsum("bh,bhx->bx", some, flat)
        result = summed.reshape(len(some), *result.shape[2:])
    return result


def u_angles(matrix: np.ndarray) -> tuple[float, float, float]:
    """Return theta, phi and lambda of ``U`` for a (2, 2) unitary, up to a phase."""
    # The phase is lost, which is right for channels. Branches of the coherent basis keep their
    # matrices, since phases between them are what interferes.
    theta, phi, lam = _EULER.angles(matrix)
    return (float(theta), float(phi), float(lam))


def u_matrix(angles: tuple[float, float, float]) -> np.ndarray:
    """Return the (2, 2) matrix of ``U(theta, phi, lambda)``."""
    theta, phi, lam = angles
    c, s = np.cos(theta / 2), np.sin(theta / 2)
    return np.array(
        [[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]]
    )


def transfer_matrix(operation: LocalOperation, kind: str = "gate") -> np.ndarray:
    """Return the Pauli transfer matrix of an operation, (4, 4).

    A measuring end (`kind` "end") leaves one row, its expectation; a preparation
    ("start") one column, its Pauli vector.
    """
    before, after = u_matrix(operation.before), u_matrix(operation.after)
    rho = np.einsum("ab,pbc,dc->pad", before, _PAULIS, before.conj())
    if operation.measured:
        rho = rho * np.array([[1, 0], [0, -1]])
    rho = np.einsum("ab,pbc,dc->pad", after, rho, after.conj())
    matrix = np.einsum("qab,pba->qp", _PAULIS, rho).real / 2
    # A wire that ends is discarded, so its trace is left, which the 1/2 above has halved.
    if kind == "end":
        return 2 * matrix[:1]
    # A destination begins in |0>, whose Pauli vector is (1, 0, 0, 1).
    if kind == "start":
        return matrix @ np.array([[1.0], [0], [0], [1]])
    return matrix
