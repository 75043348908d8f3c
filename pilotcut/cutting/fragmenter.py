"""Fragmenter: fragments and bonds from one walk over the program, split at the cuts.

A gate between two labels, a `Move` between two labels, a wire cut of the placement and a
`CutWire` are cuts; all else goes to the fragment whose wires it acts on. Refuses to know how a
placement was found, and what runs the fragments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from qiskit.quantum_info import PauliList

from pilotcut.circuits.program import Angle, AngleSum, Param, Program, Shown, Step
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.crossing import Crossing
from pilotcut.cutting.fragment import Fragment, LayoutItem, Site
from pilotcut.cutting.grouping import Item, WireEnds, grouped, items_of
from pilotcut.cutting.joint import joint_basis
from pilotcut.cutting.liveness import narrow_order
from pilotcut.cutting.opening import opened
from pilotcut.cutting.placement import Placement, letter
from pilotcut.cutting.wire_ways import PlannedCut, cheapest_way, settle
from pilotcut.cutting.wires import basis_of_cut
from pilotcut.errors import CutError
from pilotcut.options import SEPARATE

# (wires, step) or (wires, (cut index, side))
_Placed = tuple[tuple[int, ...], Step | tuple[int, int]]


class Fragmenter:
    """Walks the program once, splits it at the cuts, and deals the pieces to fragments.

    A qubit's history is one or several wires: a wire ends where a wire cut measures it
    (or a reset discards it), and the qubit goes on with a fresh one. So a fragment has no step that
    resets, and a `Move` within one fragment only renames a wire. A fresh wire takes no qubit more
    where another has ended: see `pilotcut.cutting.liveness`.
    """

    def __init__(
        self,
        program: Program,
        terms: PauliList,
        placement: Placement | None,
        joint_cuts: bool = False,
        wires: str = SEPARATE,
        *,
        together: bool = True,
    ) -> None:
        self._terms = terms
        circuit_qubits = program.num_qubits
        program, placement = opened(program, placement)  # its ancillas are further qubits
        self._placement = placement
        # Labels of the wires that the qubits are on while the walk goes on.
        self._labels = None if placement is None else list(placement.labels)
        self._qubit_of_wire: list[int] = []
        self._label_of_wire: list[str] = []
        self._parent: list[int] = []
        self._ancillas = range(circuit_qubits, program.num_qubits)
        self._wire_of_qubit = [self._new_wire(q) for q in range(circuit_qubits)]
        self._wire_of_qubit += [-1 for _ in self._ancillas]
        # Qubits whose wire ended and that were not used since. An ancilla's has not begun.
        self._stale = set(self._ancillas)
        self._cuts: list[PlannedCut] = []
        self._placed: list[_Placed] = []
        self._writers: dict[int, int] = {}  # the wire that each value was measured on
        # (what is shown, its wires, cut index) of the circuit's own gates and cuts, in order
        self._layout: list[tuple[Shown, tuple[int, ...], int | None]] = []
        self._wires = wires
        join_wires = together and wires != SEPARATE
        for items in self._in_order(program, gates=joint_cuts, wires=join_wires):
            crossings = [item.step for item in items if isinstance(item.step, Crossing)]
            if crossings:
                self._cut(crossings)
            elif self._cuts_wires(items[0]):
                self._cut_wires(items)
            elif isinstance(step := items[0].step, Step):
                self._place(step)
                if self._labels is not None and items[0].label is not None:
                    self._labels[step.qubits[0]] = items[0].label  # where it goes on afresh
        self._close()

    # -- wires ---------------------------------------------------------------------

    def _new_wire(self, qubit: int) -> int:
        self._qubit_of_wire.append(-1 if qubit in self._ancillas else qubit)
        self._label_of_wire.append(self._labels[qubit] if self._labels else "")
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def _wire(self, qubit: int) -> int:
        # A wire begins when something acts on it: a qubit that was reset last costs no width.
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
        elif step.name == "move":
            self._move(step)
        elif self._crosses(step.qubits):
            raise CutError(
                f"'{step.name}' on qubits {step.qubits} is under classical control and lies "
                f"between two labels, expected one: such a gate is not cut; give its qubits "
                f"one label"
            )
        else:
            wires = tuple(self._wire(q) for q in step.qubits)
            self._join(wires)
            if step.is_classical:
                self._share_values(step, wires[0])
            self._placed.append((wires, step))
            self._note(step)

    def _share_values(self, step: Step, wire: int) -> None:
        """Keep what a measured value controls in the fragment that measures it."""
        if step.writes is not None:
            self._writers[step.writes] = wire
        for value in step.reads:
            writer = self._writers[value]
            labels = [self._label_of_wire[w] for w in (writer, wire)]
            if labels[0] != labels[1]:
                raise CutError(
                    f"'{step.name}' on qubits {step.qubits} (label {labels[1]}) depends on a "
                    f"measurement of qubit {self._qubit_of_wire[writer]} (label {labels[0]}), "
                    f"expected one label: no classical bits go between fragments; give these "
                    f"qubits one label"
                )
            self._join((writer, wire))

    def _in_order(self, program: Program, *, gates: bool, wires: bool) -> list[tuple[Item, ...]]:
        """Return the items one by one, or in groups where gates or wires are cut together."""
        placement = self._placement
        items = items_of(program, placement)
        markers: list[WireEnds] = []
        if wires and placement is None:
            # Fragments follow from the cuts here, so the wires are cut one by one first.
            markers = Fragmenter(program, self._terms, None)._wire_ends()
        # Without labels only markers cut, and these cut wires.
        gates = gates and placement is not None
        return grouped(items, placement, markers, gates=gates, wires=wires)

    def _wire_ends(self) -> list[WireEnds]:
        """Return the fragments that each wire which is cut comes from and goes to."""
        of = self._fragment_of_wire
        return [(str(of[a]), str(of[b])) for (a,), (b,) in (cut.wires for cut in self._cuts)]

    def _cuts_wires(self, item: Item) -> bool:
        """Return whether an item cuts a wire, as the walk has come to it."""
        step = item.step
        crossing_move = step.name == "move" and self._crosses(step.qubits)
        placed = item.label is not None and step.name != "reset"
        return placed or step.name == "cut_wire" or crossing_move

    def _crosses(self, qubits: tuple[int, ...]) -> bool:
        return self._labels is not None and len({self._labels[q] for q in qubits}) > 1

    def _move(self, step: Step) -> None:
        source, destination = step.qubits
        wire = self._wire_of_qubit[destination] = self._wire(source)
        self._layout.append((Shown("move", step.qubits), (wire, wire), None))
        # A Move leaves |0> behind: its source goes on with a fresh wire, if it goes on at all.
        self._stale.discard(destination)
        self._stale.add(source)

    def _cut_wires(self, items: Sequence[Item]) -> None:
        """Cut one wire, or parallel ones between two fragments together."""
        ends = [self._cut_wire(item) for item in items]
        name = "+".join(item.step.name for item in items)
        sides = tuple(old for old, _ in ends), tuple(new for _, new in ends)
        way = cheapest_way(self._wires)  # until all fragments are known
        self._add_cut(PlannedCut(name, sides, basis_of_cut(way, len(items)), way=way))

    def _cut_wire(self, item: Item) -> tuple[int, int]:
        """End a qubit's wire and begin another, and return both."""
        source, destination = item.step.qubits[0], item.step.qubits[-1]
        old = self._wire(source)
        self._stale.add(source)
        if self._labels and item.label is not None:
            self._labels[destination] = item.label
        new = self._wire_of_qubit[destination] = self._new_wire(destination)
        self._stale.discard(destination)
        assert isinstance(item.step, Step), "a crossing cuts no wire"
        shown = item.step.shown or Shown(item.step.name, (source, destination))
        self._layout.append((shown, (old, new), len(self._cuts)))
        return old, new

    def _cut(self, crossings: Sequence[Crossing]) -> None:
        """Cut one crossing, or parallel ones between two labels as one."""
        joint = len(crossings) > 1
        if joint:
            crossings = [crossing.as_rzz() for crossing in crossings]
        for crossing in crossings:
            for qubit in crossing.qubits:
                self._wire(qubit)  # begins here where the qubit was reset last
            for step in crossing.steps:
                is_cut = len(step.qubits) == 2 and crossing.basis is not None
                self._note(step, len(self._cuts) if is_cut else None)
        # All local gates before the cut stand in front of its one site, which acts on all wires at
        # once.
        self._place_locals(step for crossing in crossings for step in crossing.before)
        (first, *_) = crossings
        if joint:
            self._add_cut(self._joint_cut(crossings))
        elif first.basis is not None:
            a, b = (self._wire(q) for q in first.qubits)
            self._add_cut(PlannedCut(first.name, ((a,), (b,)), first.basis, first.angles))
        self._place_locals(step for crossing in crossings for step in crossing.after)

    def _joint_cut(self, crossings: Sequence[Crossing]) -> PlannedCut:
        """Return parallel rotations as one cut; side 0 is that of the first qubit."""
        assert self._labels is not None
        first = self._labels[crossings[0].qubits[0]]
        sides: tuple[list[int], list[int]] = ([], [])
        for crossing in crossings:
            pair = [self._wire(q) for q in crossing.qubits]
            # A gate may lie the other way round. RZZ is symmetric, so its ends may change sides,
            # while its local gates stay with their qubits.
            turned = self._labels[crossing.qubits[0]] != first
            sides[0].append(pair[turned])
            sides[1].append(pair[not turned])
        angles = [crossing.rzz for crossing in crossings]
        basis = joint_basis([None if isinstance(x, AngleSum) else x for x in angles])
        free = tuple(x for x in angles if isinstance(x, AngleSum))
        name = "+".join(crossing.name for crossing in crossings)
        return PlannedCut(name, (tuple(sides[0]), tuple(sides[1])), basis, free)

    def _place_locals(self, steps: Iterable[Step]) -> None:
        self._placed.extend(((self._wire(step.qubits[0]),), step) for step in steps)

    def _note(self, step: Step, cut: int | None = None) -> None:
        """Keep where a step of the program stands, for `layout`."""
        controlled = "?" if step.condition is not None else ""
        shown = step.shown or Shown(step.name + controlled, step.qubits)
        if shown.qubits:
            wires = tuple(self._wire_of_qubit[q] for q in shown.wires or shown.qubits)
            self._layout.append((shown, wires, cut))

    def _add_cut(self, cut: PlannedCut) -> None:
        for side, wires in enumerate(cut.wires):
            self._join(wires)
            self._placed.append((wires, (len(self._cuts), side)))
        self._cuts.append(cut)

    def _close(self) -> None:
        """Give every observed qubit its last wire, and every wire its fragment."""
        # A qubit that was reset last has no wire yet, and needs one only where it is observed.
        observed = (self._terms.x | self._terms.z).any(axis=0)
        for qubit in np.flatnonzero(observed).tolist():
            self._wire(qubit)
        keys: dict[object, int] = {}
        self._fragment_of_wire = []
        # A label is one fragment also where nothing joins its qubits: the user decides.
        for wire in range(len(self._qubit_of_wire)):
            key = self._label_of_wire[wire] if self._labels else self._component(wire)
            self._fragment_of_wire.append(keys.setdefault(key, len(keys)))
        self._names = [key if self._labels else letter(k) for k, key in enumerate(keys)]
        settle(self._cuts, self._fragment_of_wire, self._wires)
        self._narrow(observed)

    def _narrow(self, observed: np.ndarray) -> None:
        """Put each fragment's steps in an order in which few of its wires are alive at a time."""
        last = np.zeros(len(self._parent), dtype=bool)
        last[[self._wire_of_qubit[qubit] for qubit in np.flatnonzero(observed)]] = True
        of = np.array(self._fragment_of_wire)
        pieces: list[list[_Placed]] = [[] for _ in self._names]
        for placed in self._placed:
            pieces[of[placed[0][0]]].append(placed)
        self._placed = [
            piece[place]
            for index, piece in enumerate(pieces)
            for place in narrow_order(
                [wires for wires, _ in piece], last & (of == index), _follows(piece)
            )
        ]

    def _component(self, wire: int) -> int:
        # Also a circuit of several parts that nothing joins is one fragment as long as nothing is
        # cut.
        return self._root(wire) if self._cuts else 0

    # -- the results ---------------------------------------------------------------

    def qubit_labels(self) -> tuple[str, ...]:
        """Return the label of each qubit's last wire."""
        return tuple(
            str(self._names[self._fragment_of_wire[w]])
            for w in self._wire_of_qubit[: self._ancillas.start]
        )

    def layout(self) -> tuple[LayoutItem, ...]:
        """Return where the circuit's gates and cuts stand, in an order that every qubit keeps."""
        of = self._fragment_of_wire
        return tuple(
            LayoutItem(shown.name, shown.qubits, tuple(of[w] for w in wires), cut, shown.step)
            for shown, wires, cut in self._layout
        )

    def fragments(self) -> tuple[tuple[Fragment, ...], np.ndarray]:
        """Return the fragments, and which sub-observable of each stands in each term."""
        built = [self._fragment(index) for index in range(len(self._names))]
        return tuple(f for f, _ in built), np.stack([column for _, column in built], axis=1)

    def _fragment(self, index: int) -> tuple[Fragment, np.ndarray]:
        wires = [w for w, f in enumerate(self._fragment_of_wire) if f == index]
        local = {wire: k for k, wire in enumerate(wires)}
        steps: list[Step | Site] = []
        axis = 0
        angles: list[Angle] = []
        values: dict[int, int] = {}  # numbered in order of their measurements here
        for where, what in self._placed:
            # One wire decides: `_place` and `_add_cut` put all of them into one fragment.
            if where[0] not in local:
                continue
            if isinstance(what, Step):
                params = tuple(_localised(p, angles) for p in what.params)
                if what.writes is not None:
                    values[what.writes] = len(values)
                step = replace(what, qubits=tuple(local[w] for w in where), params=params)
                steps.append(step.with_values(values))
            else:
                steps.append(self._site(axis, what, tuple(local[w] for w in where)))
                axis += 1
        observables, column = self._sub_observables(wires)
        groups = _commuting_groups(observables)
        fragment = Fragment(
            index=index,
            label=str(self._names[index]),
            qubits=tuple(self._qubit_of_wire[w] for w in wires),
            steps=tuple(steps),
            angles=tuple(angles),
            observables=observables,
            groups=groups,
        )
        return fragment, column

    def _site(self, axis: int, end: tuple[int, int], wires: tuple[int, ...]) -> Site:
        bond, side = end
        basis = self._cuts[bond].basis
        return Site(
            axis=axis,
            bond=bond,
            side=side,
            wires=wires,
            kind=basis.kinds[side],
            operations=basis.operations[side],
            branches=basis.branches[side],
        )

    def _sub_observables(self, wires: Sequence[int]) -> tuple[PauliList, np.ndarray]:
        """Restrict the terms to wires that are a qubit's last; others are not observed."""
        own = enumerate(self._wire_of_qubit[: self._ancillas.start])
        qubit_of = {wire: q for q, wire in own if q not in self._stale}
        qubits = [qubit_of.get(wire, -1) for wire in wires]
        # A wire that is nobody's last has the qubit -1, which takes some column; `observed` masks
        # it.
        observed = np.array([q >= 0 for q in qubits])
        x = self._terms.x[:, qubits] & observed
        z = self._terms.z[:, qubits] & observed
        # Many terms agree on a fragment's wires: each sub-observable is measured once.
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
                amplitudes=cut.basis.amplitudes,
                angles=cut.angles,
                overhead=cut.basis.overhead,
                gates=len(cut.wires[0]),
                way=cut.way,
            )
            for k, cut in enumerate(self._cuts)
        )


def _follows(piece: Sequence[_Placed]) -> dict[int, list[int]]:
    """Return for each step that depends on measurements their places."""
    steps = {place: what for place, (_, what) in enumerate(piece) if isinstance(what, Step)}
    written = {step.writes: place for place, step in steps.items()}
    return {
        place: [written[value] for value in step.reads]
        for place, step in steps.items()
        if step.reads
    }


def _localised(param: Param, angles: list[Angle]) -> Param:
    """Replace an angle over the plan's slots by one over the fragment's own list."""
    if not isinstance(param, Angle):
        return param
    angles.append(param)
    return Angle(len(angles) - 1)


def _commuting_groups(observables: PauliList) -> tuple[tuple[int, ...], ...]:
    index = {label: k for k, label in enumerate(observables.to_labels())}
    # Sorted, since the order of Qiskit's groups is its own and they are part of the fingerprint.
    groups = observables.group_commuting(qubit_wise=True)
    return tuple(sorted(tuple(sorted(index[p] for p in g.to_labels())) for g in groups))
