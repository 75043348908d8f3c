#!/usr/bin/env bash
# Software: QCut 2.2.0 (qiskit 2.6.2, qiskit-aer 0.17.2, numpy 2.4.6).
# Expected: CutOptions says that `finder_max_qubits` is a size limit per piece. A chain of 12 qubits
#   with a limit of 4 comes back in pieces of 4 qubits at most, or an error says what is missing.
# Happens:  one number without `finder_num_partitions` leaves two partitions, and no two pieces of 12
#   qubits keep a limit below 6: the limit is dropped without a word. With
#   `finder_num_partitions=3` it is kept.
# Output seen:
#   limit 4: pieces of [6, 6] qubits
#   limit 4 and 3 partitions: pieces of [4, 4, 4] qubits
# Why it matters: the limit is the size of the device. The pieces do not fit it, which shows when they
#   are sent. Check num_qubits of what find_cuts returns.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q QCut==2.2.0 qiskit==2.6.2 qiskit-aer==0.17.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit import QuantumCircuit
from QCut import CutOptions, find_cuts
chain = QuantumCircuit(12)
for qubit in range(11):
    chain.cx(qubit, qubit + 1)
alone = sorted(find_cuts(chain, CutOptions(finder_max_qubits=4)).num_qubits)
print(f"limit 4: pieces of {alone} qubits")
three = CutOptions(finder_max_qubits=4, finder_num_partitions=3)
three = sorted(find_cuts(chain, three).num_qubits)
print(f"limit 4 and 3 partitions: pieces of {three} qubits")
if alone != [6, 6]:
    sys.exit("CHANGED: the limit alone now has another answer")
if max(three) > 5:
    sys.exit("CHANGED: three partitions no longer keep the limit")
PY
