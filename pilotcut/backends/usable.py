"""The part of a target that works: what its errors say does not is left out; what is connected.

Calibrations mark what does not work by an error of 1. Knows no circuit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import rustworkx
from qiskit.circuit import Gate
from qiskit.providers import QubitProperties
from qiskit.transpiler import Target

#: An error of this and above is no error but a gate, or a readout, that does not work.
BROKEN = 0.99


def working(target: Target) -> Target:
    """Return the target without what does not work; itself if everything does.

    A qubit with a gate of its own, or a readout, that does not work is left out with all it has:
    numbers of the others stay.

    Raises
    ------
    LookupError
        If it has gates on two qubits, and none works.
    """
    broken = {(name, where) for name, where, error in _errors(target) if error >= BROKEN}
    if not broken:
        return target
    dead = {where[0] for name, where in broken if len(where) == 1 and _counts(target, name)}
    qubits = [q for q in range(target.num_qubits) if q not in dead]
    found = _restricted(target, {q: q for q in qubits}, target.num_qubits, broken)
    pairs = sum(len(where) == 2 for _, where, _ in _errors(target))
    if not qubits or (pairs and not any(len(where) == 2 for _, where, _ in _errors(found))):
        raise LookupError(
            f"one with a gate on two qubits that works: of its {pairs} none does, by their errors "
            "and those of their qubits; choose another device, or wait for its next calibration"
        )
    return found


def connected(target: Target, gate: str | None = None) -> list[tuple[int, ...]]:
    """Return the working qubits in connected parts, the largest first.

    Parameters
    ----------
    target
        Of which everything works.
    gate
        Connected by this gate alone; None for any.
    """
    names = [gate] if gate else target.operation_names
    places = [where for name in names for where in target[name] or ()]
    # What is on no place in particular is on all.
    if any(where is None and _width(target, name) == 2 for name in names for where in target[name]):
        return [tuple(range(target.num_qubits))]
    graph: rustworkx.PyGraph[int, None] = rustworkx.PyGraph()
    graph.add_nodes_from(range(target.num_qubits))
    graph.add_edges_from_no_data([where for where in places if where and len(where) == 2])
    alive = {q for name in target.operation_names for where in target[name] for q in where or ()}
    parts = [tuple(sorted(part)) for part in rustworkx.connected_components(graph)]
    some = [part for part in parts if not alive or alive >= {*part}]
    return sorted(some, key=lambda part: (-len(part), part))


def part_of(target: Target, qubits: tuple[int, ...], without: Collection[str] = ()) -> Target:
    """Return the target of some qubits, numbered anew in their order, without some gates.

    Gates that take some angles only are left out: angles are not known when circuits are made.
    """
    gone = {name for name in target.operation_names if has_angle_bounds(target, name)}
    gone |= {*without}
    if not gone and qubits == tuple(range(target.num_qubits)):
        return target
    place = {q: k for k, q in enumerate(qubits)}
    broken = {(name, where) for name in gone for where in target[name]}
    return _restricted(target, place, len(qubits), broken)


def couplers(target: Target) -> dict[str, frozenset[frozenset[int]]]:
    """Return the gates on two qubits that are on places in particular, and the pairs they join."""
    found: dict[str, set[frozenset[int]]] = {}
    for name, where, _ in _errors(target):
        if len(where) == 2:
            found.setdefault(name, set()).add(frozenset(where))
    return {name: frozenset(found[name]) for name in sorted(found)}


def is_noise_free(target: Target) -> bool:
    """Return whether a target gives no error of anything, and no T1 and T2."""
    times = target.qubit_properties or ()
    return not any(error for _, _, error in _errors(target)) and not any(
        getattr(one, "t1", None) or getattr(one, "t2", None) for one in times
    )


def has_angle_bounds(target: Target, name: str) -> bool:
    """Return whether a gate takes some angles only."""
    asked = getattr(target, "gate_has_angle_bounds", None)  # from Qiskit 2.2
    return asked is not None and bool(asked(name))


def _errors(target: Target) -> Iterator[tuple[str, tuple[int, ...], float]]:
    for name in target.operation_names:
        for where, about in target[name].items():
            if where is not None:
                yield name, where, getattr(about, "error", None) or 0.0


def _counts(target: Target, name: str) -> bool:
    """Return whether a qubit is of no use without that operation."""
    return name == "measure" or isinstance(target.operation_from_name(name), Gate)


def _width(target: Target, name: str) -> int:
    return getattr(target.operation_from_name(name), "num_qubits", 0)


def _restricted(
    target: Target, place: dict[int, int], num_qubits: int, broken: Collection[Any]
) -> Target:
    """Return the target on qubits with new numbers, without (name, qubits) that are broken.

    Gates that take some angles only are left out: which ones, Qiskit does not tell, and without
    their bounds they would be taken for any.
    """
    about: list[QubitProperties] | None = None
    if target.qubit_properties is not None:
        about = [QubitProperties()] * num_qubits
        for old, new in place.items():
            about[new] = target.qubit_properties[old] or about[new]
    found = Target(num_qubits=num_qubits, qubit_properties=about, dt=target.dt)
    for name in target.operation_names:
        operation, places = target.operation_from_name(name), target[name]
        if has_angle_bounds(target, name):
            continue
        if None in places:
            if (name, None) not in broken:
                found.add_instruction(operation, name=name)
            continue
        kept = {
            tuple(place[q] for q in where): properties
            for where, properties in places.items()
            if (name, where) not in broken and place.keys() >= {*where}
        }
        if kept:
            found.add_instruction(operation, kept, name=name)
    return found
