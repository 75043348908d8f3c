"""Building fragments and bonds: one walk over the program, split at the cuts.

A gate between two labels, a `Move` between two labels and a `CutWire` are cuts; all
else goes to the fragment whose wires it acts on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Instruction
from qiskit.circuit.library import (
    HGate,
    PhaseGate,
    RXGate,
    RYGate,
    RZGate,
    SdgGate,
    SGate,
    SXdgGate,
    SXGate,
    UGate,
)
from qiskit.quantum_info import PauliList
from qiskit.synthesis import TwoQubitWeylDecomposition
from qiskit_addon_cutting.instructions import Move

from pilotcut.cutting.basis import CutBasis, basis_of_gate, basis_of_rzz, u_angles
from pilotcut.cutting.fragment import Bond, Fragment, Placed, Site, SiteStep
from pilotcut.cutting.joint import joint_basis, parallel_groups
from pilotcut.cutting.program import Angle, Param, Program, Step
from pilotcut.errors import CutError


@dataclass
class Cut:
    """A cut on its way into the plan: the wires of its two sides and what joins them."""

    gate: str
    wires: tuple[tuple[int, ...], tuple[int, ...]]
    basis: CutBasis
    angles: tuple[Angle, ...] = ()


class Builder:
    """Walks the program once, splits it at the cuts, and deals the pieces to fragments.

    A qubit's history is one or several wires: a wire ends where a wire cut measures it
    (or a reset discards it), and the qubit goes on with a fresh one.
    """

    def __init__(
        self,
        program: Program,
        terms: PauliList,
        labels: tuple[str, ...] | None,
        joint_cuts: bool = False,
    ) -> None:
        self._terms = terms
        self._labels = labels
        self._qubit_of_wire: list[int] = []
        self._parent: list[int] = []
        self._wire_of_qubit = [self._new_wire(q) for q in range(program.num_qubits)]
        self._stale: set[int] = set()  # qubits whose wire ended and that were not used since
        self._cuts: list[Cut] = []
        # (wires, step) or (wires, (cut index, side)) in order
        self._placed: list[tuple[tuple[int, ...], Step | tuple[int, int]]] = []
        # (name, qubits, wires, cut index) of the circuit's own gates and cuts, in order
        self._layout: list[tuple[str, tuple[int, ...], tuple[int, ...], int | None]] = []
        for steps in self._in_order(program, joint_cuts):
            if len(steps) > 1:
                self._cut_jointly(steps)
            else:
                self._place(steps[0])
        self._close(program)

    # -- wires ---------------------------------------------------------------------

    def _new_wire(self, qubit: int) -> int:
        self._qubit_of_wire.append(qubit)
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def _wire(self, qubit: int) -> int:
        if qubit in self._stale:
            self._stale.remove(qubit)
            self._wire_of_qubit[qubit] = self._new_wire(qubit)
        return self._wire_of_qubit[qubit]

    def _root(self, wire: int) -> int:
        while self._parent[wire] != wire:
            wire = self._parent[wire]
        return wire

    def _join(self, wires: Iterable[int]) -> None:
        roots = sorted({self._root(wire) for wire in wires})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    # -- the walk ------------------------------------------------------------------

    def _place(self, step: Step) -> None:
        if step.name == "reset":
            self._note(step)
            self._stale.add(step.qubits[0])
        elif step.name == "cut_wire":
            self._cut_wire(step.qubits[0], step.qubits[0], "cut_wire")
        elif step.name == "move":
            self._move(*step.qubits)
        elif self._crosses(step.qubits):
            self._cut_gate(step)
        else:
            wires = tuple(self._wire(q) for q in step.qubits)
            self._join(wires)
            self._placed.append((wires, step))
            self._note(step)

    def _in_order(self, program: Program, joint_cuts: bool) -> list[tuple[Step, ...]]:
        """Return the steps one by one, or in groups where gates are cut jointly."""
        if not joint_cuts or self._labels is None:
            return [(step,) for step in program.steps]
        crossing = [
            number
            for number, step in enumerate(program.steps)
            if self._crosses(step.qubits) and _is_rotation(step)
        ]
        qubits = [program.steps[number].qubits for number in crossing]
        pairs = [frozenset(self._labels[q] for q in some) for some in qubits]
        return parallel_groups(program, crossing, pairs)

    def _crosses(self, qubits: tuple[int, ...]) -> bool:
        return self._labels is not None and len({self._labels[q] for q in qubits}) > 1

    def _move(self, source: int, destination: int) -> None:
        if self._crosses((source, destination)):
            self._cut_wire(source, destination, "move")
        else:
            wire = self._wire_of_qubit[destination] = self._wire(source)
            self._layout.append(("move", (source, destination), (wire, wire), None))
            self._stale.discard(destination)
            self._stale.add(source)

    def _cut_wire(self, source: int, destination: int, name: str) -> None:
        old = self._wire(source)
        self._stale.add(source)
        new = self._wire_of_qubit[destination] = self._new_wire(destination)
        self._stale.discard(destination)
        self._layout.append((name, (source, destination), (old, new), len(self._cuts)))
        self._add_cut(Cut(name, ((old,), (new,)), basis_of_gate(Move())))

    def _cut_gate(self, step: Step) -> None:
        wires = tuple(self._wire(q) for q in step.qubits)
        sides = ((wires[0],), (wires[1],))
        self._note(step, len(self._cuts))
        if not any(isinstance(p, Angle) for p in step.params):
            self._add_cut(Cut(step.name, sides, basis_of_gate(step.gate_with(step.params))))
            return
        rotation = _free_rotation(step)
        self._place_locals(rotation.before, wires)
        self._add_cut(Cut(step.name, sides, basis_of_rzz(), (rotation.free_angle,)))
        self._place_locals(rotation.after, wires)

    def _cut_jointly(self, steps: Sequence[Step]) -> None:
        """Cut parallel gates between two labels as one; side 0 is that of the first qubit."""
        assert self._labels is not None
        first = self._labels[steps[0].qubits[0]]
        rotations = [_rotation(step) for step in steps]
        wires = [tuple(self._wire(q) for q in step.qubits) for step in steps]
        sides: tuple[list[int], list[int]] = ([], [])
        for step, pair in zip(steps, wires, strict=True):
            turned = self._labels[step.qubits[0]] != first
            sides[0].append(pair[turned])
            sides[1].append(pair[not turned])
            self._note(step, len(self._cuts))
        for rotation, pair in zip(rotations, wires, strict=True):
            self._place_locals(rotation.before, pair)
        fixed = [None if isinstance(r.angle, Angle) else r.angle for r in rotations]
        free = tuple(r.angle for r in rotations if isinstance(r.angle, Angle))
        name = "+".join(step.name for step in steps)
        self._add_cut(Cut(name, (tuple(sides[0]), tuple(sides[1])), joint_basis(fixed), free))
        for rotation, pair in zip(rotations, wires, strict=True):
            self._place_locals(rotation.after, pair)

    def _place_locals(self, steps: _Locals, wires: Sequence[int]) -> None:
        self._placed.extend(((wires[side],), step) for side, step in steps)

    def _note(self, step: Step, cut: int | None = None) -> None:
        """Keep where a step of the program stands, for `layout`."""
        wires = tuple(self._wire_of_qubit[q] for q in step.qubits)
        self._layout.append((step.name, step.qubits, wires, cut))

    def _add_cut(self, cut: Cut) -> None:
        for side, wires in enumerate(cut.wires):
            self._join(wires)
            self._placed.append((wires, (len(self._cuts), side)))
        self._cuts.append(cut)

    def _close(self, program: Program) -> None:
        """Give every observed qubit its last wire, and every wire its fragment."""
        observed = (self._terms.x | self._terms.z).any(axis=0)
        for qubit in range(program.num_qubits):
            if observed[qubit]:
                self._wire(qubit)
        keys: dict[object, int] = {}
        self._fragment_of_wire = []
        for wire, qubit in enumerate(self._qubit_of_wire):
            key = self._labels[qubit] if self._labels else self._component(wire)
            self._fragment_of_wire.append(keys.setdefault(key, len(keys)))
        self._names = [key if self._labels else _letter(k) for k, key in enumerate(keys)]

    def _component(self, wire: int) -> int:
        return self._root(wire) if self._cuts else 0

    # -- the results ---------------------------------------------------------------

    def qubit_labels(self) -> tuple[str, ...]:
        """Return the label of each qubit's last wire."""
        return tuple(str(self._names[self._fragment_of_wire[w]]) for w in self._wire_of_qubit)

    def layout(self) -> tuple[Placed, ...]:
        """Return where the circuit's gates and cuts stand, in an order that every qubit keeps."""
        of = self._fragment_of_wire
        return tuple(
            Placed(name, qubits, tuple(of[w] for w in wires), cut)
            for name, qubits, wires, cut in self._layout
        )

    def fragments(self) -> tuple[tuple[Fragment, ...], np.ndarray]:
        """Return the fragments, and which sub-observable of each stands in each term."""
        built = [self._fragment(index) for index in range(len(self._names))]
        return tuple(f for f, _ in built), np.stack([column for _, column in built], axis=1)

    def _fragment(self, index: int) -> tuple[Fragment, np.ndarray]:
        wires = [w for w, f in enumerate(self._fragment_of_wire) if f == index]
        local = {wire: k for k, wire in enumerate(wires)}
        steps: list[Step | SiteStep] = []
        sites: list[Site] = []
        angles: list[Angle] = []
        for where, what in self._placed:
            if where[0] not in local:
                continue
            if isinstance(what, Step):
                params = tuple(_localised(p, angles) for p in what.params)
                steps.append(Step(what.gate, tuple(local[w] for w in where), params))
            else:
                steps.append(SiteStep(len(sites)))
                sites.append(self._site(what, tuple(local[w] for w in where)))
        observables, column = self._sub_observables(wires)
        groups = _commuting_groups(observables)
        fragment = Fragment(
            index=index,
            label=str(self._names[index]),
            qubits=tuple(self._qubit_of_wire[w] for w in wires),
            steps=tuple(steps),
            sites=tuple(sites),
            angles=tuple(angles),
            observables=observables,
            groups=groups,
        )
        return fragment, column

    def _site(self, end: tuple[int, int], wires: tuple[int, ...]) -> Site:
        bond, side = end
        basis = self._cuts[bond].basis
        return Site(
            bond=bond,
            side=side,
            wires=wires,
            kind=basis.kinds[side],
            operations=basis.operations[side],
            branches=basis.branches.operators[side],
        )

    def _sub_observables(self, wires: Sequence[int]) -> tuple[PauliList, np.ndarray]:
        """Restrict the terms to wires that are a qubit's last; others are not observed."""
        qubit_of = {w: q for q, w in enumerate(self._wire_of_qubit) if q not in self._stale}
        qubits = [qubit_of.get(wire, -1) for wire in wires]
        observed = np.array([q >= 0 for q in qubits])
        x = self._terms.x[:, qubits] & observed
        z = self._terms.z[:, qubits] & observed
        both, column = np.unique(np.hstack([x, z]), axis=0, return_inverse=True)
        width = len(wires)
        observables = PauliList.from_symplectic(both[:, width:], both[:, :width])
        return observables, column.reshape(-1)

    def bonds(self) -> tuple[Bond, ...]:
        """Return the bonds, with the fragment and axis of either end."""
        ends: dict[tuple[int, int], tuple[int, int]] = {}
        axes: Counter[int] = Counter()
        for where, what in self._placed:
            if not isinstance(what, Step):
                fragment = self._fragment_of_wire[where[0]]
                ends[what] = (fragment, axes[fragment])
                axes[fragment] += 1
        return tuple(
            Bond(
                index=k,
                gate=cut.gate,
                ends=(ends[k, 0], ends[k, 1]),
                coefficients=cut.basis.coefficients,
                amplitudes=cut.basis.branches.amplitudes,
                angles=cut.angles,
                overhead=cut.basis.overhead,
                gates=len(cut.wires[0]),
            )
            for k, cut in enumerate(self._cuts)
        )


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"F{index}"


