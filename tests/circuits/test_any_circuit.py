"""Whatever Qiskit builds is right or a UserError: every gate class, name, file and mode."""

import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import Instruction, Operation
from qiskit.circuit import library as lib
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Pauli
from support.any_circuits import LIBRARY, NOT_GATES, circuit_of, state_of

from pilotcut import CutEstimator, compile_plan, reconstruct_probabilities
from pilotcut.circuits.reader import load_circuit
from pilotcut.errors import UserError

SHOTS = 4096

#: Standard errors that a value with shots may be off: once in ten million.
SIGMAS = 5.3


def test_every_gate_class_of_qiskit_is_drawn():
    classes = {
        name
        for name in dir(lib)
        if isinstance(getattr(lib, name), type)
        and issubclass(getattr(lib, name), (Operation, Instruction))
    }
    standard = {g.base_class.__name__ for g in get_standard_gate_name_mapping().values()}
    standard |= {"C3XGate", "C4XGate", "RC3XGate", "C3SXGate"}  # drawn as mcx and by name
    assert classes - standard - set(NOT_GATES) <= set(LIBRARY)


def _built(seed):
    """Return circuit, values and state of a seed; None where Qiskit itself refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            circuit, values = circuit_of(seed)
            return circuit, values, state_of(circuit, values)
        except (QiskitError, TypeError, ValueError, IndexError):
            return None


def _dumped(circuit, route, folder):
    """Return the path of the circuit in a file, None where Qiskit cannot write it."""
    path = Path(folder) / ("c.qpy" if route == "qpy" else "c.qasm")
    try:
        if route == "qasm2":
            path.write_text(qasm2.dumps(circuit))
        elif route == "qasm3":
            path.write_text(qasm3.dumps(circuit))
        else:
            with path.open("wb") as file:
                qpy.dump(circuit, file)
    except Exception:  # Qiskit's exporters raise anything
        return None
    return path


def _reread(circuit, path, route, values):
    """Return the state that Qiskit itself reads from the file, None where it does not."""
    try:
        if route == "qasm2":
            again = qasm2.load(
                path,
                custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS,
                custom_classical=qasm2.LEGACY_CUSTOM_CLASSICAL,
            )
        elif route == "qasm3":
            again = qasm3.load(path)
        else:
            again = qpy.load(io.BytesIO(path.read_bytes()))[0]
        named = {_plain(p.name): v for p, v in values.items()}
        return state_of(again, {p: named[_plain(p.name)] for p in again.parameters})
    except Exception:
        return None


def _plain(name):
    """Return a parameter's name as OpenQASM 3 has it, so that w[3] and _w_3_ are one."""
    return name.replace("[", "_").replace("]", "_").lstrip("_")


def _expected(state, observables):
    return np.array([state.expectation_value(Pauli(one)).real for one in observables])


def _estimates(circuit, observables, values, **options):
    row = [values[p] for p in circuit.parameters]
    data = CutEstimator(**options).run([(circuit, observables, row)]).result()[0].data
    return np.asarray(data.evs), np.asarray(data.stds)


def _agree(found, error, expected, tolerance):
    return np.all(np.abs(found - expected) <= SIGMAS * error + tolerance)


def _cut(circuit, observables, rng, most):
    """Return labels whose plan has at most so many cuts, or none."""
    labels = [str(rng.choice(list("AB"))) for _ in range(circuit.num_qubits)]
    try:
        plan = compile_plan(circuit, observables, labels=labels)
    except UserError:  # a gate with a free angle that cannot be cut
        return None
    small = plan.num_cuts <= most and plan.num_variants < 400
    return labels if small else None


# `make fuzz` draws ten times as many: 5,000.
@settings(max_examples=500 if "PILOTCUT_FUZZ" in os.environ else 80, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    route=st.sampled_from(["python", "python", "qasm2", "qasm3", "qpy"]),
    mode=st.sampled_from(["exact", "exact", "sampled", "counts", "probabilities", "tallies"]),
)
def test_whatever_qiskit_builds_is_right_or_refused(seed, route, mode):
    if (built := _built(seed)) is None:
        event("Qiskit refuses it")
        return
    circuit, values, state = built
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = None if route == "python" else _dumped(circuit, route, folder)
        try:
            read = circuit if path is None else load_circuit(path, tell=str)
        except UserError:
            event(f"{route} is refused")
            return
        named = {_plain(p.name): v for p, v in values.items()}
        own = {p: named[_plain(p.name)] for p in read.parameters}
        try:
            right = _is_right(read, own, state, mode, rng)
        except UserError:
            event(f"{mode} refuses it")
            return
        if not right and path is not None:  # what was written may be something else
            again = _reread(circuit, path, route, values)
            judge = "which Qiskit confirms" if again else "which Qiskit does not read"
            event(f"{route} says something else, {judge}")
            # Where Qiskit cannot read it at all, the circuit that we read is what can be judged.
            right = _is_right(read, own, again or state_of(read, own), mode, rng)
        else:
            event(f"{route} is right" if path is not None else "right")
    assert right, (seed, route, mode)


def _is_right(circuit, values, state, mode, rng):
    width = circuit.num_qubits
    if mode in ("probabilities", "tallies"):
        exact = mode == "probabilities"
        options = {"mode": "exact"} if exact else {"mode": "counts", "shots": SHOTS, "seed": 1}
        labels = _cut(circuit, "Z" * width, rng, 2)
        found = reconstruct_probabilities(compile_plan(circuit, labels=labels), values, **options)
        expected = state.probabilities()
        # Cut, quasi-probabilities spread by gamma.
        slack = 1e-7 if exact else 0.05 * (1 if labels is None else 8)
        return np.all(np.abs(np.asarray(found) - expected) <= slack)
    observables = ["".join(rng.choice(list("IXYZ"), width)) for _ in range(2)]
    expected = _expected(state, observables)
    options = {} if mode == "exact" else {"shots": SHOTS, "seed": 1}
    labels = _cut(circuit, observables, rng, 4 if mode == "exact" else 1)
    found, error = _estimates(circuit, observables, values, mode=mode, labels=labels, **options)
    # A standard error that is itself estimated is 0 where all shots agree.
    return _agree(found, error, expected, 1e-7 if mode == "exact" else 12 / SHOTS)


@pytest.mark.parametrize("mode", ["exact", "sampled", "counts"])
def test_circuits_that_once_went_wrong_are_right(mode):
    for seed in (19, 28, 37, 110, 206, 282, 436, 461, 1106):
        if (built := _built(seed)) is not None:
            circuit, values, state = built
            assert _is_right(circuit, values, state, mode, np.random.default_rng(seed)), seed
