"""Multi-controlled gates across a cut: exact forms of one gate, their prices, and the cheapest.

A gate with closed controls C and the eigenvalues ``e^{ia}, e^{ib}`` on its target t puts phases on
projectors "all ones": ``exp(i a P_C) exp(i (b-a) P_C P_t)`` in the eigenbasis of the target. A
projector that lies on both sides of a cut is the product of one of either side, so it takes one
cut of ``CP(b-a)``, gamma = 1 + 2 |sin((b-a)/2)|, between two wires that hold them: the qubit
itself where a side has one, else an ancilla into which AND is computed, and from which it is
uncomputed. The ancilla is in |0> again then, and the same wire serves the next gate. With

    P_1 ... P_m = 2^(1-m) sum_S (-1)^(|S|+1) P_{parity of S}

over the sets S that are not empty, a side does without an ancilla, at 2^m - 1 cuts of smaller
angles. Over k labels the AND is carried from label to label by CX, which makes 2 k - 3 cuts.
A qubit may also visit another label, over a wire cut there and one back.

References
----------
arXiv:2603.26278 (multi-qubit gates are decomposed once the cut is known); Mitarai and Fujii,
arXiv:1909.07534 (gamma of CP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations, product
from math import pi

import numpy as np
from qiskit.circuit import Instruction
from qiskit.circuit.library import CXGate, HGate, SdgGate, UGate, XGate

from pilotcut.circuits.controlled_gates import swaps, target_of
from pilotcut.circuits.program import Angle, Bare, Step, parts_of
from pilotcut.cutting.basis import u_angles
from pilotcut.cutting.controlled_draft import Draft, Form, Phase

#: Qubits on a side up to which it is looked at without an ancilla: four would have 15 cuts.
_MOST_PARITY = 3

#: Labels up to which all orders of carrying an AND are looked at.
_MOST_ORDERED = 4

_ZERO = 1e-9


def cheapest_form(step: Step, sides: Sequence[int], room: Sequence[float]) -> Form:
    """Return the form of a multi-controlled step with the least gamma, then the fewest variants.

    Parameters
    ----------
    step
        The gate; on which qubits it stands does not matter.
    sides
        For each of its qubits the side it lies on, numbered by first appearance.
    room
        How many wires beyond the gate's own there may be on each side.
    """
    fitting = (
        form
        for form in forms_of(step, sides)
        if all(form.further_wires(side) <= most for side, most in enumerate(room))
    )
    return min(fitting, key=_rank)


def _rank(form: Form) -> tuple[float, int, int, int]:
    return (round(form.log_overhead, 9), form.variants, len(form.sides), len(form.steps))


def forms_of(step: Step, sides: Sequence[int]) -> tuple[Form, ...]:
    """Return the forms of a step across sides; the last is the gate's own definition, opened.

    A free angle is slot 0 in them, whatever it is in the step.
    """
    return _forms(Bare(step), tuple(sides))


@lru_cache(maxsize=4096)
def _forms(bare: Bare, sides: tuple[int, ...]) -> tuple[Form, ...]:
    step = bare.step
    own = Draft(sides)
    own.add(*parts_of(step))
    drafts = []
    for recipe in _recipes(step, sides):
        drafts.append(Draft(sides))
        recipe(drafts[-1])
    return (*(draft.form() for draft in drafts), replace(own.form(), is_definition=True))


#: What writes one form into a draft.
_Recipe = Callable[[Draft], None]


# -- recipes -----------------------------------------------------------------------------


def _recipes(step: Step, sides: Sequence[int]) -> Iterator[_Recipe]:
    *controls, last = range(len(sides))
    if swaps(step.gate):
        yield from _of_swap(step, sides, controls[:-1], controls[-1], last)
    else:
        yield from _of_controlled(sides, controls, last, _target(step))


@dataclass(frozen=True)
class _Target:
    """What happens to a target: ``e^{ia}`` and ``e^{ib}`` on 0 and 1 behind the gates `frame`."""

    frame: tuple[Instruction, ...]
    low: Phase
    high: Phase


_X_TARGET = _Target((HGate(),), 0.0, pi)
_FRAMES: dict[str, tuple[Instruction, ...]] = {
    "rx": (HGate(),),
    "ry": (SdgGate(), HGate()),
    "rz": (),
    "p": (),
    "u1": (),
}


def _target(step: Step) -> _Target:
    gate = target_of(step.gate)
    if gate.name == "x":
        return _X_TARGET
    if gate.name in _FRAMES:
        (angle,) = step.params
        assert isinstance(angle, (float, Angle))
        half = gate.name.startswith("r")
        low, high = (_times(angle, -0.5), _times(angle, 0.5)) if half else (0.0, angle)
        return _Target(_FRAMES[gate.name], low, high)
    bound = gate.base_class(*step.params) if step.params else gate
    matrix = np.asarray(bound.to_matrix(), dtype=complex)
    # The Hermitian part of i V without its phase has V's eigenvectors, orthogonal in all cases.
    special = 1j * matrix / np.sqrt(np.linalg.det(matrix))
    _, vectors = np.linalg.eigh((special + special.conj().T) / 2)
    low, high = np.angle(np.diag(vectors.conj().T @ matrix @ vectors))
    diagonal = np.allclose(np.abs(vectors), np.abs(np.diag(np.diag(vectors))), atol=1e-12)
    frame = () if diagonal else (UGate(*u_angles(vectors.conj().T)),)
    return _Target(frame, float(low), float(high))


def _times(angle: Phase, factor: float) -> Phase:
    return angle.scaled(factor) if isinstance(angle, Angle) else factor * angle


def _minus(one: Phase, other: Phase) -> Phase:
    if isinstance(one, Angle) and isinstance(other, Angle):
        return Angle(one.slot, one.scale - other.scale, one.offset - other.offset)
    if isinstance(one, Angle) or isinstance(other, Angle):
        return one if isinstance(one, Angle) else _times(other, -1.0)  # beside an angle of 0
    return one - other


#: A phase on a projector: the target's part in it, None for none, and the angle.
_Term = tuple[int | None, Phase]


def _terms(target: _Target) -> Iterator[list[_Term]]:
    """Yield the ways to write the target's two phases, with controls, as phases on projectors."""
    low, high = target.low, target.high
    for terms in (
        [(None, low), (1, _minus(high, low))],
        [(None, high), (0, _minus(low, high))],
        [(0, low), (1, high)],
    ):
        # A whole turn is no phase.
        yield [(part, x) for part, x in terms if isinstance(x, Angle) or abs(_turn(x)) > _ZERO]


