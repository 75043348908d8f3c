"""A model circuit on a device, gate by gate, with its provenance.

Qiskit keeps no record through translation of which gate a basis gate came from, so the
circuit is compiled in steps of our own: only its two-qubit gates, labelled, are laid out
and routed; every SWAP that routing put in is charged to the gate it was put in for, the
next two-qubit gate on the qubits it carries; and every gate and every SWAP is translated by
itself. What a gate became is therefore exactly one `CompiledGate`, and no optimisation crosses the
border between two gates. A SWAP that no two-qubit gate needs any more is not executed.

The module knows nothing of noise: see `pilotcut.fleet.device_features`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from qiskit.circuit import Barrier, Gate, Parameter, QuantumCircuit
from qiskit.circuit.library import CZGate, GlobalPhaseGate, IGate, SwapGate, XGate
from qiskit.converters import circuit_to_dag
from qiskit.transpiler import CouplingMap, InstructionProperties, Layout, Target
from qiskit.transpiler.passes import SabreLayout, VF2Layout

from pilotcut.circuits.instructions import plain
from pilotcut.errors import UserError
from pilotcut.fleet.gate_translation import STANDARD_GATES, Basis, BasisGate, translate
from pilotcut.options import check_seed

#: How many steps the search for a layout without SWAPs may take: at most 30 ms on a device
#: of 100 qubits. A limit in seconds would make the layout depend on the machine's load.
_PERFECT_LAYOUT_STEPS = 20_000

#: Trials and rounds of Sabre; Qiskit's own defaults depend on the number of cores.
_SABRE_TRIALS = 4
_SABRE_ROUNDS = 2


@dataclass(frozen=True)
class CompiledGate:
    """What one gate, or one SWAP that routing put in for it, became.

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
    """A model circuit on a device.

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


def compile_on(circuit: QuantumCircuit, target: Target, *, seed: int = 0) -> Compilation:
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
    device = _Device.of(target, circuit.num_qubits)
    start, moves = _route(gates, circuit.num_qubits, device, seed)
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
class _Device:
    """What can be done where.

    Parameters
    ----------
    qubits
        How many there are.
    names
        The usable gates on (q,) or (q, r).
    everywhere
        The usable gates on any one and on any two qubits.
    couplings
        The smallest error of a gate on (q, r), 0 where none is given.
    """

    qubits: int
    names: Mapping[tuple[int, ...], tuple[str, ...]]
    everywhere: Mapping[int, tuple[str, ...]]
    couplings: Mapping[tuple[int, int], float]

    @classmethod
    def of(cls, target: Target, needed: int) -> _Device:
        """Read the target, for a circuit of so many qubits."""
        qubits = needed if target.num_qubits is None else target.num_qubits
        if needed > qubits:
            raise UserError(
                f"circuit: it has {needed} qubits, expected at most {qubits}, the qubits of the "
                "device; choose a larger device or cut the circuit"
            )
        names: dict[tuple[int, ...], tuple[str, ...]] = {}
        everywhere: dict[int, tuple[str, ...]] = {1: (), 2: ()}
        couplings: dict[tuple[int, int], float] = {}
        for name, width in _usable_gates(target):
            for where, properties in target[name].items():
                if where is None:
                    everywhere[width] += (name,)
                    continue
                error = (properties and properties.error) or 0.0
                if width == 2 and error >= 1:  # so calibrations mark what does not work
                    continue
                names[where] = (*names.get(where, ()), name)
                if width == 2:
                    couplings[where] = min(error, couplings.get(where, math.inf))
        return cls(qubits, names, everywhere, couplings)

    def basis(self, qubits: tuple[int, ...]) -> Basis:
        """Return the names of the gates on the one or two qubits."""
        wires = [(q,) for q in qubits]
        pairs = [qubits, qubits[::-1]] if len(qubits) == 2 else []
        return tuple(
            tuple(sorted({*self.names.get(where, ()), *self.everywhere[len(where)]}))
            for where in (*wires, *pairs)
        )


def _usable_gates(target: Target) -> Iterator[tuple[str, int]]:
    """Yield name and width of the target's standard gates whose angles are free."""
    for name in sorted(target.operation_names):
        gate = target.operation_from_name(name)
        if (
            isinstance(gate, Gate)
            and name in STANDARD_GATES
            and gate.base_class is STANDARD_GATES[name].base_class
            and gate.num_qubits in (1, 2)
            and all(isinstance(p, Parameter) for p in gate.params)
            and not _has_angle_bounds(target, name)
        ):
            yield name, gate.num_qubits


def _has_angle_bounds(target: Target, name: str) -> bool:
    asked = getattr(target, "gate_has_angle_bounds", None)  # from Qiskit 2.2
    return asked is not None and asked(name)


@dataclass(frozen=True)
class _Swap:
    """A SWAP that routing put in, on physical qubits."""

    qubits: tuple[int, int]


#: A two-qubit gate of the model by its index, or a SWAP.
_Move = int | _Swap


