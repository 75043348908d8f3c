"""Alternatives to the cuts of a plan: other forms of each, and what became of them.

A form is a function in `FORMS`, from a bond to what it would bring or why it does not apply. What a
plan is and how an explanation looks is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log, prod

from pilotcut.circuits.gathering import MOST_FREE_STEPS
from pilotcut.circuits.program import Step
from pilotcut.cutting.blocks import may_join
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.controlled import forms_of
from pilotcut.cutting.controlled_draft import Form
from pilotcut.cutting.placement import labels_of_steps
from pilotcut.cutting.plan import CutPlan, build_plan
from pilotcut.cutting.prices import prices_of_run
from pilotcut.cutting.walks import MOST_VARIANTS
from pilotcut.cutting.wire_ways import SentWires, log_overhead_of_wires, ways_of
from pilotcut.options import AUTO, COMMUNICATION, RANDOMISED, SEPARATE, counted

_WIRES = {"move", "cut_wire"}

# Differences of log gamma^2 that are none.
_CLOSE = 1e-6


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
    before
        Of such a cut the qubit's step behind it, None at the end.
    """

    name: str
    qubits: tuple[int, ...]
    step: int | None
    before: int | None = None

    def __str__(self) -> str:
        where = "–".join(map(str, dict.fromkeys(self.qubits)))
        if self.step is not None:
            return f"{self.name} on {where} (step {self.step})"
        place = "at the end" if self.before is None else f"before step {self.before}"
        return f"{self.name} on {where} ({place})"


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


class Looked:
    """A plan that is looked at, with what several forms ask about it.

    Parameters
    ----------
    plan
        The plan.
    max_width
        Qubits that a fragment may have in another form.

    Attributes
    ----------
    gates
        What each bond stands for.
    """

    def __init__(self, plan: CutPlan, max_width: int) -> None:
        self.plan, self.max_width = plan, max_width
        self.gates = _gates_of_bonds(plan)

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
    def cuts_of_pair(self) -> dict[frozenset[int], list[tuple[int, int, int]]]:
        """For two qubits the cuts of gates between them: first step, last step, bond, in order."""
        found: dict[frozenset[int], list[tuple[int, int, int]]] = {}
        for bond, gates in zip(self.plan.bonds, self.gates, strict=True):
            steps = [gate.step for gate in gates if gate.step is not None]
            pairs = {frozenset(self.plan.program.steps[step].qubits) for step in steps}
            if len(steps) == len(gates) and not is_wire(bond) and len(pairs) == 1:
                found.setdefault(pairs.pop(), []).append((min(steps), max(steps), bond.index))
        return {pair: sorted(cuts) for pair, cuts in found.items() if len(pair) == 2}

    @cached_property
    def jointly(self) -> CutPlan:
        """The same plan with joint cuts."""
        plan = self.plan
        known = (plan.program, plan.binding, plan.terms, plan.requested)
        return build_plan(*known, joint_cuts=True, wires=plan.wires)

    @cached_property
    def with_any_width(self) -> CutPlan:
        """The same plan with room for all ancillas."""
        plan = self.plan
        assert plan.requested is not None, "markers alone have no gates to cut"
        wide = replace(plan.requested, max_width=None)
        return build_plan(plan.program, plan.binding, plan.terms, wide, wires=plan.wires)

    @cached_property
    def with_cheapest_wires(self) -> CutPlan:
        """The same plan with wires cut the cheapest way that their order allows."""
        plan = self.plan
        known = (plan.program, plan.binding, plan.terms, plan.requested)
        return build_plan(*known, joint_cuts=plan.joint_cuts, wires=AUTO)


def _gates_of_bonds(plan: CutPlan) -> list[tuple[CutGate, ...]]:
    """Return for each bond what it stands for, with places among the program's steps."""
    # A layout keeps the order of steps on every qubit: the next of a qubit's steps of that name is
    # the one.
    queues: list[deque[int]] = [deque() for _ in range(plan.num_qubits)]
    steps = plan.program.steps
    for place, step in enumerate(steps):
        for qubit in step.qubits:
            queues[qubit].append(place)
    found: list[list[CutGate]] = [[] for _ in plan.bonds]
    for item in plan.layout:
        number = item.step
        if number is None:
            heads = {queues[q][0] if queues[q] else None for q in item.qubits}
            number = heads.pop() if len(heads) == 1 else None
            # A wire cut of the placement stands between steps and is none itself.
            if number is not None and steps[number].name != item.name:
                number = None
        # Of the parts of a multi-controlled gate the first takes it off.
        for qubit in () if number is None else steps[number].qubits:
            if queues[qubit] and queues[qubit][0] == number:
                queues[qubit].popleft()
        if item.bond is not None:
            ahead = queues[item.qubits[-1]]
            before = ahead[0] if number is None and ahead else None
            found[item.bond].append(CutGate(item.name, item.qubits, number, before))
    return [tuple(gates) for gates in found]


def is_wire(bond: Bond) -> bool:
    """Whether a cut is one of wires."""
    return set(bond.gate.split("+")) <= _WIRES


