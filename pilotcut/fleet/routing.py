"""Layout and routing of a model's two-qubit gates on a device.

Only the two-qubit gates are looked at: they are laid out where no SWAP is needed if a short search
finds such a place (VF2), else Sabre chooses the layout and the SWAPs. Which SWAPs are executed
after all, and for which gate, is `pilotcut.fleet.transpile`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import CZGate, XGate
from qiskit.converters import circuit_to_dag
from qiskit.transpiler import CouplingMap, InstructionProperties, Layout, Target
from qiskit.transpiler.passes import SabreLayout, VF2Layout

from pilotcut.errors import UserError
from pilotcut.fleet.device_gates import DeviceGates
from pilotcut.options import (
    check_seed,
    counted,
)

#: How many steps the search for a layout without SWAPs may take: at most 30 ms on a device
#: of 100 qubits. A limit in seconds would make the layout depend on the machine's load.
_PERFECT_LAYOUT_STEPS = 20_000

#: Trials and rounds of Sabre; Qiskit's own defaults depend on the number of cores.
_SABRE_TRIALS = 4
_SABRE_ROUNDS = 2


@dataclass(frozen=True)
class Swap:
    """A SWAP that routing put in, on physical qubits."""

    qubits: tuple[int, int]


#: A two-qubit gate of the model by its index, or a SWAP.
Move = int | Swap


def route(
    gates: Sequence[tuple[int, ...]],
    width: int,
    device: DeviceGates,
    seed: int,
    among: Sequence[int] | None = None,
) -> tuple[tuple[int, ...], list[Move]]:
    """Return where each virtual qubit starts, and two-qubit gates and SWAPs in order.

    Parameters
    ----------
    gates
        The virtual qubits of each gate of the model.
    width
        Number of virtual qubits.
    device
        Its couplings.
    seed
        Of Sabre's trials.
    among
        Physical qubits, connected, that alone are used; None for any.
    """
    check_seed(seed, 2**32 - 1)
    pairs = [k for k, gate in enumerate(gates) if len(gate) == 2]
    if device.everywhere[2] or not pairs:  # then any layout will do
        return tuple(range(width)), list(pairs)
    if not device.couplings:
        raise UserError(
            f"target: it has no working two-qubit gate for the circuit's {len(pairs)}, expected "
            "one of Qiskit's standard gates with free angles and an error below 1; add one"
        )
    skeleton = QuantumCircuit(width)
    for k in pairs:
        # Labels come through routing, and say which gate of the model is which.
        skeleton.append(CZGate(label=str(k)), gates[k], copy=False)
    start = _perfect_layout(skeleton, device, among or range(device.qubits))
    if start:
        return start, list(pairs)
    return _sabre(skeleton, device, seed, among or _connected_part(device, skeleton.num_qubits))


def _perfect_layout(
    skeleton: QuantumCircuit, device: DeviceGates, part: Sequence[int]
) -> tuple[int, ...] | None:
    couplings = _couplings(part, device)
    # A seed of -1 leaves the device's qubits in their order: equal devices get equal layouts.
    search = VF2Layout(target=couplings, seed=-1, call_limit=_PERFECT_LAYOUT_STEPS)
    search.run(circuit_to_dag(skeleton))
    layout = search.property_set["layout"]
    return tuple(part[k] for k in _places(skeleton, layout)) if layout else None


def _couplings(qubits: Sequence[int], device: DeviceGates) -> Target:
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
    skeleton: QuantumCircuit, device: DeviceGates, seed: int, part: Sequence[int]
) -> tuple[tuple[int, ...], list[Move]]:
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
    moves: list[Move] = []
    for node in nodes:
        if node.label is None:
            a, b = node.qargs
            moves.append(Swap((place[a], place[b])))
        else:
            moves.append(int(node.label))
    start = _places(skeleton, router.property_set["layout"])
    return tuple(part[k] for k in start), moves


def _connected_part(device: DeviceGates, needed: int) -> list[int]:
    """Return the device's largest connected part: Sabre of Qiskit 2.6 can panic on several."""
    parts = CouplingMap(list(device.couplings)).connected_components()
    largest = max((sorted(part.graph.nodes()) for part in parts), key=len)
    if len(largest) < needed:
        raise UserError(
            f"target: its couplings connect at most {counted(len(largest), 'qubit')}, expected "
            f"{needed}, the "
            "circuit's; choose a device with a larger connected part"
        )
    return largest


def _places(circuit: QuantumCircuit, layout: Layout) -> tuple[int, ...]:
    return tuple(layout[qubit] for qubit in circuit.qubits)
