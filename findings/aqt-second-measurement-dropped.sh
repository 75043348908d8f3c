#!/usr/bin/env bash
# Software: qiskit-aqt-provider 2.0.1, its scheduling plugin, offline simulator.
# Expected: a qubit that is flipped and measured into bits 0 and 1 reads 1 in both.
# Happens:  bit 1 reads 0: transpile() leaves the second measurement of a qubit out, without a word.
# Output seen:
#   measurements after transpile: 1 of 2
#   counts: {'01': 100}
# Why it matters: two bits that must agree do not, and nothing says that one was never written.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit-aqt-provider==2.0.1
"$dir/venv/bin/python" - <<'PY'
import sys
from math import pi
from qiskit import QuantumCircuit, transpile
from qiskit_aqt_provider import AQTProvider
device = AQTProvider().offline.ideal()
circuit = QuantumCircuit(1, 2)
circuit.rx(pi, 0)
circuit.measure(0, 0)
circuit.measure(0, 1)
native = transpile(circuit, device)
print(f"measurements after transpile: {native.count_ops()['measure']} of 2")
counts = device.run(native, shots=100).result().get_counts()
print(f"counts: {counts}")
if counts != {"01": 100}:
    sys.exit(f"CHANGED: {counts}")
PY
