"""Parameter-shift rule of a fleet's models: which circuits a gradient consists of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Operation

from pilotcut.circuits.instructions import is_standard
from pilotcut.errors import UserError
from pilotcut.training.model import Model

_PLUS, _MINUS = (np.sqrt(2) + 1) / (4 * np.sqrt(2)), (np.sqrt(2) - 1) / (4 * np.sqrt(2))

#: Shifts and coefficients for frequency 1, and for 1/2 and 1 (arXiv:2107.12390).
_TWO_TERM = ((np.pi / 2, 0.5), (-np.pi / 2, -0.5))
_FOUR_TERM = (
    (np.pi / 2, _PLUS),
    (-np.pi / 2, -_PLUS),
    (3 * np.pi / 2, -_MINUS),
    (-3 * np.pi / 2, _MINUS),
)
_RULES: dict[str, tuple[tuple[float, float], ...]] = dict.fromkeys(
    ("rx", "ry", "rz", "rxx", "ryy", "rzz", "rzx", "p"), _TWO_TERM
)
_RULES |= dict.fromkeys(("crx", "cry", "crz"), _FOUR_TERM)


@dataclass(frozen=True)
class Shifts:
    """The circuits of a gradient: the first at the weights, then one for each shift.

    Parameters
    ----------
    offsets
        What is added to the weights, (circuits, weights), in radians.
    coefficients
        d value / d weights = coefficients.T @ values, (circuits, weights).
    """

    offsets: np.ndarray
    coefficients: np.ndarray

    @property
    def circuits(self) -> int:
        """Number of circuits a sample."""
        return len(self.offsets)

    @classmethod
    def of(cls, model: Model) -> Shifts:
        """Return the shifts of a model whose weights are plain angles of a gate each.

        Raises
        ------
        UserError
            For a weight that is not, or of a gate without a rule here.
        """
        rules = [_rule(model, weight) for weight in range(len(model.weights))]
        rows = [(w, shift, c) for w, rule in enumerate(rules) for shift, c in rule]
        offsets, coefficients = np.zeros((2, 1 + len(rows), len(rules)))
        for row, (weight, shift, coefficient) in enumerate(rows, start=1):
            offsets[row, weight], coefficients[row, weight] = shift, coefficient
        return cls(offsets, coefficients)


def _rule(model: Model, weight: int) -> tuple[tuple[float, float], ...]:
    parameter = model.weights[weight]
    places = [
        instruction.operation
        for instruction in model.circuit.data
        if any(parameter in getattr(p, "parameters", ()) for p in instruction.operation.params)
    ]
    known = [gate for gate in places if is_standard(gate) and gate.name in _RULES]
    if len(places) != 1 or list(places[0].params) != [parameter] or not known:
        names = ", ".join(_written(gate) for gate in places) or "no gate"
        raise UserError(
            f"weight '{parameter.name}' stands in {names}, expected as the plain angle of one gate "
            f"out of {', '.join(_RULES)}"
        )
    return _RULES[places[0].name]


def _written(gate: Operation) -> str:
    return f"{gate.name}({', '.join(map(str, gate.params))})"
