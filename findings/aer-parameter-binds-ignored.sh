#!/usr/bin/env bash
# Software: qiskit-aer 0.18.2 (qiskit 2.6.2, numpy 2.4.6).
# Expected: AerSimulator.run(circuit, parameter_binds=[{t: [three values]}]) gives three results, or
#   says that it cannot bind. H, gate(t), H on 2 qubits: P(00) = 1 at t = 0 only.
# Happens:  where the only free angle is that of cp (with any ctrl_state), mcp or crx, there is one
#   result, simulated at angle zero, and success is True. rz and cu are bound.
# Output seen:
#   rz: 3 results, success True, P(00) [0.79, 0.0, 0.26]
#   cu: 3 results, success True, P(00) [0.88, 0.25, 0.58]
#   cp: 1 results, success True, P(00) [1.0]
#   cp, ctrl_state=0: 1 results, success True, P(00) [1.0]
#   mcp: 1 results, success True, P(00) [1.0]
#   crx: 1 results, success True, P(00) [1.0]
# Why it matters: parameter_binds is the fast way to train; a feature map of cp gates is simulated as
#   no gate at all, in silence.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 qiskit-aer==0.18.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import math
import sys
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
t = Parameter("t")
def seen(name, add, before=True):
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    add(circuit)
    circuit.h([0, 1])
    circuit.measure_all()
    binds = [{t: [1.0, math.pi, 2.0]}]
    result = AerSimulator().run(circuit, parameter_binds=binds, shots=1000, seed_simulator=1).result()
    chances = [result.get_counts(k).get("00", 0) / 1000 for k in range(len(result.results))]
    print(f"{name}: {len(chances)} results, success {result.success},",
          f"P(00) {[round(p, 2) for p in chances]}")
    return chances
for name, add in {"rz": lambda c: c.rz(t, 0), "cu": lambda c: c.cu(t, 0, 0, 0, 0, 1)}.items():
    if len(seen(name, add)) != 3:
        sys.exit(f"CHANGED: {name} is not bound, either")
for name, add in {"cp": lambda c: c.cp(t, 0, 1), "cp, ctrl_state=0": lambda c: c.cp(t, 0, 1, ctrl_state=0),
                  "mcp": lambda c: c.mcp(t, [0], 1), "crx": lambda c: c.crx(t, 0, 1)}.items():
    if seen(name, add) != [1.0]:
        sys.exit(f"CHANGED: {name} no longer gives one result at angle zero")
PY
