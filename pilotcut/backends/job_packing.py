"""Packing of circuits into as few jobs as a device's limits allow, equal shots in each.

A pure function of circuits, shots and limits: the same circuits are the same jobs again, which is
how a job of an earlier process is recognised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.backends.circuit_runs import CircuitRuns, Counts
from pilotcut.pilots.description.access import JobLimits


@dataclass(frozen=True)
class JobPart:
    """Some runs of one circuit, in one job.

    Parameters
    ----------
    place
        Position of the circuit among all.
    rows
        Which of its runs.
    runs
        These.
    """

    place: int
    rows: slice
    runs: CircuitRuns


@dataclass(frozen=True)
class PackedJob:
    """What one job runs.

    Parameters
    ----------
    parts
        Its circuits.
    shots
        Of each run.
    """

    parts: tuple[JobPart, ...]
    shots: int

    @property
    def circuits(self) -> int:
        """Number of runs of circuits."""
        return sum(part.rows.stop - part.rows.start for part in self.parts)


def content_of(job: PackedJob) -> str:
    """Return a hash of a job's circuits, values and shots."""
    found = hashlib.sha256(str(job.shots).encode())
    for part in job.parts:
        circuit = part.runs.circuit
        names = [(r.name, r.size) for r in circuit.cregs], [*map(str, circuit.parameters)]
        found.update(repr(names).encode())
        for step in circuit.data:
            bits = [circuit.find_bit(bit).index for bit in (*step.qubits, *step.clbits)]
            found.update(f"{step.name} {bits} {[*map(str, step.params)]}".encode())
        found.update(np.ascontiguousarray(part.runs.values).tobytes())
    return found.hexdigest()[:32]


def packed(runs: Sequence[CircuitRuns], shots: int, limits: JobLimits) -> list[PackedJob]:
    """Return the jobs that run all of it.

    Parameters
    ----------
    runs
        Circuits, each with its rows of values.
    shots
        Of every run; more than a job may have are dealt to several.
    limits
        Of a job.

    Examples
    --------
    >>> from qiskit import QuantumCircuit
    >>> runs = [CircuitRuns.of(QuantumCircuit(1, 1), {})] * 5
    >>> [(job.circuits, job.shots) for job in packed(runs, 30, JobLimits(circuits=3, shots=20))]
    [(3, 20), (2, 20), (3, 10), (2, 10)]
    """
    found = []
    for some in _shots_of_jobs(shots, limits):
        most = limits.circuits or 10**9
        if limits.executions is not None:
            most = max(1, min(most, limits.executions // some))
        found += [PackedJob(tuple(parts), some) for parts in _groups(runs, most)]
    return found


def number_of_jobs(circuits: int, shots: int, limits: JobLimits) -> int:
    """Return how many jobs run so many circuits with so many shots each, as `packed` makes them.

    Examples
    --------
    >>> number_of_jobs(5, 30, JobLimits(circuits=3, shots=20))
    4
    """
    found = 0
    for some in _shots_of_jobs(shots, limits) if circuits else ():
        most = limits.circuits or circuits
        if limits.executions is not None:
            most = max(1, min(most, limits.executions // some))
        found += -(-circuits // most)
    return found


def _shots_of_jobs(shots: int, limits: JobLimits) -> list[int]:
    most = min(limits.shots or shots, limits.executions or shots)
    whole, rest = divmod(shots, most)
    return [most] * whole + [rest] * bool(rest)


def _groups(runs: Sequence[CircuitRuns], most: int) -> Iterator[list[JobPart]]:
    group: list[JobPart] = []
    room = most
    for place, one in enumerate(runs):
        first, count = 0, len(one.values)
        while first < count:
            last = min(count, first + room)
            part = CircuitRuns(one.circuit, one.values[first:last])
            group.append(JobPart(place, slice(first, last), part))
            room -= last - first
            first = last
            if not room:
                yield group
                group, room = [], most
    if group:
        yield group


def joined(
    runs: Sequence[CircuitRuns], jobs: Sequence[PackedJob], found: Sequence[Sequence[list[Counts]]]
) -> list[list[Counts]]:
    """Return the counts of every run, those of several jobs added up; `found` is by job and part.

    Examples
    --------
    >>> from qiskit import QuantumCircuit
    >>> runs = [CircuitRuns.of(QuantumCircuit(1, 1), {})]
    >>> jobs = packed(runs, 30, JobLimits(shots=20))
    >>> joined(runs, jobs, [[[{"0x0": 20}]], [[{"0x0": 7, "0x1": 3}]]])
    [[{'0x0': 27, '0x1': 3}]]
    """
    whole: list[list[Counts]] = [[{} for _ in one.values] for one in runs]
    for job, parts in zip(jobs, found, strict=True):
        for part, counts in zip(job.parts, parts, strict=True):
            for row, some in zip(range(part.rows.start, part.rows.stop), counts, strict=True):
                own = whole[part.place][row]
                for outcome, number in some.items():
                    own[outcome] = own.get(outcome, 0) + number
    return whole
