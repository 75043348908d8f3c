"""Explanation of a plan: what each cut is and costs, and why no cheaper form of it was taken.

For every bond the gates it stands for, the form it is cut in, its price, and what became of each
other form that was looked at (`FORMS`, a function each). Returns data; who shows it is not known
here, and nothing is run.

References
----------
Prices gamma^2: arXiv:1909.07534 (gates), arXiv:1904.00102 (wires), arXiv:2312.11638 (joint cuts).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt

from qiskit_addon_cutting.instructions import Move

from pilotcut.circuits.program import Step
from pilotcut.cutting.basis import basis_of_gate
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.placement import labels_of_steps
from pilotcut.cutting.plan import CutPlan, build_plan
from pilotcut.cutting.rotations import is_rotation
from pilotcut.cutting.search import search
from pilotcut.errors import CutError

_WIRES = ("move", "cut_wire")


@dataclass(frozen=True)
class CutGate:
    """A gate or wire that a cut stands for.

    Parameters
    ----------
    name
        Of the gate; "cut_wire" or "move" of a wire.
    qubits
        Its qubits; twice the same one where a wire is cut.
    step
        Its place among the program's steps (`Program.steps`, the gates as they were read), from 0;
        None for a wire cut that the placement made.
    """

    name: str
    qubits: tuple[int, ...]
    step: int | None

    def __str__(self) -> str:
        where = "–".join(map(str, dict.fromkeys(self.qubits)))
        return f"{self.name} on {where}" + ("" if self.step is None else f" (step {self.step})")


@dataclass(frozen=True)
class Alternative:
    """Another form of a cut, or of all of them, that was looked at.

    Parameters
    ----------
    form
        Its name.
    finding
        What it would bring, or why it does not apply, a clause.
    overhead
        The plan's gamma^2 with it, None where it does not apply or is not cheaper.
    """

    form: str
    finding: str
    overhead: float | None = None


@dataclass(frozen=True)
class CutExplanation:
    """One cut: what it is, what it costs, and what else was looked at.

    Parameters
    ----------
    bond
        Its number.
    gates
        What it stands for.
    fragments
        Labels of the fragments at its two ends.
    form
        The form it is cut in.
    overhead
        Sampling overhead gamma^2 of this cut alone, at the worst angle if one is free.
    operations
        Distinct operations on its two sides.
    alternatives
        Other forms.
    """

    bond: int
    gates: tuple[CutGate, ...]
    fragments: tuple[str, str]
    form: str
    overhead: float
    operations: tuple[int, int]
    alternatives: tuple[Alternative, ...]

    @property
    def gamma(self) -> float:
        """The sum of the absolute weights of its terms."""
        return sqrt(self.overhead)


@dataclass(frozen=True)
class PlanExplanation:
    """All cuts of a plan, and what the search finds for the whole circuit.

    Parameters
    ----------
    cuts
        One for each bond.
    whole
        The best plan of the search in fragments as narrow.
    """

    cuts: tuple[CutExplanation, ...]
    whole: Alternative


def explain(plan: CutPlan, max_width: int | None = None) -> PlanExplanation:
    """Return what the cuts of a plan are, what they cost, and what else was looked at.

    Parameters
    ----------
    plan
        From `pilotcut.compile_plan`.
    max_width
        Qubits that a fragment may have in other forms; None for as many as the widest has.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut import compile_plan
    >>> circuit = QuantumCircuit(2); _ = circuit.cx(0, 1)
    >>> explained = explain(compile_plan(circuit, labels="AB"))
    >>> explained.cuts[0].form, round(explained.cuts[0].gamma)
    ('gate as an RZZ between local gates', 3)
    """
    looked = _Looked(plan, max_width or max(plan.widths))
    return PlanExplanation(tuple(map(looked.explained, plan.bonds)), looked.whole())


def form_of(bond: Bond) -> str:
    """Return the form that a bond is cut in, in words."""
    if bond.gate in _WIRES:
        return "wire"
    if bond.gates > 1:
        return f"joint cut of {bond.gates} parallel gates"
    if bond.angles:
        return "gate as an RZZ of a free angle between local gates"
    if bond.amplitudes.shape[1] == 2:
        return "gate as an RZZ between local gates"
    return "general two-qubit gate by its KAK decomposition"


class _Looked:
    """A plan, with what several forms ask about it."""

    def __init__(self, plan: CutPlan, max_width: int) -> None:
        self.plan, self.max_width = plan, max_width
        self.gates = _gates_of_bonds(plan)

    def explained(self, bond: Bond) -> CutExplanation:
        a, b = (self.plan.fragments[fragment] for fragment, _ in bond.ends)
        sides = zip((a, b), bond.ends, strict=True)
        counts = [len(fragment.sites[axis].operations) for fragment, (_, axis) in sides]
        found = (form(bond, self) for form in FORMS)
        return CutExplanation(
            bond=bond.index,
            gates=self.gates[bond.index],
            fragments=(a.label, b.label),
            form=form_of(bond),
            overhead=float(bond.overhead),
            operations=(counts[0], counts[1]),
            alternatives=tuple(one for one in found if one is not None),
        )

    def step(self, gate: CutGate) -> Step | None:
        """Return the program's step of a gate that is cut."""
        return None if gate.step is None else self.plan.program.steps[gate.step]

    @cached_property
    def labels(self) -> list[tuple[str, ...]]:
        """Labels of each step's wires; none where markers alone cut."""
        placement = self.plan.requested
        return [] if placement is None else labels_of_steps(placement, self.plan.program)

    @cached_property
    def steps_of_qubit(self) -> list[list[int]]:
        """The steps on each qubit, in order."""
        found: list[list[int]] = [[] for _ in range(self.plan.num_qubits)]
        for number, step in enumerate(self.plan.program.steps):
            for qubit in step.qubits:
                found[qubit].append(number)
        return found

    @cached_property
    def jointly(self) -> CutPlan:
        """The same plan with joint cuts."""
        plan = self.plan
        return build_plan(plan.program, plan.binding, plan.terms, plan.requested, True)

    def whole(self) -> Alternative:
        """Return what the search finds for the circuit in fragments as narrow."""
        name, now = f"search at max_width={self.max_width}", self.plan.sampling_overhead
        try:
            found = search(self.plan.program, max_width=self.max_width)
        except CutError as error:
            return Alternative(name, f"does not apply: {error}")
        best = min(found, key=lambda candidate: candidate.overhead)
        if best.overhead > 0.999 * now:
            return Alternative(name, f"finds nothing cheaper than γ² = {now:.4g}")
        kinds = f"{best.gate_cuts} gate and {best.wire_cuts} wire cuts"
        text = f"finds γ² = {best.overhead:.4g} in place of {now:.4g}, with {kinds}"
        return Alternative(name, text, float(best.overhead))


