"""Images as shallow circuits: a sweep over the network's gates, then a gradient.

An image of 2^n pixels is a state of n qubits, a pixel's amplitude its brightness. Layers of real
gates between neighbours, each layer from the first qubit to the last, prepare a state near it.
A sweep goes from gate to gate and replaces each by the best one with all others as they are: the
polar factor of its environment (Evenbly and Vidal, arXiv:0707.1454). A gradient of all gates
together (L-BFGS) then goes on where that has become slow. All arrays have an axis of images first.

A real gate on two qubits is a pair of rotations, one of each qubit, in the magic basis (Vatan and
Williams, arXiv:quant-ph/0308006); as unit quaternions p and q these are what the gradient moves.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from scipy.optimize import minimize

#: Angles of a gate: three of each of its two rotations.
ANGLES = 6


def amplitudes(images: np.ndarray) -> np.ndarray:
    """Return images (images, rows, columns) as states (images, pixels).

    Bits of row and column take turns, coarse ones first: what is near is entangled most.
    """
    count, rows, columns = images.shape
    bits = [2] * (int(rows).bit_length() - 1)
    split = images.reshape(count, *bits, *bits)
    order = [axis for k in range(len(bits)) for axis in (1 + k, 1 + len(bits) + k)]
    flat = split.transpose(0, *order).reshape(count, rows * columns)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def places(qubits: int, layers: int) -> list[int]:
    """Return the first qubit of each gate, in the order of the circuit.

    Examples
    --------
    >>> places(4, 2)
    [0, 1, 2, 0, 1, 2]
    """
    return [*range(qubits - 1)] * layers


def encoded(targets: np.ndarray, layers: int, sweeps: int) -> np.ndarray:
    """Return gates (images, gates, 4, 4) that prepare states near the targets.

    Layers are added one by one, each as nothing, and all are swept after each.
    """
    qubits = targets.shape[1].bit_length() - 1
    gates = np.zeros((len(targets), 0, 4, 4))
    for layer in range(layers):
        new = np.broadcast_to(np.eye(4), (len(targets), qubits - 1, 4, 4))
        gates = np.concatenate([new, gates], axis=1)
        for _ in range(sweeps):
            _sweep(gates, targets, places(qubits, layer + 1))
    return gates


def prepared(gates: np.ndarray, layers: int) -> np.ndarray:
    """Return the states (images, amplitudes) that gates in so many layers prepare."""
    return _forward(gates, places(gates.shape[1] // layers + 1, layers))[-1]


def refined(gates: np.ndarray, targets: np.ndarray, layers: int, iterations: int) -> np.ndarray:
    """Return gates whose states are nearer, by L-BFGS over all gates of all images together."""
    start = np.stack(quaternions(gates), axis=2)  # (images, gates, 2, 4)
    where = places(gates.shape[1] // layers + 1, layers)
    result = minimize(
        _loss, start.ravel(), (targets, where), jac=True, method="L-BFGS-B",
        options={"maxiter": iterations},
    )  # fmt: skip
    return _gates_of(_unit(result.x.reshape(start.shape)))


def angles_of(gates: np.ndarray) -> np.ndarray:
    """Return the angles (images, gates, `ANGLES`) of gates in `circuit`."""
    found = []
    for quaternion in quaternions(gates):
        a, b, c, d = np.moveaxis(quaternion, -1, 0)
        total, difference = np.arctan2(d, a), np.arctan2(-b, c)
        tilt = 2 * np.arctan2(np.hypot(b, c), np.hypot(a, d))
        found += [total - difference, tilt, total + difference]
    return np.stack(found, axis=-1)


def circuit(qubits: int, layers: int) -> QuantumCircuit:
    """Return the circuit of `angles_of`; its parameters are in their order."""
    found, angles = QuantumCircuit(qubits), ParameterVector("a", 0)
    for place in places(qubits, layers):
        # The first bit of an amplitude's number is Qiskit's last qubit.
        high, low = qubits - 1 - place, qubits - 2 - place
        found.compose(_magic(), [low, high], inplace=True)
        for qubit in (high, low):
            used = len(angles)
            angles.resize(used + 3)
            found.rz(angles[used], qubit)
            found.ry(angles[used + 1], qubit)
            found.rz(angles[used + 2], qubit)
        found.compose(_magic().inverse(), [low, high], inplace=True)
    return found


def quaternions(gates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotations of each gate's two qubits, as unit quaternions (..., 4)."""
    # A gate is the sum of p_i q_j times products of their units: a matrix (p_i q_j) of rank one.
    outer = np.einsum("ijxy,...xy->...ij", _units(), gates) / 4
    left, _, right = np.linalg.svd(outer)
    p, q = left[..., :, 0], right[..., 0, :]
    sign = np.sign(np.einsum("...i,...ij,...j->...", p, outer, q))
    return p * sign[..., None], q