def _localised(param: Param, angles: list[Angle]) -> Param:
    """Replace an angle over the plan's slots by one over the fragment's own list."""
    if not isinstance(param, Angle):
        return param
    angles.append(param)
    return Angle(len(angles) - 1)


def _commuting_groups(observables: PauliList) -> tuple[tuple[int, ...], ...]:
    index = {label: k for k, label in enumerate(observables.to_labels())}
    groups = observables.group_commuting(qubit_wise=True)
    return tuple(sorted(tuple(sorted(index[p] for p in g.to_labels())) for g in groups))


# -- gates as rotations ----------------------------------------------------------------

_Locals = list[tuple[int, Step]]


@dataclass(frozen=True)
class _Rotation:
    """A gate as an RZZ between local gates (side, step) that stand before and after it."""

    angle: Angle | float
    before: _Locals
    after: _Locals

    @property
    def free_angle(self) -> Angle:
        assert isinstance(self.angle, Angle)
        return self.angle


def _is_rotation(step: Step) -> bool:
    if any(isinstance(p, Angle) for p in step.params):
        return step.name in _RZZ_FORMS
    return step.name != "move" and basis_of_gate(step.gate_with(step.params)).branches.rank == 2


def _rotation(step: Step) -> _Rotation:
    free = any(isinstance(p, Angle) for p in step.params)
    return _free_rotation(step) if free else _fixed_rotation(step)


