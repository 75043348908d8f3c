"""PUBs (primitive unified blocs): many of them become few batches for one plan each.

Qiskit Machine Learning sends one PUB an observable going forward, and hundreds of PUBs
with one parameter set each for a gradient. Rows that share a program and the terms they
ask for are one batch; observables asked at the same rows share their circuits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.object_array import object_array
from qiskit.quantum_info import PauliList, SparseObservable

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.observables import check_real, of_sparse, pauli_sum
from pilotcut.circuits.program import Program, read_circuit
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
    observables
        What every row asks for.
    slots
        (rows, slots).
    places
        Where the values go, (observables, rows): positions among the values of all PUBs, which lie
        one PUB behind the other, each in C order.
    """

    program: Program
    binding: Binding
    precision: float | None
    observables: tuple[PauliSum, ...]
    slots: np.ndarray
    places: np.ndarray

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


@dataclass
class _Entry:
    """Rows of one PUB that ask for the same observables; other PUBs may join."""

    program: Program
    binding: Binding
    precision: float | None
    slots: np.ndarray
    observables: dict[PauliSum, list[int]]


def batches_of(pubs: list[EstimatorPub]) -> list[Batch]:
    """Return the batches that answer all PUBs, each value exactly once."""
    programs: dict[int, tuple[Program, Binding]] = {}  # the PUBs keep their circuits alive
    entries: dict[tuple[object, ...], list[_Entry]] = {}
    sums = _PauliSums()
    sizes = [int(np.prod(pub.shape, dtype=int)) for pub in pubs]
    for first, pub in zip(np.cumsum([0, *sizes]).tolist(), pubs, strict=False):
        if id(pub.circuit) not in programs:
            programs[id(pub.circuit)] = read_circuit(pub.circuit)
        program, binding = programs[id(pub.circuit)]
        for slots, observables in _rows(first, pub, binding, sums):
            entry = _Entry(program, binding, pub.precision, slots, dict(observables))
            key = (program.key, pub.precision, slots.tobytes())
            _add(entries.setdefault(key, []), entry)
    return _stack([entry for some in entries.values() for entry in some])


def _rows(
    first: int, pub: EstimatorPub, binding: Binding, known: _PauliSums
) -> Iterator[tuple[np.ndarray, dict[PauliSum, list[int]]]]:
    """Yield (slots of some rows, what they ask for), rows that ask the same together.

    The values of the PUB lie behind the `first` values of others.
    """
    values = pub.parameter_values.as_array(pub.circuit.parameters)
    rows = int(np.prod(pub.parameter_values.shape, dtype=int))
    flat = values.reshape(rows, pub.circuit.num_parameters)
    slots = binding.slots(flat)
    sums = [known.of(o) for o in pub.observables.sparse_observables_array().reshape(-1)]
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
        yield slots[[row for row, _ in places]], merged


def _broadcast_index(shape: tuple[int, ...], full: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape, dtype=int))
    return np.broadcast_to(np.arange(size).reshape(shape), full).reshape(-1)


class _PauliSums:
    """Observables as sums of Paulis, each different one simplified once.

    A gradient asks with one PUB a sample, all for the same observable: simplifying it anew each
    time took a quarter of a training step in exact mode.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], PauliSum] = {}

    def of(self, observable: SparseObservable) -> PauliSum:
        parts = (observable.coeffs, observable.bit_terms, observable.indices, observable.boundaries)
        key = (observable.num_qubits, *(np.asarray(part).tobytes() for part in parts))
        if key not in self._known:
            self._known[key] = _pauli_sum(observable)
        return self._known[key]


def _pauli_sum(observable: SparseObservable) -> PauliSum:
    operator = of_sparse(observable).simplify()
    check_real(operator)
    labels, coefficients = operator.paulis.to_labels(), operator.coeffs.real
    return tuple(sorted(zip(labels, map(float, coefficients), strict=True)))


def _add(entries: list[_Entry], new: _Entry) -> None:
    """Let different observables at the same rows share circuits.

    The same observable asked again is asked again on purpose: it gets shots of its own.
    """
    for entry in entries:
        if not entry.observables.keys() & new.observables.keys():
            entry.observables.update(new.observables)
            entry.program, entry.binding = new.program, new.binding
            return
    entries.append(new)


def _stack(entries: list[_Entry]) -> list[Batch]:
    """Stack entries of one program, precision and set of observables into batches."""
    groups: dict[tuple[object, ...], list[_Entry]] = {}
    for entry in entries:
        group = (entry.program.key, entry.precision, tuple(sorted(entry.observables)))
        groups.setdefault(group, []).append(entry)
    return [_batch(some) for some in groups.values()]


def _batch(entries: list[_Entry]) -> Batch:
    # Of circuits that differ in names the last one speaks: slots are bound, and structure is all.
    last = entries[-1]
    observables = tuple(sorted(last.observables))
    places = [[place for e in entries for place in e.observables[o]] for o in observables]
    return Batch(
        program=last.program,
        binding=last.binding,
        precision=last.precision,
        observables=observables,
        slots=np.concatenate([entry.slots for entry in entries]),
        places=np.array(places, dtype=int),
    )
