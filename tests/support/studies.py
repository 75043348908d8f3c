"""A study that is small enough for a test."""

from __future__ import annotations

from dataclasses import replace

from pilotcut.study.profiles import QUICK

#: Small enough for a test, with every kind of cell.
TINY = replace(
    QUICK,
    name="tiny",
    datasets=("iris",),
    cuts=(0, 1),
    qubits=3,
    shots=64,
    seeds=(0,),
    samples=20,
    epochs=2,
    timed_samples=20,
    timed_epochs=1,
    timed_exact_epochs=1,
    rounds=1,
    batches=1,
    noise=(0.0, 0.2),
    attacks=(0.0, 0.2),
    draws=1,
    extended_samples=30,
    extended_epochs=1,
    extended_reps=(2,),
    extended_qubits=(4,),
    extended_batches=(8,),
)
