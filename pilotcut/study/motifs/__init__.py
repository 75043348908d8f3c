"""The motifs of hybrid quantum-HPC work as mini-apps, each a short example of the public API.

answer          what a motif has found, and the table of motifs
time_spent      where the time of a run's tasks went
run             one motif on pilots, and its files
molecules       Hamiltonians of small molecules
images          images as shallow circuits
circuit_execution, circuit_cutting, mitigation
                basic motifs B.1, B.3, B.4
pipeline, variational, energy_curve, generative
                compositional motifs C.1, C.2, C.3, C.5

References
----------
Mantha et al., "Hybrid Quantum-HPC Middleware Systems" (Pilot-Quantum), 2026.
"""
