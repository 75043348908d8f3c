#!/usr/bin/env bash
# Software: qiskit-ibm-runtime 0.51.0 (qiskit 2.6.2, qiskit-aer 0.18.2), local mode on a fake backend.
# Expected: two equal PUBs of one job are two samples. With a seed they are the same two samples each
#   time, and differ from each other, as those of SamplerV2 do.
# Happens:  the sampler that takes SamplerV2's place (executor_sampler.Sampler) starts every PUB
#   from the seed: equal PUBs have the same shots, bit by bit.
# Output seen:
#   SamplerV2: equal PUBs of a seeded job have other shots
#   Sampler: equal PUBs of a seeded job have the same shots
# Why it matters: who repeats a PUB to get more shots, or error bars from repetitions, has as many
#   shots as before and error bars of zero; and variants of a cut circuit that happen to be equal are
#   fully correlated.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit-ibm-runtime==0.51.0 qiskit==2.6.2 qiskit-aer==0.18.2
"$dir/venv/bin/python" -W ignore - <<'PY'
import sys

from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

backend = FakeManilaV2()
circuit = QuantumCircuit(1)
circuit.h(0)
circuit.measure_all()
circuit = transpile(circuit, backend, optimization_level=1)

for kind, equal in ((SamplerV2, False), (Sampler, True)):
    sampler = kind(mode=backend, options={"simulator": {"seed_simulator": 1}})
    results = sampler.run([circuit, circuit], shots=400).result()
    first, second = (result.data.meas.get_bitstrings() for result in results)
    same = first == second
    print(f"{kind.__name__}: equal PUBs of a seeded job have {'the same' if same else 'other'} shots")
    if same != equal:
        sys.exit(f"CHANGED: shots of {kind.__name__} are {'the same' if same else 'others'}")
PY
