#!/usr/bin/env bash
# Software: qiskit-addon-cutting 0.10.0 (qiskit 2.6.2, numpy 2.4.6).
# Expected: where the sub-observable of a subcircuit is the identity, its experiments measure what the
#   cuts need and nothing else; the parity of all bits of an experiment is then its sign, as it is
#   wherever the sub-observable has a Pauli on every measured qubit.
# Happens:  one qubit is measured all the same, into the register observable_measurements. Its bit means
#   nothing. Who multiplies all bits, as one may for every other experiment, gets another value: no error.
# Output seen:
#   exact 0.119843; the bits that the sub-observables name 0.119843; all bits -0.458192
# Why it matters: own reconstructions (shots per experiment, error bars, other allocations) read counts
#   themselves. Read observable_measurements by the sub-observable's letters only.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit-addon-cutting==0.10.0 qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from math import inf
import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp, Statevector
from qiskit_addon_cutting import (cut_gates, cut_wires, expand_observables,
                                  generate_cutting_experiments, partition_problem)
from qiskit_addon_cutting.instructions import CutWire
from qiskit_addon_cutting.utils.simulation import simulate_statevector_outcomes
def circuit(cut):
    rng = np.random.default_rng(1)
    turn = lambda q: found.u(*rng.uniform(0, 3, 3), q)
    found = QuantumCircuit(3)
    for qubit in range(3):
        turn(qubit)
    found.cx(0, 1)
    if cut:
        found.append(CutWire(), [1])
    turn(1)
    found.cx(1, 2)
    turn(2)
    turn(0)
    found.cz(2, 0)
    place = len(found.data) - 1
    for qubit in range(3):
        turn(qubit)
    return cut_gates(found, [place])[0] if cut else found
observable = PauliList(["IIZ"])
exact = Statevector(circuit(False)).expectation_value(SparsePauliOp("IIZ")).real
cut = circuit(True)
wires = cut_wires(cut)
problem = partition_problem(wires, observables=expand_observables(observable, cut, wires))
experiments, weights = generate_cutting_experiments(
    problem.subcircuits, problem.subobservables, inf)
def value(all_bits):
    total = np.array([weight for weight, _ in weights])
    for label, some in experiments.items():
        letters = problem.subobservables[label]
        named = all_bits or bool(letters.x.any() or letters.z.any())
        signs = []
        for one in some:
            (register,) = [r for r in one.cregs if r.name == "observable_measurements"]
            skip = 0 if named else sum(1 << one.find_bit(bit).index for bit in register)
            signs.append(sum(p * (-1) ** (bits & ~skip).bit_count()
                             for bits, p in simulate_statevector_outcomes(one).items()))
        total = total * np.array(signs)
    return total.sum()
print(f"exact {exact:.6f}; the bits that the sub-observables name {value(False):.6f}; "
      f"all bits {value(True):.6f}")
if abs(value(False) - exact) > 1e-9 or abs(value(True) - exact) < 0.1:
    sys.exit("CHANGED: all bits of an experiment may be read")
PY
