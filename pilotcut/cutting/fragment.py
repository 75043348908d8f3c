"""Fragments of a cut circuit, with the sites where cuts end and the templates of their circuits.

A `Fragment` is a small circuit with k sites. Operation ``i_s`` at every site s gives one
*variant*. Wires that are cut together end in the measurement of a basis, whose outcomes are
variants that one circuit measures at once: a *setting*. Elsewhere each variant is its own setting.
Settings that are parameter values of one circuit share a `Template`. Nothing here runs anything,
builds a Qiskit circuit, or knows the other fragments.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from math import prod

import numpy as np
from qiskit.quantum_info import PauliList

from pilotcut.circuits.program import Angle, Step
from pilotcut.cutting.basis import (
    BasisState,
    JointOperation,
    LocalOperation,
    Operation,
)
from pilotcut.cutting.gate_basis import basis_of_rzz
from pilotcut.cutting.liveness import Lifetimes, lifetimes
from pilotcut.io.large_numbers import whole
from pilotcut.options import counted


@dataclass(frozen=True)
class Site:
    """One end of a cut, on one wire of one fragment, or on several where cuts are joint.

    Parameters
    ----------
    axis
        Its place among the fragment's sites: which axis of the tensor is its.
    bond, side
        The bond that the site belongs to, and which of its two ends it is.
    wires
        The fragment's wires on which the operation stands.
    kind
        "gate", "end" or "start" (see `pilotcut.cutting.basis.KINDS`).
    operations
        The distinct local operations that may stand here.
    branches
        (R, 2, 2) complex: the operators of the coherent basis that may stand on each wire.
    """

    axis: int
    bond: int
    side: int
    wires: tuple[int, ...]
    kind: str
    operations: tuple[Operation, ...]
    branches: np.ndarray = field(repr=False, compare=False)

    @property
    def wire(self) -> int:
        """The wire of a site that has only one."""
        (wire,) = self.wires
        return wire

    @property
    def local_operations(self) -> list[LocalOperation]:
        """The operations of a site that has only one wire, else none."""
        return [op for op in self.operations if isinstance(op, LocalOperation)]

    @property
    def joint_operations(self) -> list[JointOperation]:
        """The operations of a joint cut's site, else none."""
        return [op for op in self.operations if isinstance(op, JointOperation)]

    @property
    def states(self) -> list[BasisState]:
        """The states that wires cut together end or start in, else none."""
        return [op for op in self.operations if isinstance(op, BasisState)]

    @property
    def outcomes(self) -> int:
        """Number of operations that one circuit measures at once, as its outcomes."""
        return 2 ** len(self.wires) if self.kind == "end" and self.states else 1

    @property
    def rank(self) -> int:
        """Number of branches of the coherent basis."""
        return int(len(self.branches) ** len(self.wires))


@dataclass(frozen=True)
class Template:
    """The subexperiments of a fragment that are parameter values of one circuit.

    Parameters
    ----------
    group
        Which group of sub-observables is measured.
    measured
        For each site, which of its wires a signed measurement reads, as bits; 0 for none. Of
        wires cut together, which of them the basis entangles (`BasisState.measured`).
    choices
        Integer array (settings, sites): the operation at each site, of outcomes the first.
    variants
        Integer array (settings,): their places among the fragment's settings.
    """

    group: int
    measured: tuple[int, ...]
    choices: np.ndarray
    variants: np.ndarray


