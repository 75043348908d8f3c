"""PUBs (primitive unified blocs): many of them become few batches for one plan each.

Qiskit Machine Learning sends one PUB an observable going forward, and hundreds of PUBs
with one parameter set each for a gradient. Rows that share a program and the terms they
ask for are one batch; observables asked at the same rows share their circuits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.object_array import object_array
from qiskit.quantum_info import PauliList, SparseObservable

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.observables import check_real, of_sparse, pauli_sum
from pilotcut.circuits.program import Program
from pilotcut.circuits.remembered import read_again
from pilotcut.errors import ObservableError, ParameterValueError, UserError

#: A sum of Pauli strings as ((label, coefficient), ...), sorted.
PauliSum = tuple[tuple[str, float], ...]


@dataclass
class Batch:
    """Rows of slot values that ask one program for the same observables.

    Parameters
    ----------
    program, binding
        The circuit as read.
    precision
        Target standard error, or None.
    slots
        (rows, slots).
    asked
        What every row asks for, and where the values go, row by row: positions among the values of
        all PUBs, which lie one PUB behind the other, each in C order.
    """

    program: Program
    binding: Binding
    precision: float | None
    slots: np.ndarray
    asked: dict[PauliSum, list[int]]

    @property
    def observables(self) -> tuple[PauliSum, ...]:
        """What every row asks for, sorted."""
        return tuple(sorted(self.asked))

    @property
    def places(self) -> np.ndarray:
        """Where the values go, (observables, rows)."""
        return np.array([self.asked[observable] for observable in self.observables], dtype=int)

    @property
    def terms(self) -> tuple[str, ...]:
        """The Pauli strings that must be measured; the identity need not."""
        labels = {label for observable in self.observables for label, _ in observable}
        return tuple(sorted(label for label in labels if label.strip("I")))

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (observables, terms) and constants (observables,)."""
        column = {label: k for k, label in enumerate(self.terms)}
        matrix = np.zeros((len(self.observables), len(column)))
        constant = np.zeros(len(self.observables))
        for row, observable in enumerate(self.observables):
            for label, coefficient in observable:
                if label in column:
                    matrix[row, column[label]] += coefficient
                else:
                    constant[row] += coefficient
        return matrix, constant


def coerce_pubs(pubs: Iterable[EstimatorPubLike], precision: float | None) -> list[EstimatorPub]:
    """Return validated PUBs.

    Raises
    ------
    UserError
        With the place among the PUBs and what was wrong with it.
    """
    coerced = []
    for number, pub in enumerate(pubs):
        try:
            coerced.append(EstimatorPub.coerce(pub, precision))
        except UserError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            _check_observables(number, pub)
            if "Empty observable" in str(error):
                raise ObservableError(
                    f"pub {number}: an observable has no coefficient that Qiskit tells from zero "
                    f"(1e-8), expected a larger one; scale it up, or leave it out"
                ) from error
            # What of a PUB is wrong, Qiskit tells by the words of a ValueError alone.
            kind = (
                ParameterValueError
                if any(word in str(error).lower() for word in ("parameter", "length of"))
                else ObservableError
            )
            raise kind(
                f"pub {number}: {' '.join(str(error).split())}; expected (circuit, observables, "
                f"values for every parameter[, precision])"
            ) from error
        value = coerced[-1].precision
        if value is not None and not value > 0:
            raise UserError(
                f"pub {number}: precision is {value}, expected a standard error above 0"
            )
    return coerced


def _check_observables(number: int, pub: EstimatorPubLike) -> None:
    """Raise ObservableError if it is the observables that a PUB was refused for.

    Qiskit calls a coefficient that is infinite or not a number an imaginary part.
    """
    if not isinstance(pub, (tuple, list)) or len(pub) < 2:
        return
    circuit, observables = pub[:2]
    if isinstance(circuit, QuantumCircuit):
        for one in np.ravel(object_array(observables, list_types=(PauliList,))):
            try:
                pauli_sum(one, circuit.num_qubits)
            except ObservableError as error:
                raise ObservableError(f"pub {number}: {error}") from error


