#!/usr/bin/env bash
# Software: qiskit-braket-provider 0.27.1 (qiskit 2.6.2), BraketLocalBackend.
# Expected: counts of a circuit with 3 bits have 3 digits: with bit 2 alone read as 1, 100.
# Happens:  bits that nothing is written to are left out, and the others close up: bit 2 is where
#   bit 1 would be. The result's header, where the number of bits would stand, is empty.
# Output seen:
#   3 bits, 2 of them written: {'10': 100}
#   2 bits, bit 1 written: {'1': 100}
# Why it matters: whoever reads bit k of an outcome by its place reads another qubit's.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit-braket-provider==0.27.1 qiskit==2.6.2
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit import QuantumCircuit
from qiskit_braket_provider import BraketLocalBackend
def counts(circuit):
    return BraketLocalBackend("braket_sv").run(circuit, shots=100).result().get_counts()
three = QuantumCircuit(2, 3)
three.x(0)
three.measure([0, 1], [2, 0])
two = QuantumCircuit(1, 2)
two.x(0)
two.measure(0, 1)
found = counts(three), counts(two)
print(f"3 bits, 2 of them written: {found[0]}")
print(f"2 bits, bit 1 written: {found[1]}")
if found != ({"10": 100}, {"1": 100}):
    sys.exit(f"CHANGED: {found}")
PY
