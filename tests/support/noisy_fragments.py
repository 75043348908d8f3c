"""Fragments on devices that are described in numbers, and how far their tensors are off."""

import numpy as np
from qiskit.circuit import Parameter
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import compile_plan
from pilotcut.backends import device_backend
from pilotcut.backends.mitigated import Correction
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.pilots.description.qpu import QpuDescription
from support.circuits import entangled
from support.exact import exact_tensor


def device(**fields) -> QpuDescription:
    numbers = {
        "qubits": 5,
        "infidelity_1q": 0.0,
        "infidelity_2q": 0.0,
        "t1_us": 1e9,
        "t2_us": 1e9,
        "basis_gates": ["rz", "sx", "x", "cz"],
    }
    return QpuDescription(**{**numbers, **fields})


def tensor(correction: Correction, qpu: QpuDescription, fragment, shots: int, seed: int = 5):
    """Return the fragment's tensor for one row of angles, with its covariances."""
    angles = np.full((1, len(fragment.angles)), 0.7)
    found = FragmentTensor.empty(fragment, 1)
    whole = slice(0, fragment.num_subexperiments)
    devices = [device_backend("q", qpu, factor) for factor in correction.factors]
    for block in correction.run(devices, fragment, angles, whole, shots, seed).blocks:
        found.fill(fragment, slice(0, 1), block)
    return found, exact_tensor(fragment, angles[0])


def scores(found: FragmentTensor, exact: np.ndarray, fragment) -> np.ndarray:
    """Return differences in standard errors, of entries that have one."""
    flat, true = found.values.reshape(-1), exact.reshape(-1)
    result = []
    for places, covariance in zip(fragment.entries, found.covariances, strict=True):
        spread = np.sqrt(np.diagonal(covariance[0], axis1=-2, axis2=-1))
        estimated = spread > 0
        result.append(((flat - true)[places] / np.where(estimated, spread, 1))[estimated])
    return np.concatenate(result)


def pair():
    """A fragment of two wires, an entangling gate or two, and a site with measurements."""
    circuit = entangled([(0, 1), (1, 2), (0, 1)], 3)
    circuit.rx(Parameter("a"), 1)
    return compile_plan(circuit, ["ZZX", "IZZ"], labels="AAB").fragments[0]


def narrow():
    """The other side of `pair`: one wire, and no gate on two."""
    circuit = entangled([(0, 1), (1, 2), (0, 1)], 3)
    return compile_plan(circuit, ["ZZX", "IZZ"], labels="AAB").fragments[1]


def sender():
    """A fragment that ends in the measurement of a basis."""
    circuit = entangled([(0, 1)], 3)
    circuit.append(CutWire(), [1])
    circuit.rzz(Parameter("a"), 1, 2)
    return compile_plan(circuit, ["ZZX", "XYY"], wires="communication").fragments[0]
