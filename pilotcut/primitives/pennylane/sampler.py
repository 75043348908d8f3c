"""Distributions of tapes: probabilities of many wires, and samples.

In exact mode samples are drawn as if the whole circuit had been measured; in the other modes the
fragments run with that many shots each, and samples are drawn from what they found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pennylane.measurements import MeasurementProcess, SampleMP
from pennylane.tape import QuantumScript

from pilotcut.primitives.distribution import Distribution
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.pennylane.reader import TapeReading
from pilotcut.primitives.sampler import outcomes_of, plan_of_bits


def is_sampled(tape: QuantumScript) -> bool:
    """Whether a tape asks for samples, and for nothing else."""
    return any(isinstance(one, SampleMP) for one in tape.measurements)


class TapeSampler:
    """Answers tapes from distributions of their final bits.

    Parameters
    ----------
    estimator
        What cuts circuits, and where they run.
    options
        Of `Distribution`.
    seed
        Of samples and of fragments' runs; None draws anew.
    """

    def __init__(self, estimator: CutEstimator, options: dict[str, Any], seed: int | None) -> None:
        self._estimator, self._options = estimator, options
        self._seeds = np.random.default_rng(seed)

    def probabilities(
        self, reading: TapeReading, measurement: MeasurementProcess, shots: int | None
    ) -> np.ndarray:
        """Return probabilities (rows, 2^wires) of a measurement's wires, the first one highest."""
        qubits = [reading.structure.place[wire] for wire in measurement.wires]
        each = self._distributions(reading, shots)
        return np.array([one.probabilities(qubits[::-1]) for one in each])

    def samples(self, reading: TapeReading) -> Any:
        """Return samples (shots, wires) of a tape, a tuple of them for several numbers of shots."""
        (measurement,) = reading.tape.measurements
        qubits = [reading.structure.place[wire] for wire in measurement.wires]
        shots = reading.tape.shots
        (distribution,) = self._distributions(reading, shots.total_shots)
        drawn = outcomes_of(distribution, shots.total_shots, qubits, self._seeds).astype(int)
        if not shots.has_partitioned_shots:
            return drawn
        edges = np.cumsum(list(shots))[:-1]
        return tuple(np.split(drawn, edges))

    def _distributions(self, reading: TapeReading, shots: int | None) -> Iterator[Distribution]:
        plan = plan_of_bits(self._estimator, reading.structure.circuit)
        tasks = self._estimator.runner.executor.tasks
        for row in reading.values:
            yield Distribution(
                plan,
                dict(zip(reading.structure.names, row.tolist(), strict=True)),
                shots=shots or 1,
                seed=int(self._seeds.integers(2**63)),
                tasks=tasks,
                **self._options,
            )
