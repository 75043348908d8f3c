#!/usr/bin/env bash
# Software: iqm-client 36.0.0 with its Qiskit (2.1.2), IQMFakeAdonis through BackendSamplerV2.
# Expected: a qubit that is flipped and measured reads 1 in about 96 of 100 shots, as it does by the
#   fake's own run.
# Happens:  Qiskit's sampler returns 0 for every bit of every shot, without a word. (The fake drops
#   the option "memory" and returns counts alone; the sampler fills its array of bits from memory,
#   and where there is none leaves the zeros that it began with.)
# Output seen:
#   run: 01 in 953 of 1000 shots
#   sampler: {'00': 1000}
# Why it matters: every expectation of Z is 1.0 with error 0, and a network that is trained on it
#   stays where it is.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q 'iqm-client[qiskit]==36.0.0'
"$dir/venv/bin/python" - <<'PY'
import logging
import sys
from math import pi
from iqm.qiskit_iqm import IQMFakeAdonis
from qiskit import QuantumCircuit
from qiskit.primitives import BackendSamplerV2
logging.disable(logging.WARNING)
circuit = QuantumCircuit(5, 2)
circuit.r(pi, 0, 0)
circuit.measure([0, 1], [0, 1])
device = IQMFakeAdonis()
counts = device.run([circuit], shots=1000).result().get_counts()
print(f"run: 01 in {counts['01']} of 1000 shots")
sampled = BackendSamplerV2(backend=device).run([circuit], shots=1000).result()[0].data.c.get_counts()
print(f"sampler: {sampled}")
if counts["01"] < 900 or sampled != {"00": 1000}:
    sys.exit(f"CHANGED: run {counts}, sampler {sampled}")
PY
