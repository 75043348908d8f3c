"""Seating: which qubit of a circuit each wire of a fragment is on, and where signs are measured.

A wire may have a qubit to itself, or take one that an earlier wire has left. Simulators do best
with the first while there are few wires: nothing is reset or measured in mid-circuit, so that all
shots come from one state. Nothing here builds a circuit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotcut.circuits.program import Step
from pilotcut.cutting.fragment import Fragment, Site, Template, wires_of
from pilotcut.cutting.liveness import shared

#: Qubits up to which wires never share them on a simulator. Measured with 1,024 shots of 3 qubits
#: that are reset: 12 qubits 8.0 ms, in a density matrix of 3 qubits 7.4 ms, shot by shot 58 ms;
#: with 20 qubits 263, 9 and 77 ms. Of 6 qubits, with 15: 27, 14 and 141 ms.
FEW_QUBITS = 12

#: Logarithm of how many times longer a circuit takes where every shot is simulated alone.
SHOT_BITS = 12


@dataclass(frozen=True)
class Seating:
    """Places of a fragment's wires in a template's circuit.

    Parameters
    ----------
    qubit
        Integer array (wires,): the qubit of each wire.
    reused, handed_on
        Boolean arrays (wires,): whether another wire is on the qubit before, or afterwards.
    wire_qubits, ancillas
        Qubits of wires, and those behind them that take copies of signs.
    mid_circuit
        Whether signs are measured where they are read; parities of joint cuts take an ancilla.
    mixed
        Whether it is simulated in a density matrix.
    value_qubits
        The qubit that holds each value which the circuit measures in mid-circuit, where that is
        deferred; None where it is measured as it stands.
    """

    qubit: np.ndarray
    reused: np.ndarray
    handed_on: np.ndarray
    wire_qubits: int
    ancillas: int
    mid_circuit: bool = False
    mixed: bool = False
    value_qubits: tuple[int, ...] | None = None

    @property
    def qubits(self) -> int:
        """Number of qubits of the circuit."""
        return self.wire_qubits + self.ancillas

    @property
    def state_bits(self) -> int:
        """Logarithm to base 2 of what simulating all shots costs, in amplitudes a gate."""
        if self.mixed:
            return 2 * self.qubits
        alone = self.mid_circuit or bool(self.reused.any())
        return self.qubits + (SHOT_BITS if alone else 0)

    @classmethod
    def apart(cls, fragment: Fragment, template: Template, *, mid_circuit: bool = False) -> Seating:
        """Return a qubit for every wire; all bits are measured at the end, or where they arise."""
        wires = fragment.num_wires
        never = np.zeros(wires, dtype=bool)
        ancillas = (_joint if mid_circuit else _copied)(fragment, template)
        held = None if mid_circuit else _held_values(fragment, template, wires + ancillas)
        ancillas += sum(qubit >= wires for qubit in held or ())
        return cls(np.arange(wires), never, never, wires, ancillas, mid_circuit, value_qubits=held)

    @classmethod
    def mixed_state(cls, fragment: Fragment, template: Template) -> Seating:
        """Return few qubits, reset for the next wire, with all bits measured at the end."""
        kept = _support(fragment, template)
        for site, m, place in _signs(fragment, template):
            # Until they are measured at the end.
            kept[list(site.wires)] |= (bool(m) and place) or site.outcomes > 1
        return cls._shared(fragment, kept, 0, _copied(fragment, template), mixed=True)

    @classmethod
    def shot_by_shot(cls, fragment: Fragment, template: Template, most: int = 0) -> Seating:
        """Return what a device does: qubits are reset, and signs measured where they are read.

        Up to `most` qubits of wires none is reset, except where the circuit itself does so.
        """
        kept, ancillas = _support(fragment, template), _joint(fragment, template)
        return cls._shared(fragment, kept, most, ancillas, mid_circuit=True)

    @classmethod
    def _shared(
        cls,
        fragment: Fragment,
        kept: np.ndarray,
        most: int,
        ancillas: int,
        *,
        mid_circuit: bool = False,
        mixed: bool = False,
    ) -> Seating:
        found = shared(fragment.lifetimes(kept), fragment.qubits, most)
        return cls(
            found.qubit,
            found.reused,
            found.handed_on,
            found.count,
            ancillas,
            mid_circuit,
            mixed,
        )


def simulated(
    fragment: Fragment, template: Template, *, most: int, automatic: bool = True
) -> Seating:
    """Return the seating that a simulator runs fastest.

    Parameters
    ----------
    fragment, template
        Of the circuit.
    most
        Qubits that it simulates at most.
    automatic
        Whether the simulator may choose a density matrix.
    """
    apart = Seating.apart(fragment, template)
    whole = fragment.width == fragment.num_wires and not fragment.num_values
    if apart.qubits <= FEW_QUBITS or whole:
        return apart
    alone = Seating.shot_by_shot(fragment, template)
    if not automatic:
        return alone if apart.qubits > most else apart
    ways = [apart, alone]
    if not fragment.num_values:  # what it measures itself, it measures shot by shot there too
        ways.append(Seating.mixed_state(fragment, template))
    return min(ways, key=lambda way: way.state_bits)


def measured_in_place(fragment: Fragment, support: np.ndarray) -> list[bool]:
    """Return for each site whether its wire ends there and is not observed.

    `support` (wires,) says which wires are; elsewhere a measurement takes an ancilla.
    """
    last = {wire: place for place, step in enumerate(fragment.steps) for wire in wires_of(step)}
    places = [k for k, step in enumerate(fragment.steps) if isinstance(step, Site)]
    return [
        # The bit of an observed wire is the observable's: a sign there needs another.
        len(site.wires) == 1 and last[site.wire] == places[k] and not support[site.wire]
        for k, site in enumerate(fragment.sites)
    ]


def _support(fragment: Fragment, template: Template) -> np.ndarray:
    members = fragment.observables[list(fragment.groups[template.group])]
    return members.x.any(axis=0) | members.z.any(axis=0)


def _signs(fragment: Fragment, template: Template) -> list[tuple[Site, int, bool]]:
    """Return each site with what its template measures there, and whether that is in place.

    Wires cut together have outcomes, and no signs.
    """
    in_place = measured_in_place(fragment, _support(fragment, template))
    some = [0 if s.states else m for s, m in zip(fragment.sites, template.measured, strict=True)]
    return list(zip(fragment.sites, some, in_place, strict=True))


def _copied(fragment: Fragment, template: Template) -> int:
    """Return how many signs are copied to ancillas where all bits are measured at the end."""
    return sum(bool(m) and not place for _, m, place in _signs(fragment, template))


def _joint(fragment: Fragment, template: Template) -> int:
    """Return how many parities of joint cuts are copied to ancillas."""
    return sum(bool(m) and len(site.wires) > 1 for site, m, _ in _signs(fragment, template))


def _held_values(fragment: Fragment, template: Template, free: int) -> tuple[int, ...] | None:
    """Return the qubits of measured values if each wire has its own: a wire's, or one from `free`.

    A wire on which nothing follows and that is not observed holds its value itself.
    """
    if not fragment.num_values:
        return None
    last = fragment.lifetimes(_support(fragment, template)).last
    held = []
    for place, step in enumerate(fragment.steps):
        if not isinstance(step, Step) or step.writes is None:
            continue
        (wire,) = step.qubits
        if step.condition is None and last[wire] == place:
            held.append(wire)
        else:
            held.append(free)
            free += 1
    return tuple(held)
