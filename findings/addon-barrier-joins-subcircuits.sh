#!/usr/bin/env bash
# Software: qiskit-addon-cutting 0.10.0 (qiskit 2.6.2, numpy 2.4.6).
# Expected: a barrier is a hint for the transpiler and entangles nothing. find_cuts and
#   partition_problem, used as in the tutorial (no labels given), separate a circuit for devices of 2
#   qubits into subcircuits of 2 qubits, with a barrier or without one. The package even has code that
#   splits barriers over subcircuits.
# Happens:  find_cuts finds the cut and says that the minimum was reached. partition_problem then
#   counts the barrier as something that joins its qubits: one subcircuit, as wide as the whole circuit,
#   with the cut in it and its overhead to be paid. No warning.
# Output seen:
#   without a barrier: subcircuits of [2, 2] qubits, sampling overhead 9.0
#   with a barrier at the end: subcircuits of [4] qubits, sampling overhead 9.0
# Why it matters: many writers of circuits put a barrier before measurements or between layers. The
#   subexperiments then do not fit the device, and nothing says why. Remove barriers first.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit-addon-cutting==0.10.0 qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit import QuantumCircuit
from qiskit.quantum_info import PauliList
from qiskit_addon_cutting import cut_wires, expand_observables, find_cuts, partition_problem
from qiskit_addon_cutting.automated_cut_finding import DeviceConstraints, OptimizationParameters
def widths(barrier):
    circuit = QuantumCircuit(4)
    for qubit in range(3):
        circuit.cx(qubit, qubit + 1)
    if barrier:
        circuit.barrier()
    cut, found = find_cuts(circuit, OptimizationParameters(seed=1), DeviceConstraints(2))
    wires = cut_wires(cut)
    observables = expand_observables(PauliList(["ZZZZ"]), circuit, wires)
    problem = partition_problem(wires, observables=observables)
    return sorted(c.num_qubits for c in problem.subcircuits.values()), found["sampling_overhead"]
for barrier, name in ((False, "without a barrier"), (True, "with a barrier at the end")):
    some, overhead = widths(barrier)
    print(f"{name}: subcircuits of {some} qubits, sampling overhead {overhead:.1f}")
    if some != ([4] if barrier else [2, 2]):
        sys.exit("CHANGED: the subcircuits are others")
PY
