"""Devices by their couplings, and whether a compiled model is still the model."""

import numpy as np
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator
from qiskit.transpiler import InstructionProperties, QubitProperties, Target

STANDARD = get_standard_gate_name_mapping()

BASES = {
    "cz": ("rz", "sx", "x", "cz"),
    "cx": ("rz", "sx", "x", "cx"),
    "ecr": ("rz", "sx", "x", "ecr"),
    "u": ("u", "cz"),
}


def line(n):
    return [(k, k + 1) for k in range(n - 1)]


def star(n):
    return [(0, k) for k in range(1, n)]


def full(n):
    return [(j, k) for j in range(n) for k in range(j + 1, n)]


def device(qubits, couplings, basis=BASES["cz"], *, one_way=False):
    """Return a target with the same errors everywhere and a virtual rz."""
    properties = [QubitProperties(t1=100e-6, t2=80e-6) for _ in range(qubits)]
    target = Target(num_qubits=qubits, qubit_properties=properties)
    both = [*couplings, *([] if one_way else [(b, a) for a, b in couplings])]
    for name in basis:
        if STANDARD[name].num_qubits == 2:
            values = {where: InstructionProperties(400e-9, 0.01) for where in both}
        elif name == "rz":
            values = {(q,): InstructionProperties(0.0, 0.0) for q in range(qubits)}
        else:
            values = {(q,): InstructionProperties(50e-9, 0.001) for q in range(qubits)}
        target.add_instruction(STANDARD[name], values)
    return target


def embedding(layout, qubits):
    """Return the isometry from the model's qubits to the device's, all others in |0>."""
    states = np.zeros((2**qubits, 2 ** len(layout)))
    for state in range(2 ** len(layout)):
        bits = ((state >> v & 1) << physical for v, physical in enumerate(layout))
        states[sum(bits), state] = 1
    return states


def assert_same(circuit, values, compilation):
    done = Operator(compilation.circuit.assign_parameters(values, strict=False)).data
    start = embedding(compilation.initial_layout, compilation.qubits)
    end = embedding(compilation.final_layout, compilation.qubits)
    assert Operator(circuit.assign_parameters(values)).equiv(Operator(end.T @ done @ start))
