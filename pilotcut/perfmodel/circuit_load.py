"""Load of circuits with shots: what Aer is given for a fragment, without building a circuit.

Packs, fusion and the tableau of Clifford circuits are counted as the Aer backend and Aer 0.18
treat them; a test compares the counts with the jobs that the backend really makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.backends.aer import PACK_QUBITS
from pilotcut.backends.aer_parameters import BINDABLE
from pilotcut.backends.packing import most_copies
from pilotcut.backends.seating import measured_in_place, simulated
from pilotcut.circuits.program import Angle, Step
from pilotcut.cutting.fragment import Fragment, Site, Template
from pilotcut.perfmodel.load import COUNTS, FragmentWork, loads_of

#: Aer fuses gates of circuits with more qubits than this (its default of `fusion_threshold`).
FUSED_QUBITS = 14

#: Qubits that no simulator on any machine reaches.
MOST_SIMULATED = 64

# Aer 0.18's defaults: qubits of a fused block, and the base of its cost.
_BLOCK, _COST = 5, 1.8

# A block of nothing but these is a multiplication by phases, which fusion counts as one pass.
_DIAGONAL = frozenset(
    {"rz", "p", "u1", "z", "s", "sdg", "t", "tdg", "cz", "cp", "cu1", "crz", "rzz"}
)

# Aer simulates circuits of nothing but these by a tableau: their cost is bits, not amplitudes.
_CLIFFORD = frozenset(
    {"h", "s", "sdg", "x", "y", "z", "cx", "cy", "cz", "swap", "id", "sx", "sxdg", "ecr"}
)


def circuit_work(fragment: Fragment, rows: int, shots: int) -> FragmentWork:
    """Return the work of a fragment's circuits with shots."""
    counter = CircuitCounter(fragment, shots)
    return FragmentWork(
        loads=loads_of(fragment, rows, shots, counter.amounts),
        template_gates=sum(t.gates for t in counter.templates),
        memory_bytes=16.0 * 2.0 ** max((t.packed_bits for t in counter.templates), default=1),
    )


@dataclass(frozen=True)
class _TemplateShape:
    """One template as a circuit, without building it."""

    variants: int
    qubits: int
    gates: int
    passes: float
    values: int
    bits: int
    clifford: bool
    mixed: bool  # simulated in a density matrix, which has the square of the amplitudes
    alone: bool  # every shot is simulated by itself

    def state_bits(self, copies: int) -> int:
        """Return the logarithm to base 2 of the amplitudes of so many copies side by side."""
        return copies * self.qubits * (2 if self.mixed else 1)

    @property
    def packed_bits(self) -> int:
        """The same of the fullest pack."""
        return self.state_bits(most_copies(self.qubits, PACK_QUBITS, mixed=self.mixed))


