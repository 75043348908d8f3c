"""Circuits of a fragment: one a template, every bit measured at the end.

A mid-circuit measurement makes Aer simulate shot by shot (20 to 160 times slower), so
the signed measurement of a cut is deferred: a CX copies the bit to an ancilla that is
measured at the end with all the others. Where nothing follows on the wire, the wire
itself is measured at the end and no ancilla is needed. A device measures where the sign is
read instead; only the parity of a joint cut needs an ancilla there.

What the circuit itself measures in mid-circuit, and what that controls, is deferred too where that
takes few ancillas; else it stays, and Aer simulates shot by shot.

Wires are put on qubits in one of the ways of `Seating`: one each, or so that a wire takes a
qubit that an earlier one has left, which is reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from qiskit.circuit import Clbit, Instruction, Parameter, QuantumCircuit
from qiskit.circuit.classical import expr
from qiskit.circuit.library import CXGate, UGate
from qiskit.quantum_info import PauliList

from pilotcut.backends.aer_parameters import aer_binds
from pilotcut.backends.seating import Seating, measured_in_place
from pilotcut.circuits.conditions import BitCondition
from pilotcut.circuits.program import Angle, Step
from pilotcut.cutting.fragment import Fragment, Site, Template, wires_of


@dataclass(frozen=True)
class TemplateCircuit:
    """A template as a circuit.

    Parameters
    ----------
    circuit
        All its bits are measured at the end, or those of signs where they are read.
    angles
        Its parameters for the fragment's angles, by column.
    choices
        Its parameters for the sites' operations: parameter -> (site, value by operation).
    masks
        For each sub-observable of the group, the bits whose parity is its sign.
    outputs
        How many bits are final ones of observed wires, in the order of the wires.
    signs
        How many bits behind them have the sign of a cut's measurements as their parity. Behind
        these are the values that the circuit itself measures, and then `found`.
    mixed
        Whether it is best simulated in a density matrix, as a statevector would be shot by shot.
    found
        How many bits, the last, are the outcome of wires that are cut together: its number.
    side_by_side
        Copies of the circuit in one, by their number, with the parameters of each copy; kept by
        `pilotcut.backends.packing` as they are needed.
    """

    circuit: QuantumCircuit
    angles: Mapping[Parameter, int]
    choices: Mapping[Parameter, tuple[int, np.ndarray]]
    masks: tuple[int, ...]
    outputs: int
    signs: int
    mixed: bool = False
    found: int = 0
    side_by_side: dict[int, tuple[QuantumCircuit, list[list[Parameter]]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def parameters(self) -> list[Parameter]:
        """The circuit's parameters in the order of `values`."""
        return [*self.angles, *self.choices]

    def values(self, angles: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Return parameter values (runs, parameters).

        Parameters
        ----------
        angles
            (runs, angles) of the fragment.
        choices
            (runs, sites): the operation at each site.
        """
        columns = [angles[:, k] for k in self.angles.values()]
        columns += [table[choices[:, site]] for site, table in self.choices.values()]
        return np.stack(columns, axis=1) if columns else np.zeros((len(angles), 0))


def build(
    fragment: Fragment, template: Template, seating: Seating | None = None
) -> TemplateCircuit:
    """Return the circuit of a template's group and pattern of measurements.

    It takes any choice of operations with that pattern, not only the template's own. Without a
    seating every wire has its qubit, and all bits are measured at the end.
    """
    draft = _Draft(fragment, template, seating or Seating.apart(fragment, template))
    return TemplateCircuit(
        draft.circuit,
        draft.angles,
        draft.choices,
        draft.masks,
        draft.outputs,
        draft.signs,
        draft.seating.mixed,
        len(draft.found),
    )


class _Draft:
    """One template while it is built: gates, sites with their measurements, final measurements."""

    def __init__(self, fragment: Fragment, template: Template, seating: Seating) -> None:
        self._fragment = fragment
        self._template = template
        self.seating = seating
        members = fragment.observables[list(fragment.groups[template.group])]
        self._support = members.x.any(axis=0) | members.z.any(axis=0)
        self.outputs = int(self._support.sum())
        self.angles: dict[Parameter, int] = {}
        self.choices: dict[Parameter, tuple[int, np.ndarray]] = {}
        self._columns = [Parameter(f"a{k}") for k in range(len(fragment.angles))]
        self._begun: set[int] = set()  # wires that are on their qubits
        self._read = 0  # signs that have a bit so far
        self._sign_qubits: dict[int, int] = {}  # by bit, of those measured at the end
        self._in_place = measured_in_place(fragment, self._support)
        # The outcome's number has the last site's bits lowest, as `Fragment.outcome_variants`.
        ends = [site.wires for site in reversed(fragment.sites) if site.outcomes > 1]
        self.found = [wire for wires in ends for wire in wires]
        signed = zip(template.measured, fragment.sites, strict=True)
        self.signs = sum(bool(m) and not site.states for m, site in signed)
        # Behind the observables' bits and those of signs come the circuit's own, and what is found.
        self._behind = self.outputs + self.signs + fragment.num_values
        self.circuit = QuantumCircuit(seating.qubits, self._behind + len(self.found))
        self._ancillas = 0
        for step in fragment.steps:
            self._seat(wires_of(step))
            if isinstance(step, Site):
                self._site(step)
            else:
                self._gate(step)
        self.masks = self._measure(members)

    def _seat(self, wires: Sequence[int]) -> None:
        """Clear the qubits of wires that begin here of what was on them."""
        for wire in wires:
            if wire not in self._begun and self.seating.reused[wire]:
                self.circuit.reset(self._at(wire))
            self._begun.add(wire)

    def _at(self, wire: int) -> int:
        return int(self.seating.qubit[wire])

    def _gate(self, step: Step) -> None:
        gate = step.gate_with([self._param(p) for p in step.params])
        qubits = [self._at(wire) for wire in step.qubits]
        if self.seating.value_qubits is not None and step.is_classical:
            self._defer(step, gate, qubits, self.seating.value_qubits)
            return
        with self._under(step.condition):
            if step.writes is None:
                self._append(gate, qubits)
            else:
                self.circuit.measure(qubits, [self._value(step.writes)])

    def _defer(
        self, step: Step, gate: Instruction, qubits: Sequence[int], held: Sequence[int]
    ) -> None:
        """Append a measurement as a copy, and what a condition holds for as controlled gates."""
        if step.writes is not None:
            copy = held[step.writes]
            if copy in qubits:
                return
            gate, qubits = CXGate(), [*qubits, copy]
        if step.condition is None:
            self._append(gate, qubits)
            return
        controls = [held[value] for value in step.condition.values]
        for row in step.condition.accepted:
            state = sum(holds << k for k, holds in enumerate(row))
            one = gate.control(len(row), ctrl_state=state, annotated=False)
            self._append(one, [*controls, *qubits])

    def _value(self, number: int) -> Clbit:
        return self.circuit.clbits[self.outputs + self.signs + number]

    def _under(self, condition: BitCondition | None) -> AbstractContextManager[object]:
        """Return the context in which what is appended stands under a condition."""
        if condition is None:
            return nullcontext()
        if len(condition.values) == 1:  # every simulator and device knows a bit and its number
            return self.circuit.if_test((self._value(condition.values[0]), condition.table[1]))
        rows = [
            reduce(
                expr.logic_and,
                [
                    expr.lift(bit) if holds else expr.logic_not(bit)
                    for bit, holds in zip(map(self._value, condition.values), row, strict=True)
                ],
            )
            for row in condition.accepted
        ]
        return self.circuit.if_test(reduce(expr.logic_or, rows))

    def _append(self, gate: Instruction, qubits: Sequence[int]) -> None:
        # Opened until Aer binds all angles: what it does not bind, it runs at angle zero.
        if aer_binds(gate):
            self.circuit.append(gate, qubits)
            return
        for inner in gate.definition.data:
            where = [gate.definition.find_bit(q).index for q in inner.qubits]
            self._append(inner.operation, [qubits[k] for k in where])

    def _param(self, param: object) -> object:
        if not isinstance(param, Angle):
            return param
        parameter = self._columns[param.slot]
        self.angles[parameter] = param.slot
        return parameter

    def _site(self, site: Site) -> None:
        measured, in_place = self._template.measured[site.axis], self._in_place[site.axis]
        possible = [op.measured == measured for op in site.operations]
        if site.states:
            self._basis(site, possible)
            return
        if site.joint_operations:
            self._joint_site(site, possible)
            return
        before, after = zip(*((op.before, op.after) for op in site.local_operations), strict=True)
        self._local(site, site.wire, before, possible, "b")
        if measured:
            self._sign([site.wire], in_place=in_place)
            if not in_place:
                self._local(site, site.wire, after, possible, "a")

    def _basis(self, site: Site, possible: Sequence[bool]) -> None:
        """Append what prepares the states of a basis, or its inverse where the wires end.

        States with the same entangling gates share a circuit, and differ by U gates.
        """
        at = next(op for op, is_one in zip(site.states, possible, strict=True) if is_one)
        entangled = [(self._at(site.wires[a]), self._at(site.wires[b])) for a, b in at.entangled]
        ends = site.kind == "end"
        if ends:
            for pair in entangled:
                self.circuit.cz(*pair)
        for place, wire in enumerate(site.wires):
            turns = [op.rotations[place] for op in site.states]
            if ends:  # of the state of number 0 in each basis: the others are its other outcomes
                turns = [op.rotations[place] for op in site.states if not op.state]
                turns = [_inverse(t) for t in turns for _ in range(site.outcomes)]
            self._local(site, wire, turns, possible, f"w{place}")
        if not ends:
            for pair in entangled:
                self.circuit.cz(*pair)
            for place, wire in enumerate(site.wires):
                last = [op.after[place] if op.after else (0.0, 0.0, 0.0) for op in site.states]
                self._local(site, wire, last, possible, f"v{place}")
            return
        for wire in site.wires:
            # Its qubit is another wire's afterwards, so it is read here.
            if self.seating.handed_on[wire]:
                bit = self._behind + self.found.index(wire)
                self.circuit.measure([self._at(wire)], [bit])

    def _joint_site(self, site: Site, possible: Sequence[bool]) -> None:
        """Append the rotations of a joint cut, and the parity that its template measures."""
        measured = self._template.measured[site.axis]
        table = np.array([op.rotations for op in site.joint_operations])
        used = table[np.array(possible)]
        for subset in range(1, 1 << len(site.wires)):
            wires = [w for k, w in enumerate(site.wires) if subset >> k & 1]
            column = used[:, subset - 1]
            if np.ptp(column) > 0:
                parameter = Parameter(f"s{site.axis}r{subset}")
                self.choices[parameter] = (site.axis, table[:, subset - 1])
                self._rotate(parameter, wires)
            elif column[0]:
                self._rotate(column[0], wires)
        if measured:
            read = [w for k, w in enumerate(site.wires) if measured >> k & 1]
            self._sign(read, in_place=False, joint=True)

    def _rotate(self, angle: Parameter | float, wires: Sequence[int]) -> None:
        """Append ``exp(-i angle/2 Z...Z)``: the parity of the wires, rotated, between CX."""
        first, *others = map(self._at, wires)
        for qubit in others:
            self.circuit.cx(qubit, first)
        self.circuit.rz(angle, first)
        for qubit in reversed(others):
            self.circuit.cx(qubit, first)

    def _local(
        self,
        site: Site,
        wire: int,
        angles: Sequence[tuple[float, float, float]],
        possible: Sequence[bool],
        name: str,
    ) -> None:
        """Append ``U``: with numbers where all possible operations agree, else parameters."""
        table, qubit = np.array(angles), self._at(wire)
        used = table[np.array(possible)]
        if np.ptp(used, axis=0).max() > 0:
            parameters = [Parameter(f"s{site.axis}{name}{k}") for k in range(3)]
            tables = ((site.axis, column) for column in table.T)
            self.choices.update(zip(parameters, tables, strict=True))
            self.circuit.append(UGate(*parameters), [qubit])
        elif used[0].any():
            self.circuit.append(UGate(*used[0]), [qubit])

    def _sign(self, wires: Sequence[int], *, in_place: bool, joint: bool = False) -> None:
        """Measure the parity of the wires' bits, here or at the end."""
        bit = self.outputs + self._read
        self._read += 1
        here = [self._at(wire) for wire in wires]
        if in_place and not self.seating.handed_on[wires[0]]:
            (self._sign_qubits[bit],) = here
        elif self.seating.mid_circuit and not joint:
            self.circuit.measure(here, [bit])
        else:
            ancilla = self.seating.wire_qubits + self._ancillas
            self._ancillas += 1
            for qubit in here:
                self.circuit.cx(qubit, ancilla)
            self._sign_qubits[bit] = ancilla

    def _measure(self, members: PauliList) -> tuple[int, ...]:
        """Measure the group's Paulis and the signs; return each member's parity mask."""
        observed = [int(wire) for wire in np.flatnonzero(self._support)]
        self._seat(observed)
        x, z = members.x.any(axis=0), members.z.any(axis=0)
        # H turns X into Z, and S^dagger before it Y.
        for wire in observed:
            if x[wire]:
                if z[wire]:
                    self.circuit.sdg(self._at(wire))
                self.circuit.h(self._at(wire))
        found = [k for k, wire in enumerate(self.found) if not self.seating.handed_on[wire]]
        last = [self._at(wire) for wire in [*observed, *(self.found[k] for k in found)]]
        bits = [*range(self.outputs), *(self._behind + k for k in found)]
        self.circuit.measure([*last, *self._sign_qubits.values()], [*bits, *self._sign_qubits])
        # An outcome's sign is the parity of the observable's bits and of all that cuts measured.
        signs = ((1 << self.signs) - 1) << self.outputs
        letters = members.x | members.z
        return tuple(
            signs | sum(1 << k for k, wire in enumerate(observed) if row[wire]) for row in letters
        )


def _inverse(angles: tuple[float, float, float]) -> tuple[float, float, float]:
    theta, phi, lam = angles
    return -theta, -lam, -phi
