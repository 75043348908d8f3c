"""One cut in two bases: local operations a side, and the bond matrix between them.

A cut replaces a two-qubit gate, or a wire, by ``U(rho) = sum_ij C_ij (A_i x B_j)(rho)``.
The terms come from `qiskit_addon_cutting.qpd.QPDBasis`; what is done here is to keep the
*distinct* operations of each side and to fold the coefficients into the bond matrix
``C``: so a fragment with k sites of CX has 5^k variants and not 6^(all cuts). Counted:

=================================  ========================  ============
cut                                operations a side         joint terms
=================================  ========================  ============
CX, CZ, RZZ, CRZ, CP, ECR, ...     5                         6
SWAP, iSWAP, DCX, any other gate   22                        30 to 58
wire                               4 measured, 6 prepared    8
=================================  ========================  ============

An operation is a channel of one qubit, so two are the same when their Pauli transfer
matrices are; how the addon spells them does not matter.

That is the physical basis, what a QPU can run. The coherent basis is what a simulator can
run: the operator-Schmidt decomposition of the gate's matrix, ``U = sum_r c_r A_r x B_r``,
of rank 2 for CX, CZ, RZZ, CRZ and for a wire, and 4 for a SWAP.

References
----------
Mitarai and Fujii, arXiv:1909.07534; Peng et al., arXiv:1904.00102 (wires).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from qiskit.circuit import Instruction
from qiskit.circuit.exceptions import CircuitError
from qiskit.circuit.library import RZZGate
from qiskit.synthesis import OneQubitEulerDecomposer
from qiskit_addon_cutting.qpd import QPDBasis

from pilotcut.errors import CutError
from pilotcut.options import counted

#: Where an operation stands on its wire: inside it, at its end (the source of a wire
#: cut, which measures and discards) or at its start (the destination, which prepares).
KINDS = ("gate", "end", "start")

_PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_EULER = OneQubitEulerDecomposer("U")
_ZERO = 1e-12


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


def basis_of_gate(gate: Instruction) -> CutBasis:
    """Return the physical basis of a two-qubit gate, or of a `Move`, with bound parameters.

    Raises
    ------
    CutError
        If the addon has no decomposition of the gate.
    """
    try:
        matrix = np.asarray(gate.to_matrix(), dtype=complex).tobytes()
    except (AttributeError, CircuitError, TypeError):  # a move has none
        matrix = b""
    return _basis_of(_Known(gate.name, matrix, gate))


@dataclass(frozen=True)
class _Known:
    """A gate by what its basis depends on: the addon goes by names, and else by matrices."""

    name: str
    matrix: bytes
    gate: Instruction = field(compare=False)


# A circuit has the same few gates in hundreds of places, and each takes 5 ms.
@lru_cache(maxsize=256)
def _basis_of(known: _Known) -> CutBasis:
    gate = known.gate
    addon = _addon_basis(gate)
    coherent = _wire_branches() if gate.name == "move" else _schmidt(gate)
    return _from_addon([addon], _kinds_of(gate.name), _constant, coherent)


@lru_cache(maxsize=1)
def basis_of_rzz() -> CutBasis:
    """Return the physical basis of ``RZZ(x)`` whose bond matrix is a function of x.

    The addon's coefficients are ``cos^2(x/2)``, ``sin^2(x/2)`` and ``+-sin(x)/2``, so three
    evaluations fix the trigonometric polynomial of degree one.
    """
    return _from_addon(
        [_addon_basis(RZZGate(x)) for x in _FIT_ANGLES],
        ("gate", "gate"),
        _trigonometric,
        _rzz_branches(),
    )


#: `CutBasis.branches` and `CutBasis.amplitudes`.
_Coherent: TypeAlias = tuple[tuple[np.ndarray, np.ndarray], np.ndarray]


def _rzz_branches() -> _Coherent:
    """Return RZZ(x) = cos(x/2) I x I - i sin(x/2) Z x Z."""
    operators = _PAULIS[[0, 3]]
    return (operators, operators), np.array([[0, 0], [1, 0], [0, -1j]])


def _wire_branches() -> _Coherent:
    """Return the states |r> of a wire: its identity is sum_r |r><r|."""
    states = np.eye(2, dtype=complex)
    return (states, states), np.ones(2, dtype=complex)


def _schmidt(gate: Instruction) -> _Coherent:
    """Return the operator-Schmidt decomposition of a two-qubit gate's matrix."""
    matrix = np.asarray(gate.to_matrix(), dtype=complex).reshape(2, 2, 2, 2)
    # Qiskit's matrices are little-endian: axes are (out 1, out 0, in 1, in 0).
    pairs = matrix.transpose(1, 3, 0, 2).reshape(4, 4)
    u, weights, v = np.linalg.svd(pairs)
    rank = int((weights > 1e-10).sum())
    root = np.sqrt(weights[:rank])
    sides = (u[:, :rank] * root).T.reshape(-1, 2, 2), (root[:, None] * v[:rank]).reshape(-1, 2, 2)
    return sides, np.ones(rank, dtype=complex)


