#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: assigning to `gate.params` changes what a gate does. It does for RXGate, and
#   ControlledGate has a setter of its own that hands the values to its base gate.
# Happens:  the gate then reads params [0.3] and its base gate RX(0.3), but keeps the definition that
#   was made for the old angle: simulation and transpilation go on with 0.1. No warning.
# Output seen:
#   rx: params [0.3], greatest difference from a new gate of 0.3: 0.00
#   rx with 3 controls: params [0.3], base gate [0.3], greatest difference from a new gate of 0.3: 0.10
# Why it matters: loops over circuit.data that set angles, as sweeps and parameter shifts by hand do,
#   run another circuit than they print. QuantumCircuit.assign_parameters is right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import RXGate
from qiskit.quantum_info import Operator
def unitary(gate):
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(gate, range(gate.num_qubits))
    return Operator(circuit).data
def controlled(angle):
    return RXGate(angle).control(3, annotated=False)
plain = RXGate(0.1)
plain.params = [0.3]
far = np.abs(unitary(plain) - unitary(RXGate(0.3))).max()
print(f"rx: params {plain.params}, greatest difference from a new gate of 0.3: {far:.2f}")
if far > 1e-9:
    sys.exit("CHANGED: a plain gate keeps its old angle, too")
gate = controlled(0.1)
gate.params = [0.3]
far = np.abs(unitary(gate) - unitary(controlled(0.3))).max()
print(f"rx with 3 controls: params {gate.params}, base gate {gate.base_gate.params},",
      f"greatest difference from a new gate of 0.3: {far:.2f}")
if far < 0.05:
    sys.exit("CHANGED: the controlled gate now does what its params say")
PY