def _free_rotation(step: Step) -> _Rotation:
    """Return a gate with one free angle as an RZZ between local gates.

    ``CRZ(t) = RZZ(-t/2) RZ(t/2)`` on the target, and so on; the angle of the RZZ then enters
    the bond matrix alone.
    """
    if step.name not in _RZZ_FORMS:
        raise CutError(
            f"gate '{step.name}' on qubits {step.qubits} has a free parameter and cannot be cut, "
            f"expected one of {', '.join(sorted(_RZZ_FORMS))}; bind it, decompose it, or choose "
            f"other labels"
        )
    free = next(p for p in step.params if isinstance(p, Angle))
    scale, frames, rotations = _RZZ_FORMS[step.name]
    before = [(s, Step(g, ())) for s in (0, 1) for g in frames[s][0]]
    after = [(s, Step(g, ())) for s in (0, 1) for g in frames[s][1]]
    after += [(s, Step(g(0.0), (), (_scaled(free, f),))) for s, g, f in rotations]
    return _Rotation(_scaled(free, scale), before, after)


def _fixed_rotation(step: Step) -> _Rotation:
    """Return a gate of operator-Schmidt rank two as an RZZ between local gates.

    Its Weyl decomposition has one angle: ``K1 exp(i a XX) K2``, and XX is ZZ between H.
    """
    matrix = np.asarray(step.gate_with(step.params).to_matrix())
    weyl = TwoQubitWeylDecomposition(matrix, fidelity=None)  # else small angles are dropped
    h = HGate().to_matrix()
    before = [(0, _local(h @ weyl.K2r)), (1, _local(h @ weyl.K2l))]
    after = [(0, _local(weyl.K1r @ h)), (1, _local(weyl.K1l @ h))]
    return _Rotation(float(-2 * weyl.a), before, after)