# Three generic angles, so that no coefficient vanishes by accident.
_FIT_ANGLES = (0.4, 1.9, 4.3)


def _constant(samples: np.ndarray) -> np.ndarray:
    return samples[0]


def _trigonometric(samples: np.ndarray) -> np.ndarray:
    design = np.array([[1, np.cos(x), np.sin(x)] for x in _FIT_ANGLES])
    fitted = np.tensordot(np.linalg.inv(design), samples, axes=1)
    return np.where(np.abs(fitted) < _ZERO, 0.0, fitted)


def _addon_basis(gate: Instruction) -> QPDBasis:
    try:
        return QPDBasis.from_instruction(gate)
    except (ValueError, AttributeError, TypeError) as error:
        raise CutError(
            f"gate '{gate.name}' on {counted(gate.num_qubits, 'qubit')} cannot be cut ({error}); "
            "cut "
            f"elsewhere (other labels), or bind or decompose the gate first"
        ) from error


def _kinds_of(name: str) -> tuple[str, str]:
    return ("end", "start") if name == "move" else ("gate", "gate")


def _from_addon(
    bases: Sequence[QPDBasis],
    kinds: tuple[str, str],
    fit: Callable[[np.ndarray], np.ndarray],
    coherent: _Coherent,
) -> CutBasis:
    """Fold the addon's joint terms (the same maps in every basis) into distinct sides."""
    # Of the 58 terms that the addon (0.10) lists for a gate without a closed form, only 30 to 58
    # have a weight: the others would leave operations that nothing needs.
    terms = np.array([b.coeffs for b in bases], dtype=float)
    used = [k for k in range(terms.shape[1]) if np.any(np.abs(terms[:, k]) > _ZERO)]
    sides = [_distinct([bases[0].maps[k][side] for k in used], kinds[side]) for side in (0, 1)]
    bond = np.zeros((len(bases), len(sides[0][0]), len(sides[1][0])))
    for term, i, j in zip(used, sides[0][1], sides[1][1], strict=True):
        bond[:, i, j] += terms[:, term]
    coefficients = fit(bond)
    # gamma is the sum of |C_ij| (arXiv:1909.07534). Of a free angle the worst of a whole turn: that
    # of RZZ, 1 + 2 |sin x|, has its maxima at quarters of it, which are among 65 points.
    angles = np.linspace(0, 2 * np.pi, 65)
    at_angles = [harmonics(angles)] if coefficients.ndim > 2 else []
    overhead = float(np.abs(weighted(coefficients, at_angles)).sum(axis=(-2, -1)).max() ** 2)
    operations = tuple(sides[0][0]), tuple(sides[1][0])
    return CutBasis(kinds, operations, coefficients, *coherent, overhead)


def _distinct(
    maps: Sequence[Sequence[Instruction]], kind: str
) -> tuple[list[LocalOperation], list[int]]:
    """Return the distinct operations among `maps`, and each map's index among them."""
    # Two channels of a qubit are the same when their Pauli transfer matrices are. Rounded, as equal
    # maps differ in last digits, and + 0.0, as -0.0 has other bytes than 0.0.
    # All distinct ones are kept, though they are not independent: those of a CX have rank 4, and
    # three circuits would span them, one of them read twice, but at some cost in variance.
    seen: dict[bytes, int] = {}
    operations: list[LocalOperation] = []
    index = []
    for gates in maps:
        operation = _parse(gates)
        key = (np.round(transfer_matrix(operation, kind), 9) + 0.0).tobytes()
        if key not in seen:
            seen[key] = len(operations)
            operations.append(operation)
        index.append(seen[key])
    return operations, index


def _parse(gates: Sequence[Instruction]) -> LocalOperation:
    """Read one side of an addon map: gates, at most one measurement, gates.

    Resets need no gate here: a wire's source ends and its destination starts afresh. A reset that
    prepares a state in the middle of a gate's side cannot be said by a `LocalOperation`.
    """
    before, after = np.eye(2, dtype=complex), np.eye(2, dtype=complex)
    measured = False
    for gate in gates:
        if gate.name == "qpd_measure":
            assert not measured, "a side with two measurements is no LocalOperation"
            measured = True
        elif gate.name != "reset":
            matrix = np.asarray(gate.to_matrix())
            before, after = (before, matrix @ after) if measured else (matrix @ before, after)
    return LocalOperation(u_angles(before), measured, u_angles(after))


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
