#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: qpy.load of what qpy.dump wrote is the same circuit, or an error.
# Happens:  a QuadraticFormGate on 4 qubits comes back, without an error, as a QuadraticFormGate of
#   2 qubits (default arguments: its own are gone) that stands on 4 qubits.
# Output seen:
#   written: QuadraticForm, 4 qubits, on 4
#   read:    QuadraticForm, 2 qubits, on 4
#   the same circuit: False
# Why it matters: QPY is how circuits are stored and sent to services and workers; what runs there
#   is another circuit.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import io
import sys
from qiskit import QuantumCircuit, qpy
from qiskit.circuit.library import QuadraticFormGate
circuit = QuantumCircuit(4)
circuit.append(QuadraticFormGate(2, [[1, 0], [0, 1]], [1, -1], 0.5), range(4))
file = io.BytesIO()
qpy.dump(circuit, file)
file.seek(0)
try:
    (read,) = qpy.load(file)
except Exception as error:
    sys.exit(f"CHANGED: load raises {type(error).__name__}: {error}")
for word, which in (("written: ", circuit), ("read:    ", read)):
    gate = which.data[0]
    print(f"{word}{gate.operation.name}, {gate.operation.num_qubits} qubits, on {len(gate.qubits)}")
print("the same circuit:", read == circuit)
if read.data[0].operation.num_qubits != 2 or len(read.data[0].qubits) != 4 or read == circuit:
    sys.exit("CHANGED: the gate read has the qubits that it stands on")
PY
