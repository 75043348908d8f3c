"""Explanation of a plan: what each cut is and costs, and why no cheaper form of it was taken.

For every bond the gates it stands for, the form it is cut in, its price, and what became of each
other form that was looked at (`pilotcut.cutting.alternatives`). Returns data; who shows it is not
known here, and nothing is run.

References
----------
Prices gamma^2: arXiv:1909.07534 (gates), arXiv:1904.00102 (wires), arXiv:2312.11638 (joint cuts),
arXiv:2302.03366 (parallel wires).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from pilotcut.circuits.program import Step
from pilotcut.cutting.alternatives import FORMS, Alternative, CutGate, Looked, is_wire
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.search import search
from pilotcut.errors import CutError
from pilotcut.options import COMMUNICATION, RANDOMISED, SEPARATE, check, kind_fault, whole_fault


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
    check(
        kind_fault("plan", plan, CutPlan, "a plan", "pilotcut.compile_plan makes one"),
        "" if max_width is None else whole_fault("max_width", max_width, 1, advice="leave it out"),
    )
    looked = Looked(plan, max_width or max(plan.widths))
    cuts = tuple(_explained(bond, looked) for bond in plan.bonds)
    return PlanExplanation(cuts, _whole(looked))


#: How wires are cut, in words.
_WAYS = {
    COMMUNICATION: "with communication",
    RANDOMISED: "in randomised bases",
    SEPARATE: "by Paulis",
}


def form_of(bond: Bond, step: Step | None) -> str:
    """Return the form that a bond is cut in, in words.

    Parameters
    ----------
    bond
        The cut.
    step
        The first of the program's steps that it stands for; None where it is none of them.
    """
    if is_wire(bond):
        what = "wire" if bond.gates == 1 else f"{bond.gates} parallel wires together"
        return f"{what} {_WAYS[bond.way]}"
    if bond.gates > 1:
        return f"joint cut of {bond.gates} parallel gates"
    rzz = "an RZZ of a free angle" if bond.angles else "an RZZ"
    if step is not None and len(step.qubits) > 2:
        return f"multi-controlled gate as {rzz} between wires that hold its controls"
    what = "run of gates" if "+" in bond.gate else "gate"
    if bond.amplitudes.shape[-1] == 2:
        return f"{what} as {rzz} between local gates"
    if bond.angles:
        return f"{what} as a product of rotations with free angles"
    return f"general two-qubit {what} by its KAK decomposition"


def _explained(bond: Bond, looked: Looked) -> CutExplanation:
    a, b = (looked.plan.fragments[fragment] for fragment, _ in bond.ends)
    sides = zip((a, b), bond.ends, strict=True)
    counts = [len(fragment.sites[axis].operations) for fragment, (_, axis) in sides]
    found = (form(bond, looked) for form in FORMS)
    return CutExplanation(
        bond=bond.index,
        gates=looked.gates[bond.index],
        fragments=(a.label, b.label),
        form=form_of(bond, looked.step(looked.gates[bond.index][0])),
        overhead=float(bond.overhead),
        operations=(counts[0], counts[1]),
        alternatives=tuple(one for one in found if one is not None),
    )


def _whole(looked: Looked) -> Alternative:
    """Return what the search finds for the circuit in fragments as narrow."""
    name, now = f"search at max_width={looked.max_width}", looked.plan.sampling_overhead
    try:
        found = search(looked.plan.program, max_width=looked.max_width, wires=looked.plan.wires)
    except CutError as error:
        return Alternative(name, f"does not apply: {error}")
    best = min(found, key=lambda candidate: candidate.overhead)
    if best.overhead > 0.999 * now:
        return Alternative(name, f"finds nothing cheaper than γ² = {now:.4g}")
    kinds = f"{best.gate_cuts} gate and {best.wire_cuts} wire cuts"
    text = f"finds γ² = {best.overhead:.4g} in place of {now:.4g}, with {kinds}"
    return Alternative(name, text, float(best.overhead))
