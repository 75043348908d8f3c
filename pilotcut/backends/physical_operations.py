"""Physical operations at a site as combinations of the branch pairs of the coherent basis.

A channel ``E(rho) = sum_ab L[ab] A_a rho A_b^dagger`` over a site's branches ``A_a``: so the
expectation of every physical variant follows from the tensor of the coherent basis, without
running anything.
"""

from __future__ import annotations

import numpy as np

from pilotcut.cutting.basis import BasisState, JointOperation, LocalOperation, u_matrix
from pilotcut.cutting.fragment import Site
from pilotcut.cutting.wires import state_vector


def as_branch_pairs(site: Site, signed: bool) -> np.ndarray:
    """Return each operation as a combination of branch pairs, (operations, R^2).

    ``channel = sum_ab L[ab] A_a . A_b^dagger``; without signs a measurement only dephases.
    """
    if states := site.states:
        return np.array([_state_pairs(state, site.kind) for state in states])
    if joint := site.joint_operations:
        return np.array([_joint_pairs(op, len(site.wires), signed) for op in joint])
    channels = np.array([_channel(op, site.kind, signed) for op in site.local_operations])
    if site.kind == "gate":
        a = site.branches
        pairs = np.einsum("aij,bkl->abikjl", a, a.conj())
    else:
        # A branch pair of a wire is the element |a><b| of what runs through it.
        pairs = np.eye(4).reshape(2, 2, 4)
    columns = pairs.reshape(site.rank**2, -1).T
    solution, *_ = np.linalg.lstsq(columns, channels.reshape(len(channels), -1).T, rcond=None)
    assert np.allclose(columns @ solution, channels.reshape(len(channels), -1).T, atol=1e-8)
    return solution.T


def _joint_pairs(operation: JointOperation, wires: int, signed: bool) -> np.ndarray:
    """Return a joint operation over pairs (ket, bra) of strings of Z, wire by wire, (4^wires,).

    The rotations are ``D = sum_a d_a Z_a``; a measurement of Z_m adds half the map with Z_m on
    one side, or without its sign on both.
    """
    sets = np.arange(1 << wires)
    signs = 1.0 - 2.0 * (np.bitwise_count(sets[:, None] & sets[None, :]) & 1)
    diagonal = np.exp(-0.5j * signs[:, 1:] @ np.array(operation.rotations))
    d = signs @ diagonal / len(sets)
    pairs = np.outer(d, d.conj())
    if (m := operation.measured) and signed:
        pairs = (pairs[sets ^ m] + pairs[:, sets ^ m]) / 2
    elif m:
        pairs = (pairs + pairs[sets ^ m][:, sets ^ m]) / 2
    return _wire_by_wire(pairs)


def _wire_by_wire(pairs: np.ndarray) -> np.ndarray:
    """Return numbers (2^wires, 2^wires) of kets and bras with those of a wire together, flat."""
    # The first wire is the lowest bit of both: its ket and bra come first.
    wires = len(pairs).bit_length() - 1
    bits = pairs.reshape((2,) * (2 * wires))
    order = [axis for k in range(wires) for axis in (wires - 1 - k, 2 * wires - 1 - k)]
    return bits.transpose(order).reshape(-1)


def _state_pairs(state: BasisState, kind: str) -> np.ndarray:
    """Return a state over the elements ``|a><b|`` of wires: as it is prepared, or is found."""
    vector = state_vector(state)
    projector = np.outer(vector, vector.conj())
    return _wire_by_wire(projector.T if kind == "end" else projector)


def _channel(operation: LocalOperation, kind: str, signed: bool) -> np.ndarray:
    """Return the channel: a superoperator, what it measures at an end, or what it prepares."""
    before, after = u_matrix(operation.before), u_matrix(operation.after)
    outcomes = [np.diag([1, 0]), np.diag([0, 1])] if operation.measured else [np.eye(2)]
    signs = [1, -1] if operation.measured and signed else [1] * len(outcomes)
    kraus = [after @ outcome @ before for outcome in outcomes]
    if kind == "end":  # tr(M rho), as a row over rho's elements
        measured = sum(s * k.conj().T @ k for s, k in zip(signs, kraus, strict=True))
        return np.asarray(measured).T.reshape(-1)
    if kind == "start":
        column = kraus[0][:, 0]
        return np.outer(column, column.conj()).reshape(-1)
    superoperators = [
        s * np.einsum("ij,kl->ikjl", k, k.conj()) for s, k in zip(signs, kraus, strict=True)
    ]
    return np.asarray(sum(superoperators))
