"""Cut plans, compiled from a circuit and its observables once per structure.

The plan says what to run (fragments with their variants) and how to put the values back
together (bonds and terms); it holds no parameter values. An uncut circuit is a plan with
one fragment and no bonds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.measurement_map import measured_qubits
from pilotcut.circuits.observables import Observables, pauli_terms
from pilotcut.circuits.program import Program, check_circuit, read_circuit
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.fragment import Fragment, LayoutItem
from pilotcut.cutting.log_overhead import log_overhead
from pilotcut.cutting.placement import Placement, label_text, placement_of
from pilotcut.cutting.walks import MOST_VARIANTS, walked
from pilotcut.errors import CutError
from pilotcut.io.large_numbers import digits, whole
from pilotcut.options import AUTO, COMMUNICATION, WIRES, check, choice_fault, counted

#: Standard errors grow with the root of the overhead; their squares must fit a float.
MOST_OVERHEAD = 1e150

#: A plan's repr is one line of at most so many letters.
MOST_LETTERS = 200

#: Qubits of a circuit that is surely run without cuts: its state has 256 MiB.
WIDEST = 24

#: A refusal looks for a better width only where that takes no more than a second or two.
_MOST_SOUGHT = 64


@dataclass(frozen=True)
class CutPlan:
    """A compiled cut: fragments, bonds, and the terms they add up to.

    Parameters
    ----------
    program, binding
        The circuit as read, and how its parameters become slots.
    labels
        Partition label of every qubit (of its last wire).
    requested
        The placement the plan was built from; None where markers in the circuit decided.
    fragments, bonds
        See ``pilotcut.cutting.fragment``.
    terms
        The distinct Pauli strings whose expectations the plan yields, without phases.
    term_index
        Integer array (terms, fragments): which sub-observable of a fragment stands in a
        term. Identity terms are exactly 1 and never run.
    joint_cuts
        Whether parallel gates between two labels are cut as one.
    wires
        How wires are cut, one of ``pilotcut.options.WIRES``.
    measured
        The qubits whose bits an outcome has, bit 0 first; None for all in their order.
    """

    program: Program
    binding: Binding = field(repr=False)
    labels: tuple[str, ...]
    requested: Placement | None
    fragments: tuple[Fragment, ...]
    bonds: tuple[Bond, ...]
    terms: PauliList
    term_index: np.ndarray = field(repr=False)
    joint_cuts: bool = False
    wires: str = AUTO
    measured: tuple[int, ...] | None = None

    @cached_property
    def layout(self) -> tuple[LayoutItem, ...]:
        """Places of the circuit's gates and cuts, for those who show the plan."""
        # Walked again and not kept from building, as few plans are ever drawn.
        return walked(
            self.program, self.terms, self.requested, self.joint_cuts, self.wires
        ).layout()

    @property
    def num_qubits(self) -> int:
        """Number of qubits of the circuit."""
        return self.program.num_qubits

    @property
    def num_cuts(self) -> int:
        """Number of cuts; every gate or wire of those that are cut together counts."""
        return sum(bond.gates for bond in self.bonds)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of qubits that each fragment needs."""
        return tuple(fragment.width for fragment in self.fragments)

    @property
    def num_variants(self) -> int:
        """Number of distinct variants, over all fragments."""
        return sum(fragment.num_variants for fragment in self.fragments)

    @property
    def num_subexperiments(self) -> int:
        """Number of circuits that one query runs."""
        return sum(fragment.num_subexperiments for fragment in self.fragments)

    @property
    def sampling_overhead(self) -> float:
        """The factor gamma^2 by which shots grow for the same error (arXiv:1909.07534).

        At the worst angle where the angle of a cut gate is free.
        """
        return prod(bond.overhead for bond in self.bonds)

    def log_overhead(self, values: Any) -> Any:
        """Return log gamma^2 at parameter values, for a loss that holds it small.

        Parameters
        ----------
        values
            (..., parameters) in radians, in the order of ``circuit.parameters``.

        Returns
        -------
        np.ndarray or torch.Tensor
            (...): the sum over bonds of ``2 log sum_ij |C_ij|`` with C the bond matrix
            (arXiv:1909.07534); of one RZZ gamma is ``1 + 2 |sin x|``. Of a tensor of torch a
            tensor with its first derivative, which is 0 at the kinks of absolute values.

        Raises
        ------
        ParameterValueError
            If the number of parameters is wrong, or a value is not finite and real.

        Examples
        --------
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> circuit = QuantumCircuit(2); _ = circuit.rzz(Parameter("x"), 0, 1)
        >>> plan = compile_plan(circuit, labels="AB")
        >>> np.exp(plan.log_overhead([[0.0], [np.pi / 2]])).round(9).tolist()
        [1.0, 9.0]
        """
        if type(values).__module__.partition(".")[0] == "torch":
            # Only who has a tensor already waits for torch.
            from pilotcut.cutting.log_overhead_torch import differentiable

            return differentiable(self.bonds, self.binding, values)
        return log_overhead(self.bonds, self.binding, values)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of structure, cuts and terms: equal plans give equal tensors."""
        # Names of parameters are no part of it: gradients of Qiskit Machine Learning rename them.
        parts = [
            [(fragment.fingerprint, fragment.angles) for fragment in self.fragments],
            [
                # Shots are dealt another way where wires communicate.
                (b.gate, b.ends, b.coefficients.tobytes(), b.angles)
                + ((b.way,) if b.way == COMMUNICATION else ())
                for b in self.bonds
            ],
            self.terms.to_labels(),
            self.term_index.tolist(),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        text = self._text(10**6)
        return text if len(text) <= MOST_LETTERS else self._text(24)

    def _text(self, most: int) -> str:
        """Return the plan on a line, with at most so many letters of its labels, and widths."""
        widths = label_text([", ".join(map(str, self.widths))], most)
        return (
            f"CutPlan({counted(self.num_qubits, 'qubit')}, labels {label_text(self.labels, most)}, "
            f"{counted(self.num_cuts, 'cut')}, {counted(len(self.fragments), 'fragment')} of "
            f"widths ({widths}), "
            f"{whole(self.num_variants)} variants, {counted(len(self.terms), 'term')}, "
            f"sampling overhead {self.sampling_overhead:.4g})"
        )


def compile_plan(
    circuit: QuantumCircuit,
    observables: Observables | None = None,
    *,
    cuts: int | None = None,
    labels: str | Sequence[str] | None = None,
    max_width: int | None = None,
    placement: Placement | None = None,
    joint_cuts: bool = False,
    wires: str = AUTO,
) -> CutPlan:
    """Return the plan that cuts `circuit` as asked.

    Parameters
    ----------
    circuit
        Any circuit that decomposes into one- and two-qubit gates; `Move` between two
        labels and `CutWire` are wire cuts. Parameters may be free.
    observables
        Pauli strings or sums of them, over all of the circuit's qubits. None where they do not
        matter, as for distributions: Z on every qubit.
    cuts
        Choose exactly this many cuts of gates and wires, so that fragments are as narrow and
        balanced as that number allows; of equals those of least sampling overhead.
    labels
        One label a qubit, label 0 for qubit 0; gates between labels are cut.
    max_width
        Choose the cuts of least sampling overhead whose fragments all fit this many qubits,
        of gates and wires; of equals those with the fewest variants.
    placement
        Labels of wires and not of qubits, as ``pilotcut.cutting.search`` finds them: gates
        between labels are cut, and wires where the placement says so.
    joint_cuts
        Cut up to three parallel two-qubit rotations (CX, CZ, RZZ, CRZ, ...) between the same
        two labels as one, which lowers `CutPlan.sampling_overhead`: gamma falls from 9 to 7
        for two CX and from 27 to 15 for three (arXiv:2312.11638, arXiv:2312.09679). Their
        rotations and parities within a fragment need entangling gates there.
    wires
        How wires are cut where there are shots. "communication" and "randomised": up to three
        parallel ones between the same two fragments together, by measuring and preparing states
        of mutually unbiased bases. With n wires gamma is 2^(n+1) - 1 where the shots of what is
        prepared follow what was found (arXiv:2302.03366), and 2^(n+1) + 1 where all have the same
        (arXiv:2207.14734). "separate": one by one by Paulis, where gamma is 4^n. "auto": each
        group the cheapest way; with communication fragments run in the order of their wires, so
        where they send to each other some wires are cut without it (`CutPlan.bonds` say which).

    Without any of the first four the circuit is cut at its `CutWire` markers, or not at all.

    Raises
    ------
    CutError, ObservableError
        With what was found, what was expected and the next step.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> circuit = QuantumCircuit(2); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> compile_plan(circuit, "ZZ", labels="AB").widths
    (1, 1)
    """
    if sum(option is not None for option in (cuts, labels, max_width, placement)) > 1:
        raise CutError(
            "cuts, labels, max_width and placement are given together, expected at most one"
        )
    program, binding = read_circuit(circuit)
    check_circuit(circuit)
    if not circuit.num_qubits:
        raise CutError("the circuit has no qubits, expected one at least; add a register")
    asked = "Z" * circuit.num_qubits if observables is None else observables
    terms = pauli_terms(asked, circuit.num_qubits)
    check(choice_fault("wires", wires, WIRES))
    if cuts is not None or max_width is not None:
        placement = _best_placement(program, cuts=cuts, max_width=max_width, wires=wires)
    plan = build_plan(program, binding, terms, placement or labels, joint_cuts, wires)
    return replace(plan, measured=measured_qubits(circuit))


def _best_placement(program: Program, **limits: Any) -> Placement:
    # Here, as workers read plans and search for none, and SciPy's graphs take them 0.3 s.
    from pilotcut.cutting.search import best_placement

    return best_placement(program, **limits)


def build_plan(
    program: Program,
    binding: Binding,
    terms: PauliList,
    labels: str | Sequence[str] | Placement | None,
    joint_cuts: bool = False,
    wires: str = AUTO,
) -> CutPlan:
    """Return the plan of a program that is already read, for phase-free `terms`."""
    requested = placement_of(labels, program)
    fragmenter = walked(program, terms, requested, joint_cuts, wires)
    fragments, term_index = fragmenter.fragments()
    plan = CutPlan(
        program=program,
        binding=binding,
        labels=fragmenter.qubit_labels(),
        requested=requested,
        fragments=fragments,
        bonds=fragmenter.bonds(),
        terms=terms,
        term_index=term_index,
        joint_cuts=joint_cuts,
        wires=wires,
    )
    _check_order(plan)
    return plan


def _check_order(plan: CutPlan) -> None:
    """Raise `CutError` where communication is asked for and cannot be had."""
    if plan.wires != COMMUNICATION:
        return
    for bond in plan.bonds:
        if bond.way and bond.way != COMMUNICATION:
            sender, receiver = (plan.fragments[fragment].label for fragment, _ in bond.ends)
            raise CutError(
                f"wires is '{COMMUNICATION}', but fragment {sender} sends a wire to {receiver}, "
                f"from which its own wires come, expected fragments in an order in which senders "
                f"come first; give wires '{AUTO}', which cuts such a wire another way, or other "
                f"labels"
            )


def check_size(plan: CutPlan, *, coherent: bool, drawn: bool = True) -> None:
    """Raise `CutError` where the tensors of a plan, in one of its two bases, are too large.

    Parameters
    ----------
    drawn
        Whether terms can be drawn in place of all variants, for those who ask for the plan.
    """
    if not is_too_large(plan, coherent=coherent):
        return
    entries = _entries(plan, coherent)
    ways = [_with_fewer_cuts(plan, coherent)]
    few, tame = _entries(plan, False) <= MOST_VARIANTS, plan.sampling_overhead <= MOST_OVERHEAD
    if drawn and coherent and (few or tame):
        samples = "" if few else " with num_samples=1000"
        ways.append(f"mode='counts'{samples}, which has no branches")
    elif drawn and tame:
        ways.append("num_samples=1000 to draw terms in place of all variants")
    raise CutError(
        f"{counted(plan.num_cuts, 'cut')} (labels {label_text(plan.labels)}) need "
        f"{digits(entries)} "
        f"{'branch pairs' if coherent else 'variants'}, expected at most {MOST_VARIANTS:.3g}; "
        f"{', or '.join(ways)}"
    )


def is_too_large(plan: CutPlan, *, coherent: bool) -> bool:
    """Return whether `check_size` would refuse a plan, which takes long to say what fits."""
    return _entries(plan, coherent) > MOST_VARIANTS


def _entries(plan: CutPlan, coherent: bool) -> int:
    """Return how many entries the tensors of a plan have."""
    return sum(
        prod(site.rank**2 if coherent else len(site.operations) for site in fragment.sites)
        for fragment in plan.fragments
    )


def _with_fewer_cuts(plan: CutPlan, coherent: bool) -> str:
    """Return how the circuit is cut less: by a width that was tried, where there is one."""
    if plan.requested is None:
        return "leave out some of the circuit's CutWire markers"
    width = _width_that_fits(plan, coherent)
    other = "cut it less" if width is None else f"max_width={width}"
    return f"choose labels with fewer gates between them, or {other}"


def _width_that_fits(plan: CutPlan, coherent: bool) -> int | None:
    """Return a width whose plan is small enough, None where none is known."""
    qubits = plan.num_qubits
    if qubits <= WIDEST:
        # Half and three quarters, before the whole: a narrower plan is nearer to what was asked.
        widths = [-(-qubits // 2), -(-3 * qubits // 4), qubits]
    else:
        widths = [WIDEST] if qubits <= _MOST_SOUGHT else []
    for width in widths:
        try:
            narrow = _best_placement(plan.program, max_width=width, wires=plan.wires)
        except CutError:  # it has markers of its own
            return None
        other = build_plan(
            plan.program, plan.binding, plan.terms, narrow, plan.joint_cuts, plan.wires
        )
        if _entries(other, coherent) <= MOST_VARIANTS:
            return width
    return None


def check_overhead(plan: CutPlan) -> None:
    """Raise `CutError` where the errors of terms that are drawn are beyond floats."""
    if plan.sampling_overhead > MOST_OVERHEAD:
        raise CutError(
            f"{counted(plan.num_cuts, 'cut')} (labels {label_text(plan.labels)}) have a sampling "
            "overhead of "
            f"{plan.sampling_overhead:.3g}, expected at most {MOST_OVERHEAD:.0g}, beyond which no "
            f"number of terms says anything; {_with_fewer_cuts(plan, False)}"
        )