class CircuitCounter:
    """Counter of a fragment's circuits with shots."""

    def __init__(self, fragment: Fragment, shots: int) -> None:
        self._shots = shots
        gates = [step for step in fragment.steps if isinstance(step, Step)]
        self._gates = sum(_opened(step) for step in gates)
        self._passes = passes_of([(step.qubits, step.name in _DIAGONAL) for step in gates])
        self._clifford = all(step.name in _CLIFFORD for step in gates)
        self._used = len({p.slot for step in gates for p in step.params if isinstance(p, Angle)})
        self._in_place: dict[int, list[bool]] = {}
        self.templates = [self._shape(fragment, t) for t in fragment.templates]
        self._first = np.cumsum([0, *(t.variants for t in self.templates)])

    def _shape(self, fragment: Fragment, template: Template) -> _TemplateShape:
        group, measured = template.group, template.measured
        members = fragment.observables[list(fragment.groups[group])]
        support = members.x.any(axis=0) | members.z.any(axis=0)
        if group not in self._in_place:
            self._in_place[group] = measured_in_place(fragment, support)
        in_place = self._in_place[group]
        seating = simulated(fragment, template, most=MOST_SIMULATED)
        ancillas = seating.ancillas
        free = sum(not m for m in measured)
        chosen = sum(
            _chosen_values(site, m, place)
            for site, m, place in zip(fragment.sites, measured, in_place, strict=True)
        )
        joint = sum(bool(site.joint_operations) for site in fragment.sites)
        ends = sum(len(site.wires) for site in fragment.sites if site.outcomes > 1)
        return _TemplateShape(
            variants=len(template.variants),
            qubits=seating.qubits,
            gates=self._gates + free + ancillas + 4 * joint + int(members.x.any(axis=0).sum()),
            passes=self._passes + ancillas + free,
            values=self._used + chosen,
            bits=int(support.sum()) + ends + _signs(fragment, measured),
            # A site's U gate has its angles as parameters, and is no Clifford gate to Aer.
            clifford=self._clifford and not free,
            mixed=seating.mixed,
            alone=seating.mid_circuit,
        )

    def amounts(self, rows: int, part: slice) -> np.ndarray:
        """Return the amounts of one call for `rows` parameter sets and some subexperiments."""
        total = np.zeros(len(COUNTS))
        total[0] = 1.0
        low = int(np.searchsorted(self._first, part.start, side="right")) - 1
        for k in range(max(low, 0), len(self.templates)):
            first, last = max(part.start, self._first[k]), min(part.stop, self._first[k + 1])
            if first >= part.stop:
                break
            if first < last:
                total += self._of_template(self.templates[k], rows * int(last - first))
        return total

    def _of_template(self, template: _TemplateShape, number: int) -> np.ndarray:
        total = np.zeros(len(COUNTS))
        for copies, runs in packs(number, template.qubits, mixed=template.mixed):
            state_bits = template.state_bits(copies)
            amplitudes = 2.0**state_bits
            gates = copies * template.gates
            states = runs * (self._shots if template.alone else 1)
            bits = float(runs) * self._shots * copies * template.bits
            fused = state_bits > FUSED_QUBITS
            circuits = 1 if template.values else runs
            total += [
                0.0,
                circuits,
                circuits * gates,
                runs,
                runs * gates,
                0.0 if fused or template.clifford else states * gates * amplitudes,
                states * template.passes * amplitudes if fused and not template.clifford else 0.0,
                runs * self._shots,
                bits,
                bits * template.clifford,
                runs * min(self._shots, 2.0 ** min(60, copies * template.bits)),
                runs * copies * template.values,
            ]
        return total


def _signs(fragment: Fragment, measured: Sequence[int]) -> int:
    """Return how many signed measurements a template has."""
    both = zip(measured, fragment.sites, strict=True)
    return sum(bool(m) and not site.states for m, site in both)


def _chosen_values(site: Site, measured: int, in_place: bool) -> int:
    """Return how many parameters of a template choose among a site's operations."""
    if site.states:
        return 3 * len(site.wires)
    if site.joint_operations:
        possible = [op.rotations for op in site.joint_operations if op.measured == measured]
        return int((np.ptp(possible, axis=0) > 0).sum())
    some = [op for op in site.local_operations if op.measured == measured]
    tables = [[op.before for op in some]]
    if measured and not in_place:
        tables.append([op.after for op in some])
    return sum(3 for table in tables if np.ptp(table, axis=0).max() > 0)


def passes_of(gates: Sequence[tuple[tuple[int, ...], bool]]) -> float:
    """Return what gates cost once Aer has fused them, in passes over the state.

    As Aer's cost-based fusion does: the cheapest way to divide the sequence into blocks of at most
    five qubits, where a block of diagonal gates costs 1 and any other of k qubits 1.8^(k-2), at
    least 1.8.

    Parameters
    ----------
    gates
        (qubits, whether it is diagonal) of each gate, in order.

    Examples
    --------
    >>> passes_of([((0,), False), ((1,), False), ((0, 1), True)])
    1.8
    """
    best = [0.0]
    for last in range(len(gates)):
        qubits: set[int] = set()
        diagonal, least = True, float("inf")
        for first in range(last, -1, -1):
            qubits.update(gates[first][0])
            diagonal = diagonal and gates[first][1]
            # A block that begins still earlier has these qubits as well.
            if len(qubits) > _BLOCK:
                break
            cost = 1.0 if diagonal else _COST ** max(len(qubits) - 2, 1)
            least = min(least, best[first] + cost)
        best.append(least)
    return best[-1]


def _opened(step: Step) -> int:
    """Return how many gates a step becomes; see `pilotcut.backends.aer_parameters`."""
    return len(step.gate.definition.data) if step.is_free and step.name not in BINDABLE else 1


def packs(number: int, qubits: int, *, mixed: bool = False) -> Iterator[tuple[int, int]]:
    """Yield (copies, runs) as the Aer backend packs so many subexperiments."""
    copies = min(most_copies(qubits, PACK_QUBITS, mixed=mixed), max(1, number))
    while number > 0:
        copies = min(copies, number)
        yield copies, number // copies
        number, copies = number % copies, max(1, copies // 2)