@dataclass(frozen=True)
class Fragment:
    """A piece of the circuit with open sites.

    Parameters
    ----------
    index, label
        Its place in the plan, and its partition label.
    qubits
        The circuit's qubit behind each of the fragment's wires (a cut wire or a reset splits
        one qubit over several); -1 for an ancilla of multi-controlled gates.
    steps
        Gates (`Step`, on wires, angles counted in `angles`) and sites in order.
    angles
        The free angles as functions of the plan's slots.
    observables
        The distinct sub-observables, in Qiskit's little-endian order over the wires.
    groups
        Indices of sub-observables that one circuit measures together (qubit-wise
        commuting); every index stands in exactly one group.
    listed
        Integer array (variants, sites): the only variants that are wanted, or None for all.
        The tensor then has one axis over them instead of one a site.
    """

    index: int
    label: str
    qubits: tuple[int, ...]
    steps: tuple[Step | Site, ...]
    angles: tuple[Angle, ...]
    observables: PauliList
    groups: tuple[tuple[int, ...], ...]
    # Arrays stay out of ==, as the truth of two compared ones is ambiguous.
    listed: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def num_wires(self) -> int:
        """Number of wires, whenever they are alive, ancillas among them."""
        return len(self.qubits)

    @property
    def circuit_qubits(self) -> list[int]:
        """The circuit's qubits that the fragment has a wire of, in order."""
        return sorted({qubit for qubit in self.qubits if qubit >= 0})

    @cached_property
    def width(self) -> int:
        """Number of qubits it needs: of wires that are alive at the same time, 1 at least."""
        return max(1, self.lifetimes().peak)

    @cached_property
    def num_values(self) -> int:
        """Number of values that are measured in mid-circuit, signs of cuts apart."""
        return sum(isinstance(step, Step) and step.writes is not None for step in self.steps)

    def lifetimes(self, kept: np.ndarray | None = None) -> Lifetimes:
        """Return when each wire begins and ends.

        Parameters
        ----------
        kept
            Boolean (wires,): those that live to the end; default those that are observed.
        """
        if kept is None:
            kept = (self.observables.x | self.observables.z).any(axis=0)
        return lifetimes([wires_of(step) for step in self.steps], kept)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The sites, in the order of the tensor's axes."""
        return tuple(step for step in self.steps if isinstance(step, Site))

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Number of local operations at each site."""
        return tuple(len(site.operations) for site in self.sites)

    @property
    def num_variants(self) -> int:
        """Number of ways to fill the sites, or of those that are listed."""
        return prod(self.site_shape) if self.listed is None else len(self.listed)

    @property
    def variant_shape(self) -> tuple[int, ...]:
        """Axes of the tensor behind those of batch and sub-observable."""
        return self.site_shape if self.listed is None else (len(self.listed),)

    def listing(self, variants: np.ndarray | None) -> Fragment:
        """Return the fragment with these variants only, (variants, sites), or with all."""
        return replace(self, listed=variants)

    def separated(self) -> Fragment:
        """Return the fragment with a site of its own for each gate of a joint cut."""
        # The coherent basis gains nothing from joint cuts: R branches for each gate already
        # multiply to the rank of all, so the exact and the sampled mode take the gates one by one.
        rzz = basis_of_rzz()
        steps: list[Step | Site] = []
        axes = count()
        for step in self.steps:
            if not isinstance(step, Site):
                steps.append(step)
                continue
            operations = rzz.operations[step.side] if step.joint_operations else step.operations
            steps += [
                replace(step, axis=next(axes), wires=(wire,), operations=operations)
                for wire in step.wires
            ]
        return replace(self, steps=tuple(steps))

    @cached_property
    def choices(self) -> np.ndarray:
        """The operation at each site of every variant, (variants, sites)."""
        if self.listed is not None:
            return self.listed
        # In C order: what is measured for the variants in turn reshapes into the tensor's axes.
        return np.indices(self.site_shape).reshape(len(self.sites), self.num_variants).T

    @property
    def outcomes(self) -> int:
        """Number of variants that a setting measures."""
        return prod(site.outcomes for site in self.sites)

    @property
    def num_settings(self) -> int:
        """Number of settings."""
        return self.num_variants // self.outcomes

    @cached_property
    def outcome_variants(self) -> np.ndarray:
        """The variants of each setting, (settings, outcomes); the last site's bits are lowest."""
        if self.outcomes == 1:
            return np.arange(self.num_variants)[:, None]
        assert self.listed is None, "terms are drawn from plans that cut wires one by one"
        split = [size for site in self.sites for size in _split(site)]
        order = [*range(0, len(split), 2), *range(1, len(split), 2)]
        grid = np.arange(self.num_variants).reshape(split).transpose(order)
        return grid.reshape(self.num_settings, self.outcomes)

    @cached_property
    def entries(self) -> tuple[np.ndarray, ...]:
        """For each group, what its circuits estimate together, (settings, members x outcomes).

        Places in the flattened (observables, variants) of a tensor.
        """
        some = self.outcome_variants[:, None, :]
        return tuple(
            (np.array(members)[:, None] * self.num_variants + some).reshape(len(some), -1)
            for members in self.groups
        )

    @cached_property
    def _first_choices(self) -> np.ndarray:
        """The operation at each site of every setting, of outcomes the first, (settings, sites)."""
        return self.choices[self.outcome_variants[:, 0]]

    @cached_property
    def _measured(self) -> np.ndarray:
        """`Operation.measured` of each setting, (settings, sites)."""
        columns = [
            np.array([op.measured for op in site.operations], dtype=int)[some]
            for site, some in zip(self.sites, self._first_choices.T, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((self.num_settings, 0), int)

    @cached_property
    def _quiet(self) -> np.ndarray:
        """Boolean (settings,): whether nothing is measured but the observables."""
        if self.outcomes > 1:
            return np.zeros(self.num_settings, dtype=bool)
        signed = [not site.states for site in self.sites]
        return np.asarray(~(self._measured[:, signed] != 0).any(axis=1))

    @cached_property
    def trivial(self) -> np.ndarray:
        """Boolean (observables, *variant_shape): entries that are 1 without running anything.

        An identity sub-observable behind trace-preserving operations only: nothing is
        measured, so the expectation is exactly 1.
        """
        # A signed measurement is never trivial: even without an observable its sign has to be seen.
        # Nor is an outcome, whose probability it is that is estimated.
        quiet = np.repeat(self._quiet, self.outcomes).reshape(self.variant_shape)
        identity = ~(self.observables.x | self.observables.z).any(axis=1)
        return identity.reshape(-1, *[1] * quiet.ndim) & quiet

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """The circuits to build: one for each group and each pattern of measurements.

        Unitary operations of a site are parameter values of one gate, measuring ones of
        another circuit. What is trivially 1 has no template.
        """
        patterns, which = np.unique(self._measured, axis=0, return_inverse=True)
        places = [np.flatnonzero(which.reshape(-1) == k) for k in range(len(patterns))]
        return tuple(
            Template(group, tuple(pattern.tolist()), self._first_choices[some], some)
            for group, members in enumerate(self.groups)
            for pattern, where in zip(patterns, places, strict=True)
            if len(some := where if self._observes(members) else where[~self._quiet[where]])
        )

    def _observes(self, members: tuple[int, ...]) -> bool:
        paulis = self.observables[list(members)]
        return bool(paulis.x.any() or paulis.z.any())

    @cached_property
    def num_subexperiments(self) -> int:
        """Number of circuits that one parameter set needs."""
        if self.listed is not None:
            return sum(len(template.variants) for template in self.templates)
        # Counted, not listed: those of 30 cuts would fill any memory.
        quiet = prod(_quiet_operations(site) for site in self.sites)
        return sum(
            self.num_settings - (0 if self._observes(members) else quiet) for members in self.groups
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides the fragment's expectations, parameter values apart.

        Which variants are listed is not part of it.
        """
        parts = [
            [s.axis if isinstance(s, Site) else s.key for s in self.steps],
            # Branches too: sites of a CX and a CZ have equal operations, and a cache that looked at
            # these alone gave one of them the other's exact tensor.
            [(s.wires, s.kind, s.operations, s.branches.tobytes()) for s in self.sites],
            (len(self.angles), self.num_wires, self.observables.to_labels(), self.groups),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def angle_values(self, slots: np.ndarray) -> np.ndarray:
        """Return the fragment's angles (batch, angles) for slot values (batch, slots)."""
        places, scales, offsets = self.angle_arrays
        return slots[:, places] * scales + offsets

    @cached_property
    def angle_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slots, scales and offsets of the angles, (angles,) each."""
        places = np.array([angle.slot for angle in self.angles], dtype=int)
        rest = np.array([(angle.scale, angle.offset) for angle in self.angles]).reshape(-1, 2)
        return places, rest[:, 0], rest[:, 1]

    @cached_property
    def has_own_slots(self) -> bool:
        """Whether each angle is of another slot."""
        return len({angle.slot for angle in self.angles}) == len(self.angles)

    def __repr__(self) -> str:
        return (
            f"Fragment({self.label}: {counted(self.width, 'qubit')}, "
            f"{counted(len(self.sites), 'site')}, "
            f"{whole(self.num_variants)} variants, "
            f"{counted(len(self.observables), 'sub-observable')})"
        )


def wires_of(step: Step | Site) -> tuple[int, ...]:
    """Return the fragment's wires that a gate or a site acts on."""
    return step.wires if isinstance(step, Site) else step.qubits


def _split(site: Site) -> tuple[int, int]:
    """Return how many settings a site has, and outcomes of each."""
    return len(site.operations) // site.outcomes, site.outcomes


def _quiet_operations(site: Site) -> int:
    """Return how many operations of a site measure nothing."""
    if site.states:
        return 0 if site.kind == "end" else len(site.states)
    return sum(not op.measured for op in site.operations)


@dataclass(frozen=True)
class LayoutItem:
    """Place of one gate of the circuit, or of a cut of one of its wires, among the fragments.

    Parameters
    ----------
    name
        Name of the gate, with a "?" behind it under classical control, or "cut_wire".
    qubits
        The circuit's qubits; twice the same one where a wire is cut.
    fragments
        The fragment at each of them; of a wire that is cut, those before and behind the cut.
    bond
        The bond that stands for the gate or wire, None where it is not cut.
    step
        For a multi-controlled gate, or a part of one: its place among the circuit's steps.
    """

    name: str
    qubits: tuple[int, ...]
    fragments: tuple[int, ...]
    bond: int | None
    step: int | None = None
