"""Parameter-shift rules of gates: derivatives of expectations as sums of shifted ones.

References
----------
Wierichs et al., General parameter-shift rules for quantum gradients, arXiv:2107.12390.
"""

from __future__ import annotations

from collections.abc import Set
from math import pi, sqrt

from pilotcut.circuits.program import Angle
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.errors import UserError

#: A shift rule: pairs (shift in radians, coefficient).
Rule = tuple[tuple[float, float], ...]

# Named by the frequencies of the expectation in the angle: differences of the eigenvalues of the
# gate's generator. It is 1 for a Pauli rotation, 1/2 and 1 for a controlled one, and 1 and 2 for an
# angle that turns the axis of a rotation.
_ONE: Rule = ((pi / 2, 0.5), (-pi / 2, -0.5))
_PLUS, _MINUS = (sqrt(2) + 1) / (4 * sqrt(2)), (sqrt(2) - 1) / (4 * sqrt(2))
_HALF_AND_ONE: Rule = (
    (pi / 2, _PLUS),
    (-pi / 2, -_PLUS),
    (3 * pi / 2, -_MINUS),
    (-3 * pi / 2, _MINUS),
)
_ONE_AND_TWO: Rule = tuple((shift / 2, 2 * weight) for shift, weight in _HALF_AND_ONE)

# Gate -> the rule of each of its parameters.
_RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(("rx", "ry", "rz", "p", "u1", "rxx", "ryy", "rzz", "rzx"), (_ONE,)),
    **dict.fromkeys(("cp", "cu1"), (_ONE,)),
    **dict.fromkeys(("u", "u3"), (_ONE, _ONE, _ONE)),
    "u2": (_ONE, _ONE),
    **dict.fromkeys(("crx", "cry", "crz"), (_HALF_AND_ONE,)),
    "cu3": (_HALF_AND_ONE, _ONE, _ONE),
    "cu": (_HALF_AND_ONE, _ONE, _ONE, _ONE),
    "r": (_ONE, _ONE_AND_TWO),
    **dict.fromkeys(("xx_plus_yy", "xx_minus_yy"), (_HALF_AND_ONE, _ONE_AND_TWO)),
}


def rules_of(fragment: Fragment) -> list[Rule]:
    """Return the shift rule of each of the fragment's angles.

    Raises
    ------
    UserError
        If a gate with a free angle has none.
    """
    rules: dict[int, Rule] = {}
    for step in fragment.steps:
        if isinstance(step, Site):
            continue
        for position, param in enumerate(step.params):
            if isinstance(param, Angle):
                if step.name not in _RULES:
                    raise UserError(
                        f"gate '{step.name}' has a free parameter and no known shift rule, "
                        f"expected one of {', '.join(sorted(_RULES))}; decompose it first"
                    )
                rules[param.slot] = _RULES[step.name][position]
    return [rules[k] for k in range(len(fragment.angles))]


def shifts_of(fragment: Fragment, slots: Set[int]) -> int:
    """Return how many shifted evaluations of a fragment its derivatives by some slots take."""
    rules = zip(fragment.angles, rules_of(fragment), strict=True)
    return sum(len(rule) for angle, rule in rules if angle.slot in slots)
