"""Walks over a program: the one whose groups of wires make no fragment wider and that can be run.

Owns which of several walks a plan is built from; how one is made, `fragmenter` knows.
"""

from __future__ import annotations

from math import prod

from qiskit.quantum_info import PauliList

from pilotcut.circuits.program import Program
from pilotcut.cutting.fragmenter import Fragmenter
from pilotcut.cutting.placement import Placement
from pilotcut.options import AUTO, RANDOMISED, SEPARATE

#: Plans with more variants are not run: they would not end, and often not fit in memory.
MOST_VARIANTS = 10**6


def walked(
    program: Program,
    terms: PauliList,
    requested: Placement | None,
    joint_cuts: bool,
    wires: str,
) -> Fragmenter:
    """Return the walk over a program that a plan is built from.

    Wires are cut together where no fragment is wider for it. Left to us, they are cut the cheapest
    way whose variants can be run, and the cheapest of all if none can.
    """
    found = _narrow(program, terms, requested, joint_cuts, wires)
    if wires != AUTO or _variants(found) <= MOST_VARIANTS:
        return found
    # States that are prepared with communication are more than Paulis are.
    for other in (SEPARATE, RANDOMISED):
        again = _narrow(program, terms, requested, joint_cuts, other)
        if _variants(again) <= MOST_VARIANTS:
            return again
    return found


def _narrow(
    program: Program,
    terms: PauliList,
    requested: Placement | None,
    joint_cuts: bool,
    wires: str,
) -> Fragmenter:
    """Return the walk with wires cut together, or one by one where it has a narrower fragment."""
    found = Fragmenter(program, terms, requested, joint_cuts, wires)
    if all(bond.gates == 1 or not bond.way for bond in found.bonds()):
        return found
    # Wires that are cut together end at the same time, where one might have left its qubit to
    # another: the width that was asked for goes before.
    width = max(fragment.width for fragment in found.fragments()[0])
    if requested is not None and requested.max_width is not None and width <= requested.max_width:
        return found
    one_by_one = Fragmenter(program, terms, requested, joint_cuts, wires, together=False)
    least = max(fragment.width for fragment in one_by_one.fragments()[0])
    return found if width <= least else one_by_one


def _variants(walk: Fragmenter) -> int:
    """Return how many variants all fragments have."""
    sizes: dict[int, list[int]] = {}
    for bond in walk.bonds():
        for (fragment, _), size in zip(bond.ends, bond.coefficients.shape[-2:], strict=True):
            sizes.setdefault(fragment, []).append(size)
    return sum(map(prod, sizes.values()))
