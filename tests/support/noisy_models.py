"""Devices with noise, and models whose expectations on them are exact."""

from qiskit.quantum_info import SparsePauliOp

from pilotcut.backends.noise_model import Device
from pilotcut.backends.qpu_target import device_of
from pilotcut.fleet.transpile import compile_on
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.training.model import Model

NOISY = {
    "qubits": 5,
    "infidelity_1q": 0.004,
    "infidelity_2q": 0.03,
    "t1_us": 40,
    "t2_us": 25,
    "gate_1q_ns": 50,
    "gate_2q_ns": 300,
    "readout_error": 0.04,
}

LIKE_MANILA = device_of("manila", QpuDescription(like="FakeManilaV2"))


def device(**fields):
    return device_of("q", QpuDescription(**{**NOISY, **fields}))


DEVICES = {
    "line": device(topology="line", basis_gates=["rz", "sx", "ecr"]),
    "ring": device(topology="ring", basis_gates=["u", "rzz"]),
    "star": device(topology="star", basis_gates=["rz", "h", "cx"]),
    "grid": device(topology="grid"),
    "manila": LIKE_MANILA,
}


def on(q: Device, model: Model):
    compilation = compile_on(model.circuit, q.target)
    return model, compilation, q


OBSERVABLES = [
    (SparsePauliOp("XZ"), "1 XZ"),
    (SparsePauliOp("II"), "1 II"),
    (SparsePauliOp("IZ", 0.5), "0.5 IZ"),
    (SparsePauliOp(["IZ", "ZI"], [0.5, 0.25]), "0.5 IZ, 0.25 ZI"),
]
