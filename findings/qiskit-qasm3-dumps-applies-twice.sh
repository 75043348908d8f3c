#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6; read back with qiskit-qasm3-import 0.6.0).
# Expected: the text of qasm3.dumps means the circuit that was dumped. A controlled phase gate of
#   angle 2*w with w = 0.7 gives |111> the phase 1.4.
# Happens:  the definition is written in w with the doubling already in it (rz(0.5*w), a quarter of
#   2*w), and the call passes 2*w once more: the text means the angle 4*w. It goes the same way with
#   MCU1Gate and MSGate, and with other functions (tan(w) becomes tan(tan(w))).
# Output seen:
#   gate mcphase(w) _gate_q_0, _gate_q_1, _gate_q_2 {
#     rz(0.5*w) _gate_q_2;
#   mcphase(2*w) q[0], q[1], q[2];
#   phase of |111>: circuit 1.400, text 2.800
# Why it matters: QAOA and feature maps use multiples of parameters; their OpenQASM 3 text, which
#   services and other tools read, is another circuit, in silence.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 qiskit-qasm3-import==0.6.0 openqasm3==1.0.1 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import cmath
import sys
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Parameter
from qiskit.circuit.library import MCPhaseGate
from qiskit.quantum_info import Operator
w = Parameter("w")
circuit = QuantumCircuit(3)
circuit.append(MCPhaseGate(2 * w, 2), range(3))
text = qasm3.dumps(circuit)
lines = list(dict.fromkeys(text.splitlines()))
print(*(line for line in lines if "mcphase" in line or " rz(0.5" in line), sep="\n")
def phase(which):
    matrix = Operator(which.assign_parameters([0.7])).data
    return cmath.phase(matrix[7, 7] / matrix[0, 0])
was, written = phase(circuit), phase(qasm3.loads(text))
print(f"phase of |111>: circuit {was:.3f}, text {written:.3f}")
if abs(was - 1.4) > 1e-6:
    sys.exit("CHANGED: the circuit itself has another phase")
if abs(written - 2.8) > 1e-6:
    sys.exit("CHANGED: the text no longer means twice the angle")
PY
