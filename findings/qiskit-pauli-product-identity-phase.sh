#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: PauliProductRotationGate(P, t) is exp(-i t/2 P), and its definition the same unitary. For
#   the identity that is the phase exp(-i t/2), which counts as soon as the gate is controlled.
# Happens:  to_matrix() has the phase, the definition has none. A gate made of a circuit with it acts,
#   once controlled, otherwise than the circuit's operator says. (.control() of the gate itself is
#   right, and so are the definitions for other Paulis.)
# Output seen:
#   Z: matrix and definition agree: True
#   I: matrix and definition agree: False; matrix[0,0] = 0.9801-0.1987j, definition's = 1.0000+0.0000j
#   control of a circuit with I: diagonal [1.+0.j 1.+0.j 1.+0.j 1.+0.j] should be
#     [1 0.98-0.199j 1 0.98-0.199j]
# Why it matters: sums of Paulis contain an identity term; in Hadamard tests and phase estimation
#   its phase is the result, and it is lost in silence.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import PauliProductRotationGate
from qiskit.quantum_info import Operator, Pauli
def both(label):
    gate = PauliProductRotationGate(Pauli(label), 0.4)
    return Operator(gate.to_matrix()).data, Operator(gate.definition).data
matrix, definition = both("Z")
print("Z: matrix and definition agree:", np.allclose(matrix, definition))
if not np.allclose(matrix, definition):
    sys.exit("CHANGED: matrix and definition differ for Z, too")
matrix, definition = both("I")
print(f"I: matrix and definition agree: {np.allclose(matrix, definition)};",
      f"matrix[0,0] = {matrix[0, 0]:.4f}, definition's = {definition[0, 0]:.4f}")
if np.allclose(matrix, definition) or not np.allclose(matrix, np.exp(-0.2j) * np.eye(2)):
    sys.exit("CHANGED: matrix and definition agree, or the matrix has another phase")
circuit = QuantumCircuit(1)
circuit.append(PauliProductRotationGate(Pauli("I"), 0.4), [0])
seen = Operator(circuit.to_gate().control(1, annotated=False)).data.diagonal()
phase = Operator(circuit).data[0, 0]
text = " ".join(f"{v:.3g}" for v in (1, phase, 1, phase))
print("control of a circuit with I: diagonal", seen.round(3), "should be", f"[{text}]")
if not np.allclose(seen, 1):
    sys.exit("CHANGED: the controlled circuit keeps the phase")
PY
