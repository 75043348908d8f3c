"""Observables: whatever users give becomes real sums of Pauli strings, one an output.

One observable is a Pauli string, a sum of them, or a dict of them; several are a list of such,
or a `PauliList`. This is what Qiskit's estimators mean by the same objects, and everything here
that takes observables reads them here or as they do. What is no real, finite sum is refused:
an expectation that silently lost a part would be a wrong value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import ParameterExpression
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Pauli, PauliList, SparseObservable, SparsePauliOp

from pilotcut.errors import ObservableError
from pilotcut.options import counted

BitTerm = SparseObservable.BitTerm

#: One observable, over all qubits.
Observable: TypeAlias = str | Pauli | SparsePauliOp | SparseObservable | Mapping[Any, float]

#: Observables as users give them: one, or several, each with a value of its own.
Observables: TypeAlias = Observable | PauliList | ObservablesArray | Iterable[Observable]

#: Imaginary parts up to this are rounding errors of whoever computed the coefficient.
ROUNDING = 1e-12

#: Pauli strings that an observable's projectors may stand for.
MOST_TERMS = 2**16

_ONE = (str, Pauli, SparsePauliOp, SparseObservable, Mapping)

_HOW = "'ZZII', SparsePauliOp(['ZZ', 'XX'], [1.0, 0.5]), or a list of such"


def listed(observables: Observables) -> list[Any]:
    """Return several observables as a list, and one as a list of one.

    Raises
    ------
    ObservableError
        If there are none, they have no order, or they are a table.
    """
    if isinstance(observables, _ONE):
        return [observables]
    if isinstance(observables, PauliList):
        return list(observables)
    if isinstance(observables, ObservablesArray):
        observables = observables.sparse_observables_array()
    if isinstance(observables, np.ndarray):
        observables = _of_array(observables)
    if isinstance(observables, (set, frozenset)):
        raise ObservableError(
            f"observables are a {type(observables).__name__}, which has no order, expected a "
            f"list; outputs come in the order of the observables"
        )
    if _is_operator(observables) or not isinstance(observables, Iterable):
        return [observables]  # which `pauli_sum` refuses by what it is
    several = list(observables)
    if not several:
        raise ObservableError(
            f"observables are empty, expected at least one; write for example {_HOW}"
        )
    return several


def _of_array(array: np.ndarray) -> list[Any]:
    if array.ndim > 1:
        raise ObservableError(
            f"observables have shape {array.shape}, expected one dimension; give a list with one "
            f"observable an output"
        )
    return list(array) if array.ndim else [array.item()]


def pauli_sums(observables: Observables, num_qubits: int) -> list[SparsePauliOp]:
    """Return each observable as a sum of phase-free Pauli strings with real coefficients.

    Raises
    ------
    ObservableError
        For what is no Hermitian sum of Paulis on `num_qubits` qubits, with the next step.
    """
    return [pauli_sum(one, num_qubits) for one in listed(observables)]


def pauli_terms(observables: Observables, num_qubits: int) -> PauliList:
    """Return the distinct Pauli strings in `observables`, in order of first appearance.

    Raises
    ------
    ObservableError
        As `pauli_sums`.
    """
    return terms_of(pauli_sums(observables, num_qubits))


def terms_of(sums: Iterable[SparsePauliOp]) -> PauliList:
    """Return the distinct Pauli strings of some sums, in order of first appearance."""
    labels = {label: None for one in sums for label in one.paulis.to_labels()}
    return PauliList(list(labels))


def independent_rows(vectors: np.ndarray) -> tuple[list[int], list[int]]:
    """Return which rows of bits are independent over GF(2), and how the others are their sums.

    Parameters
    ----------
    vectors
        Booleans (rows, bits), such as the letters of Paulis: sums are products then.

    Returns
    -------
    tuple
        The numbers of the independent rows, and for each row the set of them, as bits by their
        place, that it is the sum of.

    Examples
    --------
    >>> independent_rows(np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=bool))
    ([0, 1], [1, 2, 3])
    """
    basis: list[int] = []
    subsets: list[int] = []
    reduced: list[tuple[np.ndarray, int]] = []
    for number, vector in enumerate(vectors):
        rest, subset = vector.copy(), 0
        for pivot, made_of in reduced:
            if rest[np.argmax(pivot)]:
                rest, subset = rest ^ pivot, subset ^ made_of
        if rest.any():
            own = 1 << len(basis)
            reduced.append((rest, subset ^ own))
            subset = own
            basis.append(number)
        subsets.append(subset)
    return basis, subsets


def pauli_sum(observable: Any, num_qubits: int) -> SparsePauliOp:
    """Return one observable as a sum of Pauli strings; see `pauli_sums`."""
    try:
        whole = _as_sum(observable, num_qubits)
    except (QiskitError, ValueError, TypeError) as error:
        if isinstance(error, ObservableError):
            raise
        shown = f"'{observable}'" if isinstance(observable, str) else _shown(observable)
        more = "; SparsePauliOp.from_operator(...) turns a matrix into one"
        raise ObservableError(
            f"observable {shown} is not a Pauli string or a sum of them "
            f"({' '.join(str(error).split())}); write for example {_HOW}"
            f"{more if _is_operator(observable) else ''}"
        ) from error
    check_real(whole)
    with np.errstate(over="ignore"):  # equal strings will be taken together
        check_finite(np.abs(whole.coeffs).sum(keepdims=True), observable)
    return SparsePauliOp(whole.paulis, whole.coeffs.real)


def check_real(whole: SparsePauliOp) -> None:
    """Raise ObservableError unless coefficients are real, equal Pauli strings taken together."""
    if np.abs(whole.coeffs.imag).max(initial=0) <= ROUNDING:
        return
    # Imaginary parts of equal strings may cancel. Both tolerances are 0, so that nothing is
    # dropped.
    simple = whole.simplify(0, 0)
    worst = int(np.abs(simple.coeffs.imag).argmax())
    if abs(simple.coeffs[worst].imag) > ROUNDING:
        raise ObservableError(
            f"observable has the complex coefficient {simple.coeffs[worst]} at "
            f"{simple.paulis[worst]}, expected real ones; estimate its Hermitian parts one by one"
        )


def check_finite(coefficients: np.ndarray, observable: object) -> None:
    """Raise ObservableError unless all coefficients are finite."""
    bad = coefficients[~np.isfinite(coefficients)]
    if len(bad):
        raise ObservableError(
            f"observable '{_shown(observable)}' has the coefficient {_plain(bad[0])}, expected "
            f"finite numbers; check what computed it"
        )


def of_sparse(observable: SparseObservable) -> SparsePauliOp:
    """Return a sparse observable as a sum of Paulis: two of them for each projector on a qubit."""
    check_finite(np.asarray(observable.coeffs), observable)
    paulis = (BitTerm.X, BitTerm.Y, BitTerm.Z)
    projectors = np.cumsum([0, *(letter not in paulis for letter in observable.bit_terms)])
    each = np.diff(projectors[np.asarray(observable.boundaries)])
    # Counted before they are made: a projector on n qubits is 2^n strings.
    if np.sum(2.0**each) > MOST_TERMS:
        raise ObservableError(
            f"observable '{_shown(observable)}' is {np.sum(2.0**each):.3g} Pauli strings, expected "
            f"at most {MOST_TERMS}; probabilities of outcomes come from pilotcut.Distribution"
        )
    return SparsePauliOp.from_sparse_observable(observable.as_paulis())


def _as_sum(observable: Any, num_qubits: int) -> SparsePauliOp:
    """Return one observable as a sum with complex, finite coefficients."""
    if isinstance(observable, Mapping):
        parts = [
            _as_sum(_basis(basis), num_qubits) * _numbers([factor], observable)[0]
            for basis, factor in observable.items()
        ]
        if not parts:
            raise ObservableError(
                "observable is an empty dict, expected at least one Pauli string; leave it out"
            )
        return SparsePauliOp.sum(parts)
    if isinstance(observable, str):
        whole = _of_label(observable, num_qubits)
    elif isinstance(observable, Pauli):
        whole = SparsePauliOp(observable)
    elif isinstance(observable, SparseObservable):
        whole = of_sparse(observable)
    elif isinstance(observable, SparsePauliOp):
        whole = SparsePauliOp(observable.paulis, _numbers(observable.coeffs, observable))
    else:
        raise TypeError(f"it is of type {type(observable).__name__}")
    if whole.num_qubits != num_qubits:
        raise ObservableError(
            f"observable '{_shown(observable)}' acts on {counted(whole.num_qubits, 'qubit')}, "
            "expected "
            f"{num_qubits} as in the circuit; give one letter a qubit"
        )
    if not len(whole):
        raise ObservableError(
            f"observable '{_shown(observable)}' has no terms, expected at least one; leave it out"
        )
    return whole


def _basis(basis: Any) -> str | Pauli:
    if not isinstance(basis, (str, Pauli)):
        raise TypeError(f"its key {basis!r} is of type {type(basis).__name__}")
    return basis


def _of_label(label: str, num_qubits: int) -> SparsePauliOp:
    """Return a label of Qiskit's estimators (projectors too), or a Pauli's with its phase.

    '-ZZ' is a projector and two letters on three qubits, and on two the negative of ZZ.
    """
    if len(label) != num_qubits and label[:1] in ("+", "-", "i"):
        return SparsePauliOp(Pauli(label))
    return of_sparse(SparseObservable.from_label(label))


def _numbers(coefficients: Iterable[Any], observable: object) -> np.ndarray:
    """Return coefficients as complex, finite numbers."""
    if not isinstance(coefficients, np.ndarray) or coefficients.dtype == object:
        coefficients = np.array([_number(c, observable) for c in coefficients], dtype=complex)
    check_finite(coefficients, observable)
    return coefficients


def _number(coefficient: Any, observable: object) -> complex:
    if isinstance(coefficient, ParameterExpression) and coefficient.parameters:
        free = ", ".join(sorted(p.name for p in coefficient.parameters))
        raise ObservableError(
            f"observable '{_shown(observable)}' has the coefficient {coefficient} with free "
            f"parameters ({free}), expected numbers; bind them, or multiply the output"
        )
    try:
        if isinstance(coefficient, (str, bytes)):
            raise TypeError
        return complex(coefficient)
    except (TypeError, ValueError) as error:
        raise ObservableError(
            f"observable '{_shown(observable)}' has the coefficient {coefficient!r}, expected a "
            f"real number"
        ) from error


def _is_operator(observable: object) -> bool:
    return hasattr(observable, "to_matrix") or hasattr(observable, "to_operator")


def _shown(observable: object, most: int = 60) -> str:
    """Return an observable in part of a line."""
    if isinstance(observable, SparsePauliOp):
        terms = zip(observable.paulis.to_labels(), observable.coeffs, strict=True)
        observable = " + ".join(f"{_factor(c)}{label}" for label, c in terms)
    text = " ".join(str(observable).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _factor(coefficient: Any) -> str:
    return "" if coefficient == 1 else f"{_plain(coefficient)} "


def _plain(coefficient: Any) -> Any:
    """Return a coefficient without an imaginary part that is zero."""
    if isinstance(coefficient, complex) and coefficient.imag == 0:
        return float(coefficient.real)
    return coefficient
