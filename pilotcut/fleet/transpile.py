"""Transpilation of a model circuit to a device, gate by gate, with each gate's provenance.

Qiskit keeps no record through translation of which gate a basis gate came from, so the circuit
is compiled in steps of our own: only its two-qubit gates are laid out and routed
(`pilotcut.fleet.routing`); every SWAP that routing put in is charged to the gate it was put in
for, the next two-qubit gate on the qubits it carries; and every gate and every SWAP is translated
by itself (`pilotcut.fleet.gate_translation`). What a gate became is therefore exactly one
`CompiledGate`, and no optimisation crosses the border between two gates. A SWAP that no two-qubit
gate needs any more is not executed.

The module knows nothing of noise: see `pilotcut.fleet.device_features`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from qiskit.circuit import Barrier, Gate, QuantumCircuit
from qiskit.circuit.library import GlobalPhaseGate, IGate, SwapGate
from qiskit.transpiler import Target

from pilotcut.circuits.instructions import plain
from pilotcut.errors import UserError
from pilotcut.fleet.device_gates import DeviceGates
from pilotcut.fleet.gate_translation import STANDARD_GATES, BasisGate, translate
from pilotcut.fleet.routing import Move, Swap, route


@dataclass(frozen=True)
class CompiledGate:
    """A gate of the model, or a SWAP that routing put in for one, in gates of the device.

    Parameters
    ----------
    gate
        Index of the gate in the model circuit; a SWAP's is the one it is charged to.
    is_swap
        Whether it is a SWAP of the routing.
    qubits
        Physical, in the gate's own order.
    operations
        Basis gates in order. A gate that does nothing (``id``) may have none.
    """

    gate: int
    is_swap: bool
    qubits: tuple[int, ...]
    operations: tuple[BasisGate, ...]


@dataclass(frozen=True)
class Compilation:
    """Compiled model circuit.

    Parameters
    ----------
    gates
        Number of gates in the model circuit, barriers and global phases not counted.
    steps
        In order of execution.
    initial_layout, final_layout
        The physical qubit of every virtual one before and after.
    qubits
        Number of physical qubits.
    """

    gates: int
    steps: tuple[CompiledGate, ...]
    initial_layout: tuple[int, ...]
    final_layout: tuple[int, ...]
    qubits: int

    @cached_property
    def touched(self) -> list[int]:
        """The physical qubits that the model touches, in their order."""
        stepped = {q for step in self.steps for q in step.qubits}
        return sorted(stepped | {*self.initial_layout, *self.final_layout})

    @cached_property
    def circuit(self) -> QuantumCircuit:
        """The whole over physical qubits, in basis gates and with the model's parameters.

        It equals the model circuit up to the layouts and a global phase.
        """
        circuit = QuantumCircuit(self.qubits)
        for step in self.steps:
            for each in step.operations:
                gate = STANDARD_GATES[each.name].base_class(*each.params)
                circuit.append(gate, each.qubits, copy=False)
        return circuit


def compile_on(
    circuit: QuantumCircuit,
    target: Target,
    *,
    seed: int = 0,
    among: Sequence[int] | None = None,
) -> Compilation:
    """Return the circuit compiled for the device, with what each gate became.

    A layout that needs no SWAPs is taken where a short search finds one (VF2, on the couplings
    with the smallest errors), else Sabre chooses the layout and the SWAPs. The result depends
    on the circuit, the target and the seed alone.

    Parameters
    ----------
    circuit
        Gates on one and two qubits, with or without unbound parameters and without
        measurements. Barriers are ignored: gates are not moved across one another anyway.
    target
        The device. Of its operations those are used that are Qiskit's standard gates with
        free angles.
    seed
        Of Sabre's trials.
    among
        Physical qubits, connected, that alone are used; None for any.

    Raises
    ------
    UserError
        If the circuit holds anything else, does not fit on the device, or cannot be
        written in its gates.

    Examples
    --------
    >>> from qiskit.providers.fake_provider import GenericBackendV2
    >>> device = GenericBackendV2(3, coupling_map=[[0, 1], [1, 2]], seed=1).target
    >>> ring = QuantumCircuit(3)
    >>> for k in range(3):
    ...     _ = ring.cx(k, (k + 1) % 3)
    >>> [(step.gate, step.is_swap) for step in compile_on(ring, device).steps]
    [(0, False), (1, True), (1, False), (2, False)]
    """
    gates = _read(circuit)
    device = DeviceGates.of(target, circuit.num_qubits)
    start, moves = route([gate.qubits for gate in gates], circuit.num_qubits, device, seed, among)
    visits, end = _schedule(gates, start, moves)
    steps = tuple(_step(visit, gates, device) for visit in visits)
    return Compilation(len(gates), steps, start, end, device.qubits)


@dataclass(frozen=True)
class _ModelGate:
    operation: Gate
    qubits: tuple[int, ...]


def _read(circuit: QuantumCircuit) -> list[_ModelGate]:
    index = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    gates: list[_ModelGate] = []
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, (Barrier, GlobalPhaseGate)):
            continue
        if not isinstance(operation, Gate):
            raise UserError(
                f"circuit: instruction '{operation.name}' after gate {len(gates)} is no gate, "
                "expected gates and barriers only; take measurements, resets and control flow out"
            )
        if operation.num_qubits not in (1, 2):
            raise UserError(
                f"circuit: gate {len(gates)} '{operation.name}' acts on {operation.num_qubits} "
                "qubits, expected one or two; call circuit.decompose() first"
            )
        gates.append(_ModelGate(_named(operation), tuple(index[q] for q in instruction.qubits)))
    return gates


def _named(gate: Gate) -> Gate:
    """Return the gate; a standard one, or one of such, for names decide how it is translated."""
    return gate if isinstance(gate, IGate) else plain(gate)


@dataclass(frozen=True)
class _Visit:
    """A gate or a SWAP, where it happens."""

    gate: int
    is_swap: bool
    qubits: tuple[int, ...]


def _schedule(
    gates: Sequence[_ModelGate], start: tuple[int, ...], moves: Sequence[Move]
) -> tuple[list[_Visit], tuple[int, ...]]:
    """Return all gates and the SWAPs that are needed in order, and where qubits end."""
    schedule = _Schedule(gates, start, moves)
    for move in moves:
        if isinstance(move, Swap):
            schedule.swap(*move.qubits)
        else:
            schedule.pair(move)
    for qubit in range(len(start)):
        schedule.singles(qubit, until=None)
    return schedule.visits, tuple(schedule.place)


class _Schedule:
    """Puts the one-qubit gates back between the moves and charges the SWAPs."""

    def __init__(
        self, gates: Sequence[_ModelGate], start: tuple[int, ...], moves: Sequence[Move]
    ) -> None:
        self.visits: list[_Visit] = []
        self.place = list(start)  # virtual -> physical
        self._gates = gates
        self._holder = {physical: virtual for virtual, physical in enumerate(start)}
        self._waiting = [deque[int]() for _ in start]  # all gates to come of a virtual qubit
        self._due = [deque[tuple[int, int]]() for _ in start]  # the pairs of them, (turn, gate)
        for k, gate in enumerate(gates):
            for qubit in gate.qubits:
                self._waiting[qubit].append(k)
        for turn, move in enumerate(moves):
            if not isinstance(move, Swap):
                for qubit in gates[move].qubits:
                    self._due[qubit].append((turn, move))

    def singles(self, qubit: int, until: int | None) -> None:
        """Visit the one-qubit gates that wait before a gate, or all."""
        waiting = self._waiting[qubit]
        while waiting and waiting[0] != until:
            self.visits.append(_Visit(waiting.popleft(), False, (self.place[qubit],)))

    def pair(self, gate: int) -> None:
        """Visit a two-qubit gate, after what its qubits wait for."""
        qubits = self._gates[gate].qubits
        for qubit in qubits:
            self.singles(qubit, until=gate)
            self._waiting[qubit].popleft()
            self._due[qubit].popleft()
        self.visits.append(_Visit(gate, False, tuple(self.place[q] for q in qubits)))

    def swap(self, a: int, b: int) -> None:
        """Visit a SWAP if a two-qubit gate is to come on a virtual qubit that it carries.

        It is charged to the first such gate, so through any further SWAPs on the way. Where
        there is none it is left out: later SWAPs stay on their physical qubits and only find
        the two the other way round, which moves no qubit that a two-qubit gate waits for.
        """
        carried = [(self._holder[p], to) for p, to in ((a, b), (b, a)) if p in self._holder]
        # What a qubit can do before it moves, it does: so inputs are encoded before qubits meet,
        # which exact expectations want.
        for virtual, _ in carried:
            due = self._due[virtual]
            self.singles(virtual, until=due[0][1] if due else None)
        pairs = [self._due[virtual][0] for virtual, _ in carried if self._due[virtual]]
        if not pairs:
            return
        _, gate = min(pairs)
        self.visits.append(_Visit(gate, True, (a, b)))
        for virtual, _ in carried:
            del self._holder[self.place[virtual]]
        for virtual, to in carried:
            self.place[virtual] = to
            self._holder[to] = virtual


def _step(visit: _Visit, gates: Sequence[_ModelGate], device: DeviceGates) -> CompiledGate:
    if visit.is_swap:
        operations = _cheaper_swap(visit.qubits, device)
    else:
        operations = _translated(gates[visit.gate].operation, visit.qubits, device)
    return CompiledGate(visit.gate, visit.is_swap, visit.qubits, operations)


def _cheaper_swap(qubits: tuple[int, ...], device: DeviceGates) -> tuple[BasisGate, ...]:
    """Return a SWAP in that order of its qubits in which it takes fewer basis gates."""
    orders = (qubits, qubits[::-1])
    return min((_translated(SwapGate(), order, device) for order in orders), key=len)


def _translated(gate: Gate, qubits: tuple[int, ...], device: DeviceGates) -> tuple[BasisGate, ...]:
    return tuple(each.on(qubits) for each in translate(gate, device.basis(qubits)))