@cache
def _magic() -> QuantumCircuit:
    """Return the gates into the magic basis, in which real gates are rotations of each qubit."""
    found = QuantumCircuit(2)
    found.s([0, 1])
    found.h(1)
    found.cx(1, 0)
    return found


@cache
def _units() -> np.ndarray:
    """Return (4, 4, 4, 4): real matrices of pairs of units of quaternions."""
    from qiskit.quantum_info import Operator

    magic = Operator(_magic()).data
    x, y, z = (Operator.from_label(one).data for one in "XYZ")
    units = [np.eye(2), -1j * x, -1j * y, -1j * z]
    return np.array([[(magic.conj().T @ np.kron(p, q) @ magic).real for q in units] for p in units])


def _gates_of(pairs: np.ndarray) -> np.ndarray:
    """Return the gates of pairs of unit quaternions (images, gates, 2, 4)."""
    p, q = pairs[:, :, 0], pairs[:, :, 1]
    products = (p[..., None] * q[..., None, :]).reshape(*p.shape[:2], 16)
    return np.asarray((products @ _units().reshape(16, 16)).reshape(*p.shape[:2], 4, 4))


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _applied(gate: np.ndarray, states: np.ndarray, place: int) -> np.ndarray:
    """Return states (images, amplitudes) after gates on the qubits `place` and the next one."""
    split = states.reshape(len(states), 2**place, 4, -1)
    return np.asarray(gate[:, None] @ split).reshape(states.shape)


def _environment(left: np.ndarray, right: np.ndarray, place: int) -> np.ndarray:
    """Return (images, 4, 4), whose product with a gate is <left|gate|right>."""
    shape = (len(left), 2**place, 4, left.shape[1] // (4 * 2**place))
    parts = left.reshape(shape) @ right.reshape(shape).swapaxes(-1, -2)
    return np.asarray(parts.sum(axis=1))


def _forward(gates: np.ndarray, where: list[int]) -> list[np.ndarray]:
    """Return the states before each gate, and the last."""
    nothing = np.zeros((len(gates), 4 * 2 ** max(where)))
    nothing[:, 0] = 1.0
    states = [nothing]
    for k, place in enumerate(where):
        states.append(_applied(gates[:, k], states[-1], place))
    return states


def _sweep(gates: np.ndarray, targets: np.ndarray, where: list[int]) -> None:
    """Replace each gate by the best one, from the last to the first; `gates` is changed."""
    states = _forward(gates, where)
    left = targets
    for k in reversed(range(len(where))):
        gates[:, k] = _nearest_rotation(_environment(left, states[k], where[k]))
        left = _applied(gates[:, k].transpose(0, 2, 1), left, where[k])


def _nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    """Return the rotations R that have the largest trace of R^T M, of matrices (..., n, n)."""
    left, _, right = np.linalg.svd(matrices)
    # Without reflections, which are no rotations of two qubits: the least singular value pays.
    left[..., :, -1] *= np.linalg.det(left @ right)[..., None]
    return np.asarray(left @ right)


def _loss(x: np.ndarray, targets: np.ndarray, where: list[int]) -> tuple[float, np.ndarray]:
    """Return the sum of 1 - <target|prepared>^2, and its gradient by unnormalised quaternions."""
    raw = x.reshape(len(targets), len(where), 2, 4)
    norm = np.linalg.norm(raw, axis=-1, keepdims=True)
    unit = raw / norm
    gates = _gates_of(unit)
    states = _forward(gates, where)
    left, environments = targets, np.empty_like(gates)
    for k in reversed(range(len(where))):
        environments[:, k] = _environment(left, states[k], where[k])
        left = _applied(gates[:, k].transpose(0, 2, 1), left, where[k])
    overlaps = (states[-1] * targets).sum(axis=1)
    # By p_i q_j first, of which a gate is a linear function.
    outer = (environments.reshape(-1, 16) @ _units().reshape(16, 16).T).reshape(gates.shape)
    by_p = (outer @ unit[:, :, 1, :, None])[..., 0]
    by_q = (unit[:, :, 0, None] @ outer)[..., 0, :]
    slope = np.stack([by_p, by_q], axis=2)
    slope -= (slope * unit).sum(axis=-1, keepdims=True) * unit
    return float((1 - overlaps**2).sum()), (
        -2 * overlaps[:, None, None, None] * slope / norm
    ).ravel()