def _gates_of_bonds(plan: CutPlan) -> list[tuple[CutGate, ...]]:
    """Return for each bond what it stands for, with places among the program's steps."""
    # A layout keeps the order of steps on every qubit: the next of a qubit's steps of that name is
    # the one.
    queues: list[deque[int]] = [deque() for _ in range(plan.num_qubits)]
    for number, step in enumerate(plan.program.steps):
        for qubit in step.qubits:
            queues[qubit].append(number)
    found: list[list[CutGate]] = [[] for _ in plan.bonds]
    for item in plan.layout:
        if item.step is not None:  # a part of a multi-controlled gate
            for qubit in plan.program.steps[item.step].qubits:
                if item.step in queues[qubit]:
                    queues[qubit].remove(item.step)
            if item.bond is not None:
                found[item.bond].append(CutGate(item.name, item.qubits, item.step))
            continue
        qubits = tuple(dict.fromkeys(item.qubits))
        heads = {queues[q][0] if queues[q] else None for q in qubits}
        head = heads.pop() if len(heads) == 1 else None
        # A wire cut of the placement stands between steps and is none itself.
        own = head is not None and plan.program.steps[head].name == item.name
        if own:
            for qubit in qubits:
                queues[qubit].popleft()
        if item.bond is not None:
            gate = CutGate(item.name, item.qubits, head if own else None)
            found[item.bond].append(gate)
    return [tuple(gates) for gates in found]


# -- forms that were looked at -----------------------------------------------------------