def batches_of(pubs: list[EstimatorPub]) -> list[Batch]:
    """Return the batches that answer all PUBs, each value exactly once."""
    programs: dict[int, tuple[Program, Binding]] = {}  # the PUBs keep their circuits alive
    found: dict[tuple[object, ...], list[Batch]] = {}
    sums: dict[object, PauliSum] = {}
    sizes = [int(np.prod(pub.shape, dtype=int)) for pub in pubs]
    for first, pub in zip(np.cumsum([0, *sizes]).tolist(), pubs, strict=False):
        if id(pub.circuit) not in programs:
            programs[id(pub.circuit)] = read_again(pub.circuit)
        program, binding = programs[id(pub.circuit)]
        for batch in _batches_of_one(first, pub, program, binding, sums):
            key = (program.key, pub.precision, batch.slots.tobytes())
            _add(found.setdefault(key, []), batch)
    return _stack([batch for some in found.values() for batch in some])


def _batches_of_one(
    first: int,
    pub: EstimatorPub,
    program: Program,
    binding: Binding,
    known: dict[object, PauliSum],
) -> Iterator[Batch]:
    """Yield the rows of one PUB, those that ask the same together.

    The values of the PUB lie behind the `first` values of others.
    """
    values = pub.parameter_values.as_array(pub.circuit.parameters)
    rows = int(np.prod(pub.parameter_values.shape, dtype=int))
    flat = values.reshape(rows, pub.circuit.num_parameters)
    slots = binding.slots(flat)
    operators = pub.observables.sparse_observables_array().reshape(-1)
    sums = [_pauli_sum(operator, known) for operator in operators]
    row_of = _broadcast_index(pub.parameter_values.shape, pub.shape)
    sum_of = _broadcast_index(pub.observables.shape, pub.shape)
    # Asked again at the same row, an observable gets shots of its own: (row, how often before).
    asked: dict[tuple[int, int], dict[PauliSum, list[int]]] = {}
    times: Counter[tuple[int, PauliSum]] = Counter()
    for position, (row, k) in enumerate(zip(row_of, sum_of, strict=True)):
        before = times[int(row), sums[k]]
        times[int(row), sums[k]] += 1
        asked.setdefault((int(row), before), {})[sums[k]] = [first + position]
    alike: dict[tuple[int, tuple[PauliSum, ...]], list[tuple[int, int]]] = {}
    for place, observables in asked.items():
        alike.setdefault((place[1], tuple(observables)), []).append(place)
    for (_, sums_asked), places in alike.items():
        merged = {s: [a for place in places for a in asked[place][s]] for s in sums_asked}
        rows_asked = [row for row, _ in places]
        yield Batch(program, binding, pub.precision, slots[rows_asked], merged)


def _broadcast_index(shape: tuple[int, ...], full: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape, dtype=int))
    return np.broadcast_to(np.arange(size).reshape(shape), full).reshape(-1)


def _pauli_sum(observable: SparseObservable, known: dict[object, PauliSum]) -> PauliSum:
    """Return an observable as a sum of Paulis, of those that are known or else added to them."""
    # A gradient asks with one PUB a sample, all for the same observable: simplifying it anew each
    # time took a quarter of a training step in exact mode.
    parts = (observable.coeffs, observable.bit_terms, observable.indices, observable.boundaries)
    key = (observable.num_qubits, *(np.asarray(part).tobytes() for part in parts))
    if key not in known:
        operator = of_sparse(observable).simplify()
        check_real(operator)
        labels, coefficients = operator.paulis.to_labels(), operator.coeffs.real
        known[key] = tuple(sorted(zip(labels, map(float, coefficients), strict=True)))
    return known[key]


def _add(batches: list[Batch], new: Batch) -> None:
    """Let different observables at the same rows share circuits.

    The same observable asked again is asked again on purpose: it gets shots of its own.
    """
    for batch in batches:
        if not batch.asked.keys() & new.asked.keys():
            batch.asked.update(new.asked)
            batch.program, batch.binding = new.program, new.binding
            return
    batches.append(new)


def _stack(batches: list[Batch]) -> list[Batch]:
    """Stack the rows of batches of one program, precision and set of observables."""
    groups: dict[tuple[object, ...], list[Batch]] = {}
    for batch in batches:
        group = (batch.program.key, batch.precision, batch.observables)
        groups.setdefault(group, []).append(batch)
    return [_stacked(some) for some in groups.values()]


def _stacked(batches: list[Batch]) -> Batch:
    # Of circuits that differ in names the last one speaks: slots are bound, and structure is all.
    return replace(
        batches[-1],
        slots=np.concatenate([batch.slots for batch in batches]),
        asked={o: [p for batch in batches for p in batch.asked[o]] for o in batches[-1].asked},
    )
