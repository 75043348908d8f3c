"""Devices of vendors whose clients want a Qiskit of their own: what opens, describes and runs them.

A module that stands alone: it imports no pilotcut, so that another interpreter, with the vendor's
packages and not ours, runs this file as a script. Lines of JSON come in by its standard input
and go out by its standard output, circuits in them as QPY version 15, which Qiskit 2.1 reads. It
ends when its input does. `pilotcut.backends.vendors` is the other end, and calls the same
functions where the vendor's packages are here. No credential passes: each client has its own.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import exp, prod
from typing import Any

#: What both ends read: written by the newer one, and the last that Qiskit 2.1 knows.
QPY_VERSION = 15

#: What vendors' clients take at most, where their backends do not say it: circuits and shots.
MOST = {"aqt": (50, 2000), "braket": (100, None)}

#: Vendors whose devices measure at the end alone: no gate follows, and none is reset.
ENDS_ONLY = ("aqt", "braket")


def opened(vendor: str, backend: str | None, options: Mapping[str, Any]) -> Any:
    """Return a vendor's backend.

    Parameters
    ----------
    vendor
        iqm, aqt or braket; "" takes `backend` as ``module:attribute`` of one, or of what makes one.
    backend
        Its name.
    options
        What the vendor's provider takes to find it.
    """
    openers = {"iqm": _iqm, "aqt": _aqt, "braket": _braket, "": _any}
    return openers[vendor](str(backend), dict(options))


def _any(name: str, options: dict[str, Any]) -> Any:
    module, _, attribute = name.rpartition(":")
    # A bare name is one of Qiskit's fakes.
    module = module or "qiskit_ibm_runtime.fake_provider"
    found = getattr(importlib.import_module(module), attribute)
    return found if hasattr(found, "run") and not isinstance(found, type) else found(**options)


def _iqm(name: str, options: dict[str, Any]) -> Any:
    client = importlib.import_module("iqm.qiskit_iqm")
    if name.startswith("IQMFake"):
        return getattr(client, name)(**options)
    provider = client.IQMProvider(options.pop("url", None), quantum_computer=name)
    return provider.get_backend(**options)


def _aqt(name: str, options: dict[str, Any]) -> Any:
    provider = importlib.import_module("qiskit_aqt_provider").AQTProvider()
    offline = {
        "offline_simulator_no_noise": provider.offline.ideal,
        "offline_simulator_noise": provider.offline.noisy,
    }
    if name in offline:
        return offline[name](**options)
    config = importlib.import_module("aqt_connector").ArnicaConfig()
    cloud = provider.cloud(config)
    if config.client_id:  # without one it would ask somebody in a browser
        cloud.log_in()
    spaces = cloud.fetch_workspaces()
    wanted = options.pop("workspace", None)
    for space in spaces:
        if space.id == wanted or (wanted is None and len(spaces) == 1):
            return space.get_backend(name)
    raise LookupError(f"no workspace of that name among {len(spaces)}: say options: {{workspace}}")


def _braket(name: str, options: dict[str, Any]) -> Any:
    client = importlib.import_module("qiskit_braket_provider")
    if name in ("braket_sv", "braket_dm"):
        return client.BraketLocalBackend(name, **options)
    if name.startswith("arn:"):
        return client.BraketAwsBackend(name, **options)
    return client.BraketProvider().get_backend(name, **options)


# What a device says of itself.


def described(vendor: str, backend: Any) -> dict[str, Any]:
    """Return what a backend's target says, in numbers that any Qiskit makes a target of.

    `gates` has a line for each operation: name, and its places with their error and duration, or
    none if it is on all; `angles` those that take some angles only.
    """
    target = backend.target
    about = target.qubit_properties or [None] * target.num_qubits
    errors, times = _fake_noise(backend)
    gates, bounded = [], []
    asked = getattr(target, "gate_has_angle_bounds", None)
    for name in target.operation_names:
        places = target[name] or {None: None}
        if None in places:
            gates.append([name, None])
        else:
            gates.append(
                [
                    name,
                    [
                        [
                            list(where),
                            errors.get((name, where), getattr(given, "error", None)),
                            getattr(given, "duration", None),
                        ]
                        for where, given in places.items()
                    ],
                ]
            )
        if asked is not None and asked(name):
            bounded.append(name)
    return {
        "qubits": target.num_qubits,
        "times": [
            times.get(q) or [getattr(one, "t1", None), getattr(one, "t2", None)]
            for q, one in enumerate(about)
        ],
        "gates": gates,
        "angles": bounded,
        "dt": target.dt,
        "max_circuits": backend.max_circuits or MOST.get(vendor, (None, None))[0],
        "max_shots": MOST.get(vendor, (None, None))[1],
    }


def _fake_noise(backend: Any) -> tuple[dict[Any, float], dict[int, list[float]]]:
    """Return errors and T1, T2 of IQM's fakes, whose targets say nothing and profiles all.

    Average infidelities of a gate's relaxation followed by depolarisation p: its process fidelity
    is (1 - p) F + p/d² with F that of the relaxation.
    """
    profile = getattr(backend, "error_profile", None)
    index = getattr(backend, "qubit_name_to_index", None)
    if profile is None or index is None:
        return {}, {}
    errors: dict[Any, float] = {}
    names = {"prx": "r"}
    kinds = (
        (
            profile.single_qubit_gate_depolarizing_error_parameters,
            profile.single_qubit_gate_durations,
        ),
        (profile.two_qubit_gate_depolarizing_error_parameters, profile.two_qubit_gate_durations),
    )

    def kept(qubit: str, ns: float) -> float:
        return (1 + 2 * exp(-ns / profile.t2s[qubit]) + exp(-ns / profile.t1s[qubit])) / 4

    infidelity: dict[str, dict[tuple[str, ...], float]] = {}
    for parameters, durations in kinds:
        for gate, by_place in parameters.items():
            for place, p in by_place.items():
                where = (place,) if isinstance(place, str) else tuple(place)
                d = 2.0 ** len(where)
                process = (1 - p) * prod(kept(q, durations[gate]) for q in where) + p / d**2
                infidelity.setdefault(gate, {})[where] = (1 - process) * d / (d + 1)
    qubits = set(backend.architecture.qubits)
    for gate, by in infidelity.items():
        for where, error in by.items():
            if qubits.issuperset(where):
                at = tuple(index(q) for q in where)
                for one in (at, at[::-1]):
                    errors[names.get(gate, gate), one] = error
    # A CZ through a resonator is MOVE, CZ, MOVE.
    for (moved, resonator), move in infidelity.get("move", {}).items():
        for (other, same), cz in infidelity.get("cz", {}).items():
            if resonator == same and other != moved:
                at = (index(moved), index(other))
                for one in (at, at[::-1]):
                    errors["cz", one] = 1 - (1 - move) ** 2 * (1 - cz)
    for qubit, wrong in profile.readout_errors.items():
        errors["measure", (index(qubit),)] = (wrong["0"] + wrong["1"]) / 2
    times = {index(q): [profile.t1s[q] * 1e-9, profile.t2s[q] * 1e-9] for q in qubits}
    return errors, times


# Circuits.


def run(
    vendor: str, backend: Any, circuits: Sequence[Any], shots: int, seed: int
) -> list[dict[str, int]]:
    """Return each circuit's counts, by all of its bits, the last one first.

    Parameters
    ----------
    vendor, backend
        As opened.
    circuits
        In the gates of its target, on its qubits, without parameters.
    shots, seed
        Of each; the seed where the backend takes one.
    """
    squeezed = [_squeezed(circuit) for circuit in circuits]
    native = _native(backend, [circuit for circuit, _ in squeezed])
    for (before, _), after in zip(squeezed, native, strict=True):
        if before.count_ops().get("measure", 0) != after.count_ops().get("measure", 0):
            raise ValueError("the device's own passes have left out a measurement")  # AQT's do
    options: dict[str, Any] = {"shots": shots}
    if vendor == "aqt" or hasattr(backend.options, "seed_simulator"):
        options["seed_simulator"] = seed
    if vendor == "braket" and getattr(backend, "qubit_labels", None):
        options["verbatim"] = True  # a QPU: these are its gates and qubits already
    result = backend.run(native, **options).result()
    found = []
    for k, (circuit, bits) in enumerate(zip(circuits, (b for _, b in squeezed), strict=True)):
        counts: dict[str, int] = {}
        for text, number in result.get_counts(k).items():
            told = text.replace(" ", "")
            if len(told) != len(bits) or set(told) - {"0", "1"}:
                raise ValueError(f"an outcome {text!r} of {len(bits)} bits came back")
            whole = ["0"] * circuit.num_clbits
            for place, bit in enumerate(bits):
                whole[-1 - bit] = told[-1 - place]
            counts["".join(whole)] = counts.get("".join(whole), 0) + int(number)
        found.append(counts)
    return found


def _squeezed(circuit: Any) -> tuple[Any, list[int]]:
    """Return a circuit with one register, of the bits alone that something is written to, and them.

    Some drop the others in silence. Measurements with nothing behind them stand last, as some want
    no gate after any. What is controlled by bits stays as it is.
    """
    from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

    if circuit.has_control_flow_op():
        return circuit, list(range(circuit.num_clbits))
    steps = [
        (
            step.operation,
            [circuit.find_bit(q).index for q in step.qubits],
            [circuit.find_bit(b).index for b in step.clbits],
        )
        for step in circuit.data
        if step.operation.name != "barrier"
    ]
    bits = sorted({bit for _, _, written in steps for bit in written})
    last = {qubit: place for place, (_, qubits, _) in enumerate(steps) for qubit in qubits}
    ends: list[Any] = []
    gates: list[Any] = []
    for place, step in enumerate(steps):
        at_end = step[0].name == "measure" and last[step[1][0]] == place
        (ends if at_end else gates).append(step)
    whole = QuantumCircuit(
        QuantumRegister(circuit.num_qubits, "q"), ClassicalRegister(len(bits), "c")
    )
    for operation, qubits, written in gates + ends:
        whole.append(operation, qubits, [bits.index(bit) for bit in written])
    return whole, bits


def has_passes(backend: Any) -> bool:
    """Return whether a backend has transpiler passes of its own, as Qiskit asks for them."""
    stages = ("translation", "scheduling")
    return any(hasattr(backend, f"get_{stage}_stage_plugin") for stage in stages)


def _native(backend: Any, circuits: list[Any]) -> list[Any]:
    """Return circuits as the backend's own passes make them of what is in its target's gates.

    IQM's star moves qubits to a resonator, AQT takes some angles alone. Their angles must be known.
    """
    if not has_passes(backend):
        return circuits
    from qiskit.transpiler import generate_preset_pass_manager

    found, passes = [], {}
    for one in circuits:
        width = one.num_qubits
        if width not in passes:
            passes[width] = generate_preset_pass_manager(
                0, backend=backend, initial_layout=list(range(width))
            )
        found.append(passes[width].run(one))
    return found


# As a process of its own.


def as_text(circuits: Sequence[Any]) -> str:
    """Return circuits in a line of text."""
    from qiskit import qpy

    file = io.BytesIO()
    qpy.dump(list(circuits), file, version=QPY_VERSION)
    return base64.b64encode(file.getvalue()).decode("ascii")


def from_text(text: str) -> list[Any]:
    """Return the circuits that `as_text` wrote."""
    from qiskit import qpy

    return list(qpy.load(io.BytesIO(base64.b64decode(text))))


def answers(ask: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield an answer to each question; the first opens the device."""
    vendor, backend = "", None
    while True:
        asked = ask()
        try:
            if "open" in asked:
                vendor = asked["open"]["vendor"]
                backend = opened(vendor, asked["open"]["backend"], asked["open"]["options"])
                yield {"device": described(vendor, backend)}
            else:
                some = from_text(asked["circuits"])
                yield {"counts": run(vendor, backend, some, asked["shots"], asked["seed"])}
        except Exception as error:  # it is the vendor's, or the user's
            text = next(iter(str(error).splitlines()), "")
            yield {"error": type(error).__name__, "said": text[:300]}


def _main() -> None:
    # What vendors print goes where it is not taken for an answer.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        try:
            for line in sys.stdin:
                asked.put(json.loads(line))
        except ValueError as error:
            print(f"no question: {error}", file=sys.stderr, flush=True)
        os._exit(0)  # also while a vendor's client waits for something

    threading.Thread(target=read, daemon=True).start()
    for answer in answers(asked.get):
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    # Beside this file are modules that are not meant to be found by their bare names.
    sys.path.pop(0)
    _main()