# -- forms that were looked at -----------------------------------------------------------


def _joint_cut(bond: Bond, looked: Looked) -> Alternative | None:
    if is_wire(bond) or bond.gates > 1 or looked.plan.requested is None:
        return None
    gate = looked.gates[bond.index][0]
    step = looked.step(gate)
    if step is None or len(step.qubits) > 2 or bond.amplitudes.shape[-1] != 2:
        return Alternative("joint cut", "does not apply: it takes gates that are one rotation")
    ends = {fragment for fragment, _ in bond.ends}
    others = [b for b in looked.plan.bonds if {fragment for fragment, _ in b.ends} == ends]
    if len([b for b in others if not is_wire(b)]) < 2:
        return Alternative("joint cut", "does not apply: no other gate is cut between the two")
    if looked.plan.joint_cuts:
        return Alternative("joint cut", "does not apply: no gate that is left is parallel to it")
    found = _together(gate, looked.jointly, looked, "joint_cuts=True")
    why = "does not apply: no gate between the two is parallel to it"
    return found or Alternative("joint cut", why)


def _together(gate: CutGate, other: CutPlan, looked: Looked, how: str) -> Alternative | None:
    """Return what it would bring that another plan cuts a gate or wire with others, if it does."""
    for number, gates in enumerate(_gates_of_bonds(other)):
        if gate not in gates:
            continue
        bonds = [k for k, some in enumerate(looked.gates) if set(some) <= set(gates)]
        now = prod(looked.plan.bonds[k].overhead for k in bonds)
        price = other.bonds[number].overhead
        if price > 0.999 * now:
            return None
        names = ", ".join(str(one) for one in gates if one != gate)
        text = f"{how} cuts it{f' with {names}' if names else ''}: γ² = {price:.4g}, not {now:.4g}"
        form = "wires together" if how.startswith("wires") else "joint cut"
        return Alternative(form, text, _replaced(looked, now, price))
    return None


def _wires_together(bond: Bond, looked: Looked) -> Alternative | None:
    if not is_wire(bond):
        return None
    if looked.plan.wires in (SEPARATE, RANDOMISED):
        gate = looked.gates[bond.index][0]
        return _together(gate, looked.with_cheapest_wires, looked, f"wires='{AUTO}'")
    if bond.gates > 1:
        return None
    ends = [fragment for fragment, _ in bond.ends]
    others = [b for b in looked.plan.bonds if b.way and [f for f, _ in b.ends] == ends]
    why = "no wire between the two is cut in parallel"
    if len(others) > 1:
        why = "what is parallel to it is full, or would make a fragment wider"
    return Alternative("wires together", f"does not apply: {why}")


def _communication(bond: Bond, looked: Looked) -> Alternative | None:
    """Say why a wire whose way was left to the plan does not communicate."""
    if looked.plan.wires != AUTO or bond.way in ("", COMMUNICATION):
        return None
    wires = {b.index: b for b in looked.plan.bonds if b.way}
    sent = [SentWires(b.ends[0][0], b.ends[1][0], b.gates) for b in wires.values()]
    way = ways_of(sent, AUTO)[list(wires).index(bond.index)]
    sender, receiver = (looked.plan.fragments[fragment].label for fragment, _ in bond.ends)
    why = f"{sender} waits for wires that come from {receiver}, so {receiver} cannot wait for it"
    if sender == receiver:
        why = f"it ends and begins in {sender}, which is measured at once"
    if way == COMMUNICATION:
        why = f"states to prepare would make more than {MOST_VARIANTS:,} variants"
    return Alternative("communication", f"does not apply: {why}")


def _one_run(bond: Bond, looked: Looked) -> Alternative | None:
    """Two cuts between the same qubits that would be one run, were it not for what stands there."""
    gate = looked.gates[bond.index][0]
    cuts = looked.cuts_of_pair.get(frozenset(gate.qubits), [])
    place = next((k for k, (_, _, index) in enumerate(cuts) if index == bond.index), None)
    if place is None:
        return None
    pairs = [cuts[k : k + 2] for k in (place, place - 1) if 0 <= k < len(cuts) - 1]
    found = (_blocked(one, other, bond, looked) for one, other in pairs)
    return next((alternative for alternative in found if alternative is not None), None)


def _blocked(
    one: tuple[int, int, int], other: tuple[int, int, int], bond: Bond, looked: Looked
) -> Alternative | None:
    """Return what stands between two cuts that would be cheaper as one run, None if nothing."""
    steps, qubits = looked.plan.program.steps, sorted(looked.gates[bond.index][0].qubits)
    near = sorted({k for q in qubits for k in looked.steps_of_qubit[q]})
    within = [k for k in near if one[0] <= k <= other[1]]
    joined = [k for k in within if set(steps[k].qubits) <= {*qubits} and may_join(steps[k])]
    between = [k for k in within if k not in joined]
    if not between or sum(steps[k].is_free for k in joined) > MOST_FREE_STEPS:
        return None
    prices = prices_of_run([steps[k] for k in joined], (qubits[0], qubits[1]))
    price = exp(sum(cut.log_overhead for cut in prices))
    now = prod(looked.plan.bonds[cut[2]].overhead for cut in (one, other))
    if price > 0.999 * now:
        return None
    (second,) = {one[2], other[2]} - {bond.index}
    blocker = CutGate(steps[between[0]].name, steps[between[0]].qubits, between[0])
    more = f" and {counted(len(between) - 1, 'more step')}" if len(between) > 1 else ""
    stands = "stands" if len(between) == 1 else "stand"
    text = f"{blocker}{more} {stands} between it and {looked.gates[second][0]}"
    as_one = f"one run would be γ² = {price:.4g}, not {now:.4g}"
    return Alternative("one run", f"does not apply: {text}; {as_one}")