def _route(
    gates: Sequence[_ModelGate], width: int, device: _Device, seed: int
) -> tuple[tuple[int, ...], list[_Move]]:
    """Return where each virtual qubit starts, and two-qubit gates and SWAPs in order."""
    check_seed(seed, 2**32 - 1)
    pairs = [k for k, gate in enumerate(gates) if len(gate.qubits) == 2]
    if device.everywhere[2] or not pairs:  # then any layout will do
        return tuple(range(width)), list(pairs)
    if not device.couplings:
        raise UserError(
            f"target: it has no working two-qubit gate for the circuit's {len(pairs)}, expected "
            "one of Qiskit's standard gates with free angles and an error below 1; add one"
        )
    skeleton = QuantumCircuit(width)
    for k in pairs:
        skeleton.append(CZGate(label=str(k)), gates[k].qubits, copy=False)
    start = _perfect_layout(skeleton, device)
    return (start, list(pairs)) if start else _sabre(skeleton, device, seed)


def _perfect_layout(skeleton: QuantumCircuit, device: _Device) -> tuple[int, ...] | None:
    couplings = _couplings(range(device.qubits), device)
    search = VF2Layout(target=couplings, seed=-1, call_limit=_PERFECT_LAYOUT_STEPS)
    search.run(circuit_to_dag(skeleton))
    layout = search.property_set["layout"]
    return _places(skeleton, layout) if layout else None


def _couplings(qubits: Sequence[int], device: _Device) -> Target:
    """Return those qubits as a target with a CZ on every coupling, for layout and routing."""
    place = {physical: k for k, physical in enumerate(qubits)}
    couplings = Target(num_qubits=len(qubits))
    errors = {
        (place[a], place[b]): InstructionProperties(error=error)
        for (a, b), error in device.couplings.items()
        if a in place and b in place
    }
    couplings.add_instruction(CZGate(), errors)
    # Sabre of Qiskit 2.6 counts the qubits by the places that have gates, and panics on a
    # line if no qubit has a gate of its own.
    couplings.add_instruction(XGate(), {(k,): None for k in range(len(qubits))})
    return couplings


def _sabre(
    skeleton: QuantumCircuit, device: _Device, seed: int
) -> tuple[tuple[int, ...], list[_Move]]:
    part = _connected_part(device, skeleton.num_qubits)
    router = SabreLayout(
        _couplings(part, device),
        seed=seed,
        max_iterations=_SABRE_ROUNDS,
        swap_trials=_SABRE_TRIALS,
        layout_trials=_SABRE_TRIALS,
    )
    routed = router.run(circuit_to_dag(skeleton))
    # In the order in which Sabre wrote them, where a SWAP stands before what it was for.
    nodes = routed.topological_op_nodes(key=lambda node: f"{node._node_id:012}")
    place = dict(zip(routed.qubits, part, strict=True))
    moves: list[_Move] = []
    for node in nodes:
        if node.label is None:
            a, b = node.qargs
            moves.append(_Swap((place[a], place[b])))
        else:
            moves.append(int(node.label))
    start = _places(skeleton, router.property_set["layout"])
    return tuple(part[k] for k in start), moves


def _connected_part(device: _Device, needed: int) -> list[int]:
    """Return the device's largest connected part: Sabre of Qiskit 2.6 can panic on several."""
    parts = CouplingMap(list(device.couplings)).connected_components()
    largest = max((sorted(part.graph.nodes()) for part in parts), key=len)
    if len(largest) < needed:
        raise UserError(
            f"target: its couplings connect at most {len(largest)} qubits, expected {needed}, the "
            "circuit's; choose a device with a larger connected part"
        )
    return largest


def _places(circuit: QuantumCircuit, layout: Layout) -> tuple[int, ...]:
    return tuple(layout[qubit] for qubit in circuit.qubits)


@dataclass(frozen=True)
class _Visit:
    """A gate or a SWAP, where it happens."""

    gate: int
    is_swap: bool
    qubits: tuple[int, ...]


def _schedule(
    gates: Sequence[_ModelGate], start: tuple[int, ...], moves: Sequence[_Move]
) -> tuple[list[_Visit], tuple[int, ...]]:
    """Return all gates and the SWAPs that are needed in order, and where qubits end."""
    schedule = _Schedule(gates, start, moves)
    for move in moves:
        if isinstance(move, _Swap):
            schedule.swap(*move.qubits)
        else:
            schedule.pair(move)
    for qubit in range(len(start)):
        schedule.singles(qubit, until=None)
    return schedule.visits, tuple(schedule.place)


class _Schedule:
    """Puts the one-qubit gates back between the moves and charges the SWAPs."""

    def __init__(
        self, gates: Sequence[_ModelGate], start: tuple[int, ...], moves: Sequence[_Move]
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
            if not isinstance(move, _Swap):
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
        for virtual, _ in carried:  # what a qubit can do before it moves, it does
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


def _step(visit: _Visit, gates: Sequence[_ModelGate], device: _Device) -> CompiledGate:
    if visit.is_swap:
        operations = _cheaper_swap(visit.qubits, device)
    else:
        operations = _translated(gates[visit.gate].operation, visit.qubits, device)
    return CompiledGate(visit.gate, visit.is_swap, visit.qubits, operations)


def _cheaper_swap(qubits: tuple[int, ...], device: _Device) -> tuple[BasisGate, ...]:
    """Return a SWAP in that order of its qubits in which it takes fewer basis gates."""
    orders = (qubits, qubits[::-1])
    return min((_translated(SwapGate(), order, device) for order in orders), key=len)


def _translated(gate: Gate, qubits: tuple[int, ...], device: _Device) -> tuple[BasisGate, ...]:
    return tuple(each.on(qubits) for each in translate(gate, device.basis(qubits)))
