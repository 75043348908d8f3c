#!/usr/bin/env bash
# Software: qiskit-qasm3-import 0.6.0 (qiskit 2.6.2, openqasm3 1.0.1).
# Expected: ranges of OpenQASM 3 include both ends, and index -1 is the last. The specification's own
#   example, "Using negative ranges to take the last 3 elements", ends in -1: two[-4:-1]. As q[0:-2] is
#   read as "to the last but one", q[0:-1] is "to the last". (An empty set would be an error: "a
#   register cannot be indexed by an empty index set".)
# Happens:  a range that ends in -1 is empty, and the gate is left out: the end becomes -1 + 1 = 0 in
#   a Python slice.
# Output seen (qubit[4] q):
#   h q[0:-2]; -> h on [0, 1, 2]
#   h q[0:-1]; -> h on []
#   h q[-3:-1]; -> h on []
#   h q[-1]; -> h on [3]
# Why it matters: gates on a whole register or its end vanish without a word, such as the layer of H
#   at a circuit's start.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 qiskit-qasm3-import==0.6.0 openqasm3==1.0.1 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit import qasm3
seen = {}
for index in ("0:-2", "0:-1", "-3:-1", "-1"):
    circuit = qasm3.loads(f'OPENQASM 3.0; include "stdgates.inc"; qubit[4] q; h q[{index}];')
    seen[index] = sorted(circuit.find_bit(gate.qubits[0]).index for gate in circuit.data)
    print(f"h q[{index}]; -> h on {seen[index]}")
if seen["0:-2"] != [0, 1, 2] or seen["-1"] != [3]:
    sys.exit("CHANGED: negative indices other than ends at -1 are read otherwise")
if seen["0:-1"] or seen["-3:-1"]:
    sys.exit("CHANGED: a range that ends in -1 is no longer empty")
PY
