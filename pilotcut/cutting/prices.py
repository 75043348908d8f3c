"""Prices of cuts: what a gate, a run of gates, or a wire costs where it is cut.

For the search, and for forms of multi-controlled gates. Refuses to know where anything is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log, prod

import numpy as np

from pilotcut.circuits.program import Bare, Step
from pilotcut.cutting.basis import CutBasis
from pilotcut.cutting.blocks import crossings_of, interaction_angles
from pilotcut.cutting.crossing import Crossing
from pilotcut.cutting.gate_basis import basis_of_gate, basis_of_rzz
from pilotcut.cutting.rotation_groups import is_cheaper
from pilotcut.cutting.rotations import RZZ_FORMS
from pilotcut.cutting.turn_algebra import log_overhead_of
from pilotcut.cutting.wire_ways import cheapest_way
from pilotcut.cutting.wires import MOST_WIRES, basis_of_cut
from pilotcut.errors import CutError
from pilotcut.options import SEPARATE, WIRES

#: log gamma^2 of a gate that cannot be cut: more than all others together.
UNCUTTABLE = 1e4


@dataclass(frozen=True)
class Price:
    """Price of one cut.

    Parameters
    ----------
    log_overhead
        log gamma^2, at the worst angle where the gate's is free.
    operations
        Number of distinct local operations on either side.
    rank
        Number of branches.
    locals
        Number of local gates that stay behind on either side, less those that ride in its midst;
        an estimate where several bound gates are one cut.
    """

    log_overhead: float
    operations: tuple[int, int]
    rank: int
    locals: tuple[int, int] = (0, 0)


def prices_of_run(steps: Sequence[Step], sides: tuple[int, ...]) -> list[Price]:
    """Return the prices of a run's cuts, their sides in the order of `sides`."""
    gates = [step for step in steps if len(step.qubits) == 2]
    if len(gates) == 1:
        return [_turned(price_of(gates[0]), gates[0].qubits, sides)]
    if not any(step.is_free for step in steps):
        return _prices_of_bound(gates, steps, sides)
    prices = [
        _turned(_price_of_crossing(one), one.qubits, sides)
        for one in crossings_of(steps)
        if one.basis is not None
    ]
    # The gates between ride in the graph, and are among the local ones here.
    return [_without(prices[0], _between(steps, sides)), *prices[1:]] if prices else []


def _prices_of_bound(
    gates: Sequence[Step], steps: Sequence[Step], sides: tuple[int, ...]
) -> list[Price]:
    """Return the same without a basis, which takes a hundred times as long as its price."""
    apart = [_turned(price_of(gate), gate.qubits, sides) for gate in gates]
    angles = interaction_angles(steps)
    size = (1, 5, 22, 22)[len(angles)]
    joined = Price(log_overhead_of(angles), (size, size), (1, 2, 4, 4)[len(angles)], (2, 2))
    logs = sum(price.log_overhead for price in apart)
    operations = prod(price.operations[0] * price.operations[1] for price in apart)
    if not is_cheaper((joined.log_overhead, 2 * log(size)), (logs, log(operations))):
        return apart
    # One local gate stands before and one behind on either side, in place of those between.
    return [_without(joined, _between(steps, sides))] if angles else []


def _between(steps: Sequence[Step], sides: tuple[int, ...]) -> tuple[int, int]:
    """Return how many one-qubit steps a run has on either side."""
    alone = [step.qubits[0] for step in steps if len(step.qubits) == 1]
    return alone.count(sides[0]), alone.count(sides[1])


def _without(price: Price, gates: tuple[int, int]) -> Price:
    a, b = price.locals
    return replace(price, locals=(a - gates[0], b - gates[1]))


def _price_of_crossing(one: Crossing) -> Price:
    assert one.basis is not None
    around = [step.qubits[0] for step in (*one.before, *one.after)]
    a, b = one.qubits
    return _price(one.basis, (around.count(a), around.count(b)))


def _turned(price: Price, qubits: tuple[int, ...], sides: tuple[int, ...]) -> Price:
    """Return a price with the sides in the order of `sides`."""
    if qubits == sides:
        return price
    (a, b), (c, d) = price.operations, price.locals
    return Price(price.log_overhead, (b, a), price.rank, (d, c))


def turned(price: Price) -> Price:
    """Return a price with the two sides exchanged."""
    return _turned(price, (0, 1), (1, 0))


def price_of(step: Step) -> Price:
    """Return what it costs to cut a two-qubit step."""
    if step.condition is not None:
        return Price(UNCUTTABLE, (1, 1), 1)
    if step.is_free:
        return _free_price(step.name) if step.name in RZZ_FORMS else _opened_price(step)
    return _fixed_price(Bare(step))


@lru_cache(maxsize=len(WIRES) * MOST_WIRES)
def wire_price(wires: str = SEPARATE, number: int = 1) -> Price:
    """Return what it costs to cut parallel wires as one, as one of `pilotcut.options.WIRES` says.

    gamma^2 of one is 16 by Paulis (arXiv:1904.00102), 9 with communication (arXiv:2302.03366) and
    25 in randomised bases (arXiv:2207.14734); "auto" is what it is where the order suits. Of
    several see `pilotcut.cutting.wire_ways.log_overhead_of_wires`.
    """
    price = _price(basis_of_cut(cheapest_way(wires), number))
    return replace(price, rank=price.rank**number)


@lru_cache(maxsize=64)
def _free_price(name: str) -> Price:
    _, frames, rotations = RZZ_FORMS[name]
    left = [len(frames[s][0]) + len(frames[s][1]) for s in (0, 1)]
    for side, _, _ in rotations:
        left[side] += 1
    return _price(basis_of_rzz(), (left[0], left[1]))


def _opened_price(step: Step) -> Price:
    """Return the price of a free gate that is cut as the product of its rotations."""
    try:
        (one,) = crossings_of([step])
    except CutError:
        return Price(UNCUTTABLE, (1, 1), 1)
    return _price_of_crossing(one)


@lru_cache(maxsize=4096)
def _fixed_price(bare: Bare) -> Price:
    step = bare.step
    if step.name in RZZ_FORMS and len(step.params) == 1:
        (angle,) = step.params
        assert isinstance(angle, (int, float))
        sine = abs(np.sin(RZZ_FORMS[step.name][0] * angle))
        if sine > 1e-6:  # gamma = 1 + 2 |sin x| (arXiv:1909.07534); else fewer operations
            return Price(2 * log(1 + 2 * sine), (5, 5), 2)
    return _price_or_none(step)


def _price_or_none(step: Step) -> Price:
    try:
        return _price(basis_of_gate(step.gate_with(step.params)))
    except CutError:
        return Price(UNCUTTABLE, (1, 1), 1)


def _price(basis: CutBasis, left: tuple[int, int] = (0, 0)) -> Price:
    operations = (len(basis.operations[0]), len(basis.operations[1]))
    # Rounding may leave the gamma of a product of local gates below 1; no cut is paid for.
    return Price(max(0.0, log(basis.overhead)), operations, basis.rank, left)
