"""Forms of a multi-controlled gate across labels, and drafts in which they are written.

A draft knows ancillas that begin and end in |0>, ANDs and parities on one side, and qubits that
visit another. Which forms a gate has, `pilotcut.cutting.controlled` knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import pi

from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.circuit.library import (
    CPhaseGate,
    CXGate,
    CZGate,
    MCXGate,
    PhaseGate,
    RC3XGate,
    RCCXGate,
)

from pilotcut.circuits.markers import Move
from pilotcut.circuits.program import Angle, Step, read_circuit
from pilotcut.cutting.prices import Price, price_of

#: An angle in radians, bound or free.
Phase = float | Angle

_ZERO = 1e-9


@dataclass(frozen=True)
class FormCut:
    """One cut that a form makes.

    Parameters
    ----------
    price
        What it costs.
    sides
        The sides of its first and second qubit.
    is_wire
        Whether it cuts a wire.
    """

    price: Price
    sides: tuple[int, int]
    is_wire: bool


@dataclass(frozen=True)
class Form:
    """One exact way to write a gate across sides as one- and two-qubit steps.

    Parameters
    ----------
    steps
        On the gate's own qubits, numbered from 0, and on further wires behind them.
    sides
        Side of each further wire: an ancilla that begins and ends in |0>, or one that a qubit of
        the gate visits.
    visited
        Which of them are visited, by their place.
    cuts
        What it cuts, in order.
    is_definition
        Whether it is the gate's own definition, opened.
    """

    steps: tuple[Step, ...]
    sides: tuple[int, ...]
    visited: frozenset[int]
    cuts: tuple[FormCut, ...]
    is_definition: bool = False

    @property
    def log_overhead(self) -> float:
        """Log gamma^2 of its cuts, at the worst angle where it is free."""
        return sum(cut.price.log_overhead for cut in self.cuts)

    @property
    def variants(self) -> int:
        """Product of the operations of its cuts, summed over the sides."""
        operations: dict[int, int] = {}
        for cut in self.cuts:
            for side, count in zip(cut.sides, cut.price.operations, strict=True):
                operations[side] = operations.get(side, 1) * count
        return sum(operations.values())

    def further_wires(self, side: int) -> int:
        """Return how many wires beyond the gate's own the form has on a side."""
        return self.sides.count(side)


class Draft:
    """A form while it is written."""

    def __init__(self, sides: Sequence[int]) -> None:
        self.sides = list(sides)
        self._own = len(sides)
        self._steps: list[Step] = []
        self._free: list[int] = []  # ancillas that are in |0> again
        self._visited: set[int] = set()

    def add(self, *steps: Step) -> None:
        """Append steps."""
        self._steps += steps

    def gate(self, gate: Instruction, *places: int, angle: Phase | None = None) -> None:
        """Append a gate, with its own angles or this one in their place."""
        own = tuple(map(float, gate.params))
        self.add(Step(gate, places, own if angle is None else (angle,)))

    def phase(self, angle: Phase, *places: int) -> None:
        """Append ``exp(i angle P)`` with P the projector on 1 of one place, or of two."""
        if isinstance(angle, float) and abs(abs(angle) - pi) < _ZERO and len(places) == 2:
            self.gate(CZGate(), *places)
        else:
            self.gate(PhaseGate(0.0) if len(places) == 1 else CPhaseGate(0.0), *places, angle=angle)

    @contextmanager
    def ancilla(self, side: int) -> Iterator[int]:
        """Yield an ancilla of a side, in |0>, where the caller leaves it in |0> too."""
        place = next((p for p in self._free if self.sides[p] == side), len(self.sides))
        if place == len(self.sides):
            self.sides.append(side)
        else:
            self._free.remove(place)
        yield place
        self._free.append(place)

    @contextmanager
    def around(self, *gates: tuple[Instruction, int]) -> Iterator[None]:
        """Append gates, then their inverses in the opposite order."""
        for gate, place in gates:
            self.gate(gate, place)
        yield
        for gate, place in reversed(gates):
            self.gate(gate.inverse(), place)

    @contextmanager
    def all_ones(self, places: Sequence[int]) -> Iterator[int]:
        """Yield a wire that is 1 where all places of one side are."""
        if len(places) == 1:
            yield places[0]
            return
        with self.ancilla(self.sides[places[0]]) as ancilla:
            compute, uncompute = _and(len(places))
            where = (*places, ancilla)
            self.add(*(part.placed(where, None) for part in compute))
            yield ancilla
            self.add(*(part.placed(where, None) for part in uncompute))

    @contextmanager
    def parity(self, places: Sequence[int]) -> Iterator[int]:
        """Yield the last of some places, which holds the parity of all meanwhile."""
        *others, last = places
        for place in others:
            self.gate(CXGate(), place, last)
        yield last
        for place in reversed(others):
            self.gate(CXGate(), place, last)

    def parts(
        self, places: Sequence[int], by_parity: bool
    ) -> list[tuple[AbstractContextManager[int], float]]:
        """Return wires and weights whose weighted projectors on 1 add up to that on all ones."""
        if not by_parity:
            return [(self.all_ones(places), 1.0)]
        scale = 2.0 ** (1 - len(places))
        return [
            (self.parity(some), scale if size % 2 else -scale)
            for size in range(1, len(places) + 1)
            for some in combinations(places, size)
        ]

    @contextmanager
    def carried(self, groups: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield places of the last group's side that are all 1 where those of all groups are."""
        with ExitStack() as stack:
            places = list(groups[0])
            for group in groups[1:]:
                ones = stack.enter_context(self.all_ones(places))
                copy = stack.enter_context(self.ancilla(self.sides[group[0]]))
                self.gate(CXGate(), ones, copy)
                stack.callback(self.gate, CXGate(), ones, copy)
                places = [copy, *group]
            yield places

    @contextmanager
    def visiting(self, place: int, side: int) -> Iterator[int]:
        """Yield a wire of another side that a place's qubit is on meanwhile."""
        visitor = len(self.sides)
        self.sides.append(side)
        self._visited.add(visitor - self._own)
        self.gate(Move(), place, visitor)
        yield visitor
        self.gate(Move(), visitor, place)

    def form(self) -> Form:
        """Return what was written."""
        cuts = []
        for step in self._steps:
            first, last = self.sides[step.qubits[0]], self.sides[step.qubits[-1]]
            if first != last:
                cuts.append(FormCut(price_of(step), (first, last), step.name == "move"))
        return Form(
            steps=tuple(self._steps),
            sides=tuple(self.sides[self._own :]),
            visited=frozenset(self._visited),
            cuts=tuple(cuts),
        )


@lru_cache(maxsize=64)
def _and(inputs: int) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return what computes the AND of some qubits into a fresh one behind them, and its inverse."""
    # What stands between the two is diagonal on all of these wires, so relative phases cancel.
    gate = {2: RCCXGate(), 3: RC3XGate()}.get(inputs) or MCXGate(inputs)
    circuit = QuantumCircuit(inputs + 1)
    circuit.append(gate, circuit.qubits)
    inverse = circuit.decompose().inverse()
    return read_circuit(circuit)[0].opened.steps, read_circuit(inverse)[0].opened.steps