def _turn(angle: float) -> float:
    return (angle + pi) % (2 * pi) - pi


def _of_controlled(
    sides: Sequence[int], controls: Sequence[int], target: int, what: _Target
) -> Iterator[_Recipe]:
    """Yield recipes of a target under controls, which lie on two sides or more together."""
    groups: dict[int, list[int]] = {}
    for place in (*controls, target):
        groups.setdefault(sides[place], []).append(place)
    for terms in _terms(what):
        if not terms:  # no AND has to be computed, nor carried to another side
            yield lambda draft: None
            return
        # A phase on one projector has no target: the AND may end on any side.
        alike = [part for part, _ in terms] == [1]
        for last in groups if alike else [sides[target]]:
            for order in _orders([side for side in groups if side != last]):
                carried = [groups[side] for side in order]
                ends = [(_places(groups[last], target, part), part, x) for part, x in terms]
                yield from _carried(carried, ends, target, what.frame)


def _orders(sides: list[int]) -> list[tuple[int, ...]]:
    return list(permutations(sides)) if len(sides) < _MOST_ORDERED else [tuple(sides)]


def _places(group: list[int], target: int, part: int | None) -> list[int]:
    return [place for place in group if place != target or part is not None]


def _carried(
    groups: list[list[int]],
    ends: list[tuple[list[int], int | None, Phase]],
    target: int,
    frame: tuple[Instruction, ...],
) -> Iterator[_Recipe]:
    """Yield recipes that carry an AND through groups and put phases on it and some places."""
    sizes = (len(groups[-1]) + (len(groups) > 1), max((len(end[0]) for end in ends), default=0))
    choices = [(False, True) if 1 < size <= _MOST_PARITY else (False,) for size in sizes]
    for here, there in product(*choices):

        def recipe(draft: Draft, here: bool = here, there: bool = there) -> None:
            with (
                draft.around(*((gate, target) for gate in frame)),
                draft.carried(groups) as ones,
            ):
                for part, weight in draft.parts(ones, here):
                    with part as wire:
                        for places, bit, angle in ends:
                            _end(draft, wire, places, target, bit, _times(angle, weight), there)

        yield recipe


def _end(
    draft: Draft,
    wire: int,
    places: list[int],
    target: int,
    bit: int | None,
    angle: Phase,
    by_parity: bool,
) -> None:
    """Put a phase on a wire and some places of the last side, with the target's bit as given."""
    if not places:
        draft.phase(angle, wire)
        return
    with draft.around(*([(XGate(), target)] if bit == 0 else [])):
        for part, weight in draft.parts(places, by_parity and len(places) > 1):
            with part as other:
                draft.phase(_times(angle, weight), wire, other)


def _of_swap(
    step: Step, sides: Sequence[int], controls: list[int], x: int, y: int
) -> Iterator[_Recipe]:
    """Yield recipes of a controlled SWAP: ``CX(y, x) MCX(controls, x; y) CX(y, x)``."""
    for one, other in ((x, y), (y, x)):
        yield from map(
            _between(one, other), _of_controlled(sides, [*controls, one], other, _X_TARGET)
        )
        if sides[one] == sides[other]:
            return
        # `other` visits the side of `one`, as the first wire behind the gate's own.
        home, visitor = sides[one], len(sides)
        if all(sides[control] == home for control in controls):
            inner = [_whole(step, (*controls, one, visitor))]
        else:
            there = [*sides, home]
            recipes = _of_controlled(there, [*controls, one], visitor, _X_TARGET)
            inner = list(map(_between(one, visitor), recipes))
        yield from (_visit(other, home, recipe) for recipe in inner)


def _whole(step: Step, places: Sequence[int]) -> _Recipe:
    return lambda draft: draft.add(*(part.placed(places, None) for part in parts_of(step)))


def _between(one: int, other: int) -> Callable[[_Recipe], _Recipe]:
    """Return what puts a recipe between two ``CX(other, one)``."""

    def wrap(recipe: _Recipe) -> _Recipe:
        def wrapped(draft: Draft) -> None:
            draft.gate(CXGate(), other, one)
            recipe(draft)
            draft.gate(CXGate(), other, one)

        return wrapped

    return wrap


def _visit(place: int, home: int, recipe: _Recipe) -> _Recipe:
    def visiting(draft: Draft) -> None:
        with draft.visiting(place, home):
            recipe(draft)

    return visiting
