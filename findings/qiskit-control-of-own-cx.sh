#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: a gate of one's own keeps its meaning under a control, whatever its name: gates made of
#   circuits carry a definition, and AnnotatedOperation.to_matrix() heeds it.
# Happens:  HighLevelSynthesis goes by the name. An RX of one's own in a gate named "cx" becomes, once
#   controlled, a Toffoli. Under another name it is right.
# Output seen:
#   gate named mine: greatest difference of synthesis and to_matrix() 0.00, gates: cmine
#   gate named cx: greatest difference of synthesis and to_matrix() 1.00, gates: ccx
# Why it matters: circuit files and vendors' dialects define "cx" and the like themselves, with other
#   conventions; transpiling then changes the unitary in silence.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, ControlModifier
from qiskit.quantum_info import Operator
from qiskit.transpiler.passes import HighLevelSynthesis
def difference(name):
    own = QuantumCircuit(2, name=name)
    own.rx(0.4, 0)
    controlled = AnnotatedOperation(own.to_gate(), ControlModifier(1))
    circuit = QuantumCircuit(3)
    circuit.append(controlled, [0, 1, 2])
    made = HighLevelSynthesis()(circuit)
    exact = np.kron(np.eye(4), [[1, 0], [0, 0]]) + np.kron(
        np.kron(np.eye(2), [[np.cos(0.2), -1j * np.sin(0.2)], [-1j * np.sin(0.2), np.cos(0.2)]]),
        [[0, 0], [0, 1]])
    if not np.allclose(controlled.to_matrix(), exact):
        sys.exit(f"CHANGED: to_matrix() of the controlled {name} is not the exact matrix")
    far, names = np.abs(Operator(made).data - exact).max(), sorted({g.name for g in made.data})
    print(f"gate named {name}: greatest difference of synthesis and to_matrix() {far:.2f},",
          "gates:", *names)
    return far, names
if difference("mine")[0] > 1e-8:
    sys.exit("CHANGED: the gate with a name of its own is wrong, too")
far, names = difference("cx")
if far < 0.5:
    sys.exit("CHANGED: the controlled gate named cx now keeps its unitary")
PY
