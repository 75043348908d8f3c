"""Runs: which gates on the same two qubits stand together, one-qubit gates between them.

A run is what `pilotcut.cutting.blocks` joins. Refuses to know what a gate is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pilotcut.circuits.gathering import MOST_FREE_STEPS
from pilotcut.circuits.program import Step
from pilotcut.cutting.blocks import may_join


def runs_of(
    steps: Sequence[Step],
    taken: Callable[[int], bool],
) -> list[list[int]]:
    """Return the numbers of the steps of every run, which begins and ends with a two-qubit gate.

    Parameters
    ----------
    steps
        Steps in order; a marker of a wire cut ends the runs on its qubit.
    taken
        Whether a two-qubit step, by number, belongs to a run; others end those on its qubits.
    """
    gathering = _Gathering()
    for number, step in enumerate(steps):
        if len(step.qubits) == 1 and may_join(step):
            gathering.ride(number, step)
        elif len(step.qubits) == 2 and taken(number):
            gathering.gate(number, step)
        else:
            for qubit in step.qubits:
                gathering.close(qubit)
    return gathering.runs


class _Run:
    """A run that may go on: its steps so far, and those of one qubit behind its last gate."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.riding: list[int] = []
        self.free = 0  # steps with a free angle, those that ride counted


class _Gathering:
    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self._open: dict[int, _Run] = {}

    def close(self, qubit: int) -> None:
        """End the run that a qubit is in, for both its qubits."""
        run = self._open.pop(qubit, None)
        for other in [q for q, its in self._open.items() if its is run] if run else []:
            del self._open[other]

    def ride(self, number: int, step: Step) -> None:
        """Take a one-qubit step along, if the run goes on behind it."""
        if (run := self._open.get(step.qubits[0])) is not None:
            run.riding.append(number)
            run.free += step.is_free

    def gate(self, number: int, step: Step) -> None:
        """Add a two-qubit step to the run that both its qubits are in, or begin one."""
        a, b = step.qubits
        run, joins = self._open.get(a), may_join(step)
        if run is None or self._open.get(b) is not run or not joins or run.free >= MOST_FREE_STEPS:
            self.close(a)
            self.close(b)
            run = _Run()
            self.runs.append(run.steps)
            if joins:
                self._open[a] = self._open[b] = run
        run.steps += [*run.riding, number]
        run.riding = []
        run.free += step.is_free
