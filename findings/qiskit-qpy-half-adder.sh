#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: a circuit that qpy.dump takes can be read back by qpy.load of the same version.
# Happens:  with a HalfAdderGate, dump is content and load raises a TypeError from the constructor.
# Output seen:
#   dump: wrote the circuit
#   load: TypeError: HalfAdderGate.__init__() missing 1 required positional argument: 'num_state_qubits'
# Why it matters: the circuit is lost where it was saved for later (checkpoints, queues of jobs), and
#   this shows only when it is read.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import io
import sys
from qiskit import QuantumCircuit, qpy
from qiskit.circuit.library import HalfAdderGate
circuit = QuantumCircuit(3)
circuit.append(HalfAdderGate(1), range(3))
file = io.BytesIO()
try:
    qpy.dump(circuit, file)
except Exception as error:
    sys.exit(f"CHANGED: dump raises {type(error).__name__}: {error}")
print("dump: wrote the circuit")
file.seek(0)
try:
    qpy.load(file)
except TypeError as error:
    print(f"load: TypeError: {error}")
    if "num_state_qubits" not in str(error):
        sys.exit("CHANGED: another TypeError")
else:
    sys.exit("CHANGED: load reads the circuit")
PY
