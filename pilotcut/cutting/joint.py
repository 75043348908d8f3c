"""Joint cuts: parallel two-qubit rotations between the same two fragments, cut as one.

Every gate of operator-Schmidt rank two is ``RZZ(x)`` between local gates, and n of them on
separate qubits are ``sum_k u_k P_k x P_k`` with P_k the 2^n strings of Z on either side.
The pure terms are ``|u_k|^2`` times the same Paulis on both sides. A pair k < l adds

    a X x X + h.c.  =  2 Re(a) (H x H - G x G) - 2 Im(a) (H x G + G x H),   a = u_k u_l*

with ``H = (P_k . P_l + P_l . P_k) / 2``, which is P_k behind a signed measurement of
P_m = P_k P_l, and ``G = i (P_l . P_k - P_k . P_l) / 2``, half the difference of the rotations
``P_k exp(+-i pi/4 P_m)``. The coefficients add up to ``2 (sum_k |u_k|)^2 - 1``: 7 for two CX
and 15 for three, where cuts one by one have 9 and 27 (arXiv:2312.11638, arXiv:2312.09679).
Operations a side are 22 for two gates and 92 for three; one by one they are 25 and 125.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from itertools import combinations
from math import pi, prod

import numpy as np

from pilotcut.cutting.basis import CutBasis, JointOperation
from pilotcut.cutting.gate_basis import basis_of_rzz

#: Gates in one joint cut: three have 92 operations a side, four would have 376.
MOST_JOINT = 3

# The products u_k u_l* of one gate's amplitudes, u = (cos x/2, -i sin x/2), by bits k and l:
# a phase, and weights of 1, cos x and sin x. Of half the angle cos^2 = (1 + cos x) / 2,
# sin^2 = (1 - cos x) / 2 and cos sin = sin(x) / 2.
_FACTORS = {
    (0, 0): (1, np.array([0.5, 0.5, 0.0])),
    (1, 1): (1, np.array([0.5, -0.5, 0.0])),
    (0, 1): (1j, np.array([0.0, 0.0, 0.5])),
    (1, 0): (-1j, np.array([0.0, 0.0, 0.5])),
}


def joint_basis(angles: Sequence[float | None]) -> CutBasis:
    """Return the basis of parallel ``RZZ(x_j)``, one wire a gate on either side.

    Parameters
    ----------
    angles
        The x_j in radians; None for those that stay free.
    """
    size = 2 ** len(angles)
    operations = [_pauli(k, size) for k in range(size)]
    table = np.zeros((3,) * len(angles) + (_count(size),) * 2)
    for k in range(size):
        table[..., k, k] = _polynomial(k, k, len(angles))[1]
    for k, other in combinations(range(size), 2):
        h = len(operations)  # H, and the rotations of G behind it
        operations += [_measuring(k, k ^ other, size)]
        operations += [_rotated(k, k ^ other, size, sign) for sign in (1, -1)]
        g = [(h + 1, 0.5), (h + 2, -0.5)]
        phase, weights = _polynomial(k, other, len(angles))
        # The phase is a power of i, exactly: either its real or its imaginary part is 0.
        if phase.real:
            _add(table, [(h, 1.0)], [(h, 1.0)], 2 * phase.real * weights)
            _add(table, g, g, -2 * phase.real * weights)
        else:
            _add(table, [(h, 1.0)], g, -2 * phase.imag * weights)
            _add(table, g, [(h, 1.0)], -2 * phase.imag * weights)
    coefficients = _at_fixed(table, angles)
    # A set of wires is one string; |sin x| is at most 1 where x is free.
    gamma = joint_gamma(angles)
    # At a bound angle with sin x = 0 whole operations have no weight: each would be circuits for
    # nothing.
    used = np.abs(coefficients).reshape(-1, *table.shape[-2:]).max(axis=0) > 1e-12
    kept = np.flatnonzero(used.any(axis=0) | used.any(axis=1))
    kinds = ("gate", "gate")
    some = tuple(operations[k] for k in kept)
    coefficients = coefficients[..., kept[:, None], kept]
    rzz = basis_of_rzz()  # of one gate: the coherent basis cuts gates one by one
    return CutBasis(kinds, (some, some), coefficients, rzz.branches, rzz.amplitudes, gamma**2)


def joint_gamma(angles: Sequence[float | None]) -> float:
    """Return gamma of parallel ``RZZ(x_j)`` cut as one, at the worst angles where they are free."""
    # (sum_k |u_k|)^2 is the product of (|cos x/2| + |sin x/2|)^2 = 1 + |sin x| over the gates.
    return float(2 * prod(1 + (1.0 if x is None else abs(np.sin(x))) for x in angles) - 1)


def _count(size: int) -> int:
    return size + 3 * (size * (size - 1) // 2)


def _polynomial(k: int, other: int, gates: int) -> tuple[complex, np.ndarray]:
    """Return u_k u_l* as a phase and real weights (3, ..., 3) of 1, cos x_j and sin x_j."""
    phase, weights = complex(1), np.ones(())
    for gate in range(gates):
        factor, row = _FACTORS[k >> gate & 1, other >> gate & 1]
        phase, weights = phase * factor, np.multiply.outer(weights, row)
    return phase, weights


def _add(
    table: np.ndarray,
    left: list[tuple[int, float]],
    right: list[tuple[int, float]],
    weights: np.ndarray,
) -> None:
    for i, a in left:
        for j, b in right:
            table[..., i, j] += a * b * weights


def _at_fixed(table: np.ndarray, angles: Sequence[float | None]) -> np.ndarray:
    """Evaluate the axes of bound angles."""
    for gate in reversed(range(len(angles))):
        if (x := angles[gate]) is not None:
            harmonics = np.array([1.0, np.cos(x), np.sin(x)])
            table = np.tensordot(harmonics, table, axes=(0, gate))
    return table


def _pauli(k: int, size: int) -> JointOperation:
    return _rotated(k, 0, size, 0)


def _rotated(k: int, string: int, size: int, sign: int) -> JointOperation:
    """Return ``P_k exp(sign i pi/4 P_string)``; a rotation by pi about Z is Z up to a phase."""
    rotations = np.zeros(size)
    for wire in range(size.bit_length() - 1):
        rotations[1 << wire] = pi * (k >> wire & 1)
    rotations[string] -= sign * pi / 2
    return JointOperation(tuple(rotations[1:].tolist()))


def _measuring(k: int, string: int, size: int) -> JointOperation:
    return JointOperation(_pauli(k, size).rotations, string)


# -- which gates are parallel ------------------------------------------------------------


def parallel_groups(
    qubits: Sequence[tuple[int, ...]], crossing: Sequence[int], pairs: Sequence[Hashable]
) -> list[tuple[int, ...]]:
    """Return the steps' numbers in an order in which joint cuts stand together, as one group.

    Steps are parallel if none depends on another. They are gathered greedily, as long as
    all groups can still be put in an order.

    Parameters
    ----------
    qubits
        What each step of the whole circuit acts on.
    crossing
        The steps, by number, that may be cut jointly.
    pairs
        For each of them, what it lies between: only steps that agree on it are gathered.
    """
    # Greedy: which gates to gather so that most are joined is not searched. Two groups of parallel
    # gates may each wait for the other, so every one is taken only if an order is left.
    before = _dependencies(qubits)
    group_of = list(range(len(qubits)))
    groups: dict[int, list[int]] = {k: [k] for k in group_of}
    open_groups: dict[Hashable, list[int]] = {}
    for step, pair in zip(crossing, pairs, strict=True):
        for first in open_groups.setdefault(pair, []):
            members = groups[first]
            if len(members) == MOST_JOINT or any(before[step] >> m & 1 for m in members):
                continue
            group_of[step] = first
            if _ordered(qubits, group_of) is not None:
                members.append(step)
                break
            group_of[step] = step
        else:
            open_groups[pair].append(step)
    order = _ordered(qubits, group_of)
    assert order is not None, "groups are only formed where an order is left"
    return [tuple(groups[first]) for first in order]


def _dependencies(qubits: Sequence[tuple[int, ...]]) -> list[int]:
    """Return for each step all steps that it depends on, as bits."""
    last: dict[int, int] = {}
    before: list[int] = []
    for number, some in enumerate(qubits):
        reached = 0
        for earlier in {last[q] for q in some if q in last}:
            reached |= before[earlier] | 1 << earlier
        before.append(reached)
        last.update(dict.fromkeys(some, number))
    return before


def _ordered(qubits: Sequence[tuple[int, ...]], group_of: Sequence[int]) -> list[int] | None:
    """Return the groups in an order that keeps every qubit's steps in order, if there is one."""
    waits_for = dict.fromkeys(group_of, 0)
    behind: dict[int, list[int]] = {group: [] for group in group_of}
    last: dict[int, int] = {}
    for number, some in enumerate(qubits):
        for qubit in some:
            if qubit in last:
                behind[group_of[last[qubit]]].append(group_of[number])
                waits_for[group_of[number]] += 1
            last[qubit] = number
    # Of the groups that may come next the earliest does, so that equal programs have equal plans.
    ready = [group for group, count in waits_for.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for group in behind[order[-1]]:
            waits_for[group] -= 1
            if not waits_for[group]:
                heapq.heappush(ready, group)
    return order if len(order) == len(waits_for) else None
