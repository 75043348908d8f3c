#!/usr/bin/env bash
# Software: qiskit-qasm3-import 0.6.0 (qiskit 2.6.2, openqasm3 1.0.1).
# Expected: in OpenQASM 3 the arguments of a call go to a gate's parameters in the order of their
#   declaration: with gate g(b, a), g(0.1, 0.2) has b = 0.1 and a = 0.2.
# Happens:  they go to the names in alphabetical order: a = 0.1, b = 0.2.
# Output seen:
#   g(b, a): rx(a) is rx(0.1), rz(b) is rz(0.2)
#   g(a, b): rx(a) is rx(0.1), rz(b) is rz(0.2)
# Why it matters: gates with (theta, phi, lam) are common, and not in alphabetical order: files of
#   other tools are read as circuits with exchanged angles, in silence.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 qiskit-qasm3-import==0.6.0 openqasm3==1.0.1 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit import qasm3
def angles(names):
    circuit = qasm3.loads(
        'OPENQASM 3.0; include "stdgates.inc"; qubit[1] q;'
        f"gate g({names}) x {{ rx(a) x; rz(b) x; }} g(0.1, 0.2) q[0];").decompose()
    found = {gate.operation.name: float(gate.operation.params[0]) for gate in circuit.data}
    print(f"g({names}): rx(a) is rx({found['rx']}), rz(b) is rz({found['rz']})")
    return found
backwards, forwards = angles("b, a"), angles("a, b")
if forwards != {"rx": 0.1, "rz": 0.2}:
    sys.exit("CHANGED: names in alphabetical order are bound otherwise")
if backwards != {"rx": 0.1, "rz": 0.2}:
    sys.exit("CHANGED: the order of declaration counts now")
PY