def _other_forms(bond: Bond, looked: Looked) -> Alternative | None:
    """Of a multi-controlled gate, across the same labels."""
    gate = looked.gates[bond.index][0]
    step = looked.step(gate)
    if step is None or len(step.qubits) < 3 or not looked.labels:
        return None
    assert gate.step is not None
    labels = looked.labels[gate.step]
    names = list(dict.fromkeys(labels))
    forms = forms_of(step, [names.index(label) for label in labels])
    ranked = sorted(forms, key=lambda form: (form.log_overhead, len(form.sides)))
    words = dict.fromkeys(f"γ² = {_power(form)} {_made_of(form)}" for form in ranked)
    shown = list(words)
    listed = ", ".join([*shown[:3], *shown[3:][-1:]])
    return Alternative("forms of the gate", listed + _no_room(ranked[0], names, gate.step, looked))


def _no_room(best: Form, labels: Sequence[str], number: int, looked: Looked) -> str:
    """Return why a gate is not cut in its cheapest form, where it is not."""
    cuts = zip(looked.plan.bonds, looked.gates, strict=True)
    taken = sum(log(bond.overhead) for bond, gates in cuts if gates[0].step == number)
    if best.log_overhead > taken - _CLOSE:
        return ""
    placement = looked.plan.requested
    most = None if placement is None else placement.max_width
    if placement is None or most is None:
        return ""
    needed = [
        f"{counted(best.further_wires(side), 'further qubit')} in {label}"
        for side, label in enumerate(labels)
        if best.further_wires(side)
    ]
    wide = [f"{f.label} has {f.width}" for f in looked.with_any_width.fragments if f.width > most]
    at_most = f"with {' and '.join(needed)} {' and '.join(wide)} qubits, expected at most {most}"
    return f"; the first is too wide: {at_most}" if needed and wide else ""


def _power(form: Form) -> str:
    return f"{exp(form.log_overhead):.4g}" if form.log_overhead < 700 else "beyond floats"


def _made_of(form: Form) -> str:
    if form.is_definition:
        return "by its definition"
    if form.visited:
        return "with a qubit that visits the other side"
    ancillas = len(form.sides)
    return f"with {counted(ancillas, 'ancilla')}" if ancillas else "as it is"


def _wire_cut(bond: Bond, looked: Looked) -> Alternative | None:
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
        text = f"too wide: {best}, but {counted(best.width, 'qubit')} in its fragment"
        return Alternative("wire cut", text)
    return Alternative("wire cut", str(best), _replaced(looked, best.now, best.price))


#: What is looked at for each bond: returns None where the question makes no sense.
FORMS: tuple[Callable[[Bond, Looked], Alternative | None], ...] = (
    _joint_cut,
    _one_run,
    _other_forms,
    _wire_cut,
    _wires_together,
    _communication,
)


@dataclass(frozen=True)
class _Moved:
    """A qubit that changes over to another fragment for some of its steps."""

    qubit: int
    first: int
    last: int
    width: int  # of that fragment then
    wires: int  # that are cut for it
    cut_as: str  # how, one of `pilotcut.options.WIRES`
    now: float  # gamma^2 of the cuts that it saves

    def __str__(self) -> str:
        steps = "ever" if not self.wires else f"steps {self.first} to {self.last}"
        what = f"qubit {self.qubit} changes over for {steps}"
        return f"{what}: γ² = {self.price:.4g}, not {self.now:.4g}"

    @property
    def price(self) -> float:
        """Sampling overhead gamma^2 of the wires that are cut."""
        # There, and back: no order suits both.
        sent = [SentWires(0, 1), SentWires(1, 0)][: self.wires]
        wires = AUTO if self.cut_as == COMMUNICATION else self.cut_as
        return exp(sum(log_overhead_of_wires(way, 1) for way in ways_of(sent, wires)))

    @property
    def cheaper(self) -> bool:
        """Whether that costs less, beyond rounding."""
        return self.price < 0.999 * self.now


def _moved(number: int, side: int, looked: Looked) -> _Moved:
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
    now = prod(saved, start=1.0)
    return _Moved(qubit, own[first], own[last], width, wires, looked.plan.wires, now)


def _replaced(looked: Looked, now: float, price: float) -> float:
    """Return the plan's gamma^2 where cuts of one price take the place of others."""
    return float(looked.plan.sampling_overhead / now * price)