def _local(matrix: np.ndarray) -> Step:
    angles = u_angles(matrix)
    return Step(UGate(*angles), (), angles)


def _scaled(angle: Angle, factor: float) -> Angle:
    return Angle(angle.slot, factor * angle.scale, factor * angle.offset)


# gate -> (factor of the RZZ angle, (before, after) on each side, rotations left on a side).
# A frame maps Z to the axis of the rotation: H to X, SX to Y up to a sign that both sides share.
_NONE: tuple[list[Instruction], list[Instruction]] = ([], [])
_X = ([HGate()], [HGate()])
_Y = ([SXdgGate()], [SXGate()])
_Y1 = ([SdgGate(), HGate()], [HGate(), SGate()])
_RZZ_FORMS = {
    "rzz": (1.0, (_NONE, _NONE), []),
    "rxx": (1.0, (_X, _X), []),
    "ryy": (1.0, (_Y, _Y), []),
    "rzx": (1.0, (_NONE, _X), []),
    "crz": (-0.5, (_NONE, _NONE), [(1, RZGate, 0.5)]),
    "crx": (-0.5, (_NONE, _X), [(1, RXGate, 0.5)]),
    "cry": (-0.5, (_NONE, _Y1), [(1, RYGate, 0.5)]),
    "cp": (-0.5, (_NONE, _NONE), [(0, PhaseGate, 0.5), (1, RZGate, 0.5)]),
    "cu1": (-0.5, (_NONE, _NONE), [(0, PhaseGate, 0.5), (1, RZGate, 0.5)]),
}
