#!/usr/bin/env bash
# Software: qiskit-ibm-runtime 0.51.0 (qiskit 2.6.2, qiskit-aer 0.18.2), local mode on a fake backend.
# Expected: options {"simulator": {"seed_simulator": 0}} of SamplerV2 make its shots the same each
#   time, as they do with seed 1.
# Happens:  0 is no seed. Shots differ from run to run, without a warning; every other seed is kept.
# Output seen:
#   seed 1: the same shots twice
#   seed 0: other shots each time
# Why it matters: 0 is the seed that most people write first. A test or a study that was seeded so
#   cannot be run again, and nothing says so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit-ibm-runtime==0.51.0 qiskit==2.6.2 qiskit-aer==0.18.2
"$dir/venv/bin/python" -W ignore - <<'PY'
import sys

from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

backend = FakeManilaV2()
circuit = QuantumCircuit(1)
circuit.h(0)
circuit.measure_all()
circuit = transpile(circuit, backend, optimization_level=1)


def shots(seed):
    sampler = SamplerV2(mode=backend, options={"simulator": {"seed_simulator": seed}})
    (result,) = sampler.run([circuit], shots=400).result()
    return result.data.meas.get_bitstrings()


for seed, kept in ((1, True), (0, False)):
    same = shots(seed) == shots(seed)
    print(f"seed {seed}: {'the same shots twice' if same else 'other shots each time'}")
    if same != kept:
        sys.exit(f"CHANGED: seed {seed} {'is kept' if same else 'is not kept'}")
PY