def _joint_cut(bond: Bond, looked: _Looked) -> Alternative | None:
    if bond.gate in _WIRES or bond.gates > 1 or looked.plan.requested is None:
        return None
    (gate,) = looked.gates[bond.index]
    step = looked.step(gate)
    if step is None or len(step.qubits) > 2 or not is_rotation(step):
        return Alternative("joint cut", "does not apply: it takes gates that are one rotation")
    ends = {fragment for fragment, _ in bond.ends}
    others = [b for b in looked.plan.bonds if {fragment for fragment, _ in b.ends} == ends]
    if len([b for b in others if b.gate not in _WIRES]) < 2:
        return Alternative("joint cut", "does not apply: no other gate is cut between the two")
    if looked.plan.joint_cuts:
        return Alternative("joint cut", "does not apply: no gate that is left is parallel to it")
    plan = looked.jointly
    for number, gates in enumerate(_gates_of_bonds(plan)):
        if gate in gates and len(gates) > 1:
            one_by_one = prod(looked.plan.bonds[k].overhead for k in _bonds_of(gates, looked))
            price = plan.bonds[number].overhead
            names = ", ".join(str(g) for g in gates if g != gate)
            text = f"joint_cuts=True cuts it with {names}: γ² = {price:.4g}, not {one_by_one:.4g}"
            return Alternative("joint cut", text, _replaced(looked, one_by_one, price))
    return Alternative("joint cut", "does not apply: no gate between the two is parallel to it")


def _wire_cut(bond: Bond, looked: _Looked) -> Alternative | None:
    """One qubit of the gate changes over to the other side, for as long as that cuts nothing."""
    if bond.gate in _WIRES or not looked.labels:
        return None
    (number, *_) = (gate.step for gate in looked.gates[bond.index])
    if number is None or len(looked.plan.program.steps[number].qubits) > 2:
        return None
    moves = [_moved(number, side, looked) for side in (0, 1)]
    # A qubit that goes over for good is another choice of labels, which may well be too wide.
    moves = [move for move in moves if move.wires or move.width <= looked.max_width]
    if not moves:
        text = "does not apply: its qubits have no gate on their own side"
        return Alternative("wire cut", text)
    best = min(moves, key=lambda move: (not move.cheaper, move.width, move.price / move.now))
    if not best.cheaper:
        return Alternative("wire cut", f"not cheaper: {best}")
    if best.width > looked.max_width:
        text = f"too wide: {best}, but {best.width} qubits in its fragment"
        return Alternative("wire cut", text)
    return Alternative("wire cut", str(best), _replaced(looked, best.now, best.price))


#: What is looked at for each bond: returns None where the question makes no sense.
FORMS: tuple[Callable[[Bond, _Looked], Alternative | None], ...] = (_joint_cut, _wire_cut)


@dataclass(frozen=True)
class _Moved:
    """A qubit that changes over to another fragment for some of its steps."""

    qubit: int
    first: int
    last: int
    width: int  # of that fragment then
    wires: int  # that are cut for it
    now: float  # gamma^2 of the cuts that it saves

    def __str__(self) -> str:
        steps = "ever" if not self.wires else f"steps {self.first} to {self.last}"
        what = f"qubit {self.qubit} changes over for {steps}"
        return f"{what}: γ² = {self.price:.4g}, not {self.now:.4g}"

    @property
    def price(self) -> float:
        """Sampling overhead gamma^2 of the wires that are cut."""
        return float(basis_of_gate(Move()).overhead ** self.wires)

    @property
    def cheaper(self) -> bool:
        """Whether that costs less, beyond rounding."""
        return self.price < 0.999 * self.now


def _moved(number: int, side: int, looked: _Looked) -> _Moved:
    """Return the change of one qubit of a cut gate to the fragment of the other."""
    steps, labels = looked.plan.program.steps, looked.labels
    qubit, target = steps[number].qubits[side], labels[number][1 - side]
    own = looked.steps_of_qubit[qubit]

    def goes_along(other: int) -> bool:
        pairs = zip(steps[other].qubits, labels[other], strict=True)
        return all(q == qubit or label == target for q, label in pairs)

    here = own.index(number)
    first = here
    while first and goes_along(own[first - 1]):
        first -= 1
    last = here
    while last + 1 < len(own) and goes_along(own[last + 1]):
        last += 1
    wires = (first > 0) + (last + 1 < len(own))
    run = set(own[first : last + 1])
    saved = [
        bond.overhead
        for bond in looked.plan.bonds
        if {gate.step for gate in looked.gates[bond.index]} <= run
    ]
    width = next(f.width for f in looked.plan.fragments if f.label == target) + 1
    return _Moved(qubit, own[first], own[last], width, wires, prod(saved, start=1.0))


def _bonds_of(gates: Sequence[CutGate], looked: _Looked) -> list[int]:
    return [k for k, some in enumerate(looked.gates) if set(some) <= set(gates)]


def _replaced(looked: _Looked, now: float, price: float) -> float:
    """Return the plan's gamma^2 where cuts of one price take the place of others."""
    return float(looked.plan.sampling_overhead / now * price)
