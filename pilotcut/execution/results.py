"""Results: the evaluation of a batch once its circuits have run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.execution.work_units import Request
from pilotcut.reconstruction.contraction import Contraction, sensitivities, standard_errors
from pilotcut.reconstruction.term_sampling import TermSample

if TYPE_CHECKING:
    from pilotcut.backends.statevector import Linearised


@dataclass(frozen=True)
class Evaluation:
    """Everything known about a batch after its circuits have run.

    Parameters
    ----------
    contraction
        How its plan's terms were put together: all, or a sample of them.
    values
        (rows, terms).
    tensors
        One for each fragment.
    environments
        For each fragment (rows, terms, *variants), then for each bond (rows, terms, d0, d1);
        a sample of terms has none for bonds.
    shots
        Of every subexperiment, where they are one number.
    dealt
        For each fragment (rows, subexperiments) where they are not, and derivatives take them too.
    requests, kept
        In exact mode what was asked of each fragment, and, where asked for and possible, their
        tensors with what their derivatives need.
    mitigation
        What was done about the errors of each fragment on each device.
    """

    contraction: Contraction | TermSample
    values: np.ndarray
    tensors: Sequence[FragmentTensor]
    environments: Sequence[np.ndarray]
    shots: int = 0
    dealt: Sequence[np.ndarray] = field(default=())
    requests: Sequence[Request] = field(default=())
    kept: Sequence[Linearised] = field(default=())
    mitigation: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def parts(self) -> list[tuple[slice, Evaluation]]:
        """Rows that were run alike, with their evaluation: all of them."""
        return [(slice(None), self)]

    def sensitivities(self, coefficients: np.ndarray) -> list[np.ndarray]:
        """Return for each fragment d observables / d tensor, (rows, observables, sub, variants).

        `coefficients` are (observables, terms), or (rows, observables, terms).
        """
        index = self.contraction.plan.term_index
        return [
            sensitivities(index[:, f], self.environments[f], coefficients)
            for f in range(len(self.tensors))
        ]

    def errors(self, coefficients: np.ndarray) -> np.ndarray:
        """Return standard errors (rows, observables) for coefficients (observables, terms)."""
        if not any(tensor.covariances for tensor in self.tensors):  # exact: no shots
            return np.zeros((len(self.values), len(coefficients)))
        entries = [fragment.entries for fragment in self.contraction.plan.fragments]
        errors = standard_errors(entries, self.tensors, self.sensitivities(coefficients))
        contraction = self.contraction
        if isinstance(contraction, TermSample):
            # The shots and the draw of terms are independent, so their variances add.
            operands = contraction.operands(self.tensors)
            errors = np.hypot(errors, np.sqrt(contraction.variances(operands, coefficients)))
        return errors


@dataclass(frozen=True)
class RowEvaluations:
    """Evaluations of single rows, each with terms of its own."""

    rows: Sequence[Evaluation]
    mitigation: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def parts(self) -> list[tuple[slice, Evaluation]]:
        """Rows that were run alike, with their evaluation: one by one."""
        return [(slice(k, k + 1), row) for k, row in enumerate(self.rows)]

    @property
    def values(self) -> np.ndarray:
        """(rows, terms)."""
        return np.concatenate([row.values for row in self.rows])

    def errors(self, coefficients: np.ndarray) -> np.ndarray:
        """Return standard errors; see `Evaluation.errors`."""
        return np.concatenate([row.errors(coefficients) for row in self.rows])


@dataclass
class Contracting:
    """A batch being reconstructed, some rows after the others, in any order.

    Parameters
    ----------
    contraction
        How.
    matrices
        The bond matrices, each (rows, d0, d1), or (1, d0, d1) where they are all the same.
    reason
        Why it is put together where it is, for the record.
    """

    contraction: Contraction | TermSample
    matrices: Sequence[np.ndarray]
    reason: str = ""
    _parts: dict[int, tuple[np.ndarray, list[np.ndarray]]] = field(default_factory=dict)

    def add(self, rows: slice, tensors: Sequence[FragmentTensor]) -> None:
        """Contract some rows of the tensors of the whole batch."""
        some = [FragmentTensor(tensor.values[rows], ()) for tensor in tensors]
        bonds = [m if len(m) == 1 else m[rows] for m in self.matrices]
        operands = self.contraction.operands(some, bonds)
        self._parts[rows.start] = self.contraction.values_and_environments(operands)

    def evaluation(self, tensors: Sequence[FragmentTensor]) -> Evaluation:
        """Return what is known once all rows were added."""
        parts = [self._parts[first] for first in sorted(self._parts)]
        values, environments = parts[0]
        if len(parts) > 1:
            values = np.concatenate([values for values, _ in parts])
            environments = [
                np.concatenate(some) for some in zip(*(e for _, e in parts), strict=True)
            ]
        return Evaluation(self.contraction, values.real, tensors, environments)


def contracted(
    contraction: Contraction | TermSample,
    matrices: Sequence[np.ndarray],
    tensors: Sequence[FragmentTensor],
) -> Evaluation:
    """Return what is known of a batch whose tensors are all there; arguments as `Contracting`'s."""
    contracting = Contracting(contraction, matrices)
    contracting.add(slice(0, len(tensors[0].values)), tensors)
    return contracting.evaluation(tensors)
