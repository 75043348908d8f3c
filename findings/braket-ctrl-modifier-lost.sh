#!/usr/bin/env bash
# Software: amazon-braket-sdk 1.127.5, LocalSimulator (amazon-braket-default-simulator 1.41.2, numpy
#   2.4.6).
# Expected: "x q[c]; ctrl @ x q[c], q[t];" sets qubits c and t, for every pair.
# Happens:  on 4 qubits the controlled gate does nothing for the pairs 1, 3 and 2, 0; the other ten
#   are right, and "cnot" is right for all. (The gate is written into a reshaped slice of the state,
#   and numpy's reshape copies where the slice's strides do not fit: what is written is lost.)
# Output seen:
#   ctrl @ x q[1], q[3]: state 0100, should be 0101
#   ctrl @ x q[2], q[0]: state 0010, should be 1010
#   right: 10 of 12 pairs with ctrl @ x, 12 of 12 with cnot
# Why it matters: this simulator is what circuits are checked with before they go to a device; a
#   missing gate looks like a plausible state with less entanglement.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q amazon-braket-sdk==1.127.5 amazon-braket-default-simulator==1.41.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import itertools
import logging
import sys
import numpy as np
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program
logging.disable(logging.WARNING)  # a remark that devices may not take the modifier
def state(gate, control, target):
    source = (f"OPENQASM 3.0;\nqubit[4] q;\nx q[{control}];\n{gate} q[{control}], q[{target}];\n"
              + "".join(f"i q[{k}];\n" for k in range(4)) + "#pragma braket result state_vector")
    vector = LocalSimulator().run(Program(source=source)).result().values[0]
    return format(int(np.argmax(np.abs(vector))), "04b")
wrong = {"ctrl @ x": [], "cnot": []}
for control, target in itertools.permutations(range(4), 2):
    right = "".join("1" if k in (control, target) else "0" for k in range(4))
    for gate, pairs in wrong.items():
        if (seen := state(gate, control, target)) != right:
            pairs.append((control, target))
            print(f"{gate} q[{control}], q[{target}]: state {seen}, should be {right}")
print(f"right: {12 - len(wrong['ctrl @ x'])} of 12 pairs with ctrl @ x,",
      f"{12 - len(wrong['cnot'])} of 12 with cnot")
if wrong != {"ctrl @ x": [(1, 3), (2, 0)], "cnot": []}:
    sys.exit(f"CHANGED: wrong pairs are {wrong}")
PY
