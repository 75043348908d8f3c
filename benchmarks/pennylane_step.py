"""One training step of a QNode on the device `pilotcut`, beside `cut_qnn` and lightning.qubit.

    python benchmarks/pennylane_step.py [--repeats 15] [--cases chain dense] [--batches 2 16]

A step is a batch of samples, forward, a square loss and backward by torch, of the same circuit with
the same weights, exact mode. "chain" is an angle a qubit, two layers of RY and a row of CNOT, two
cuts; "dense" two clusters of 8 qubits, all pairs of each entangled `--layers` times, and one CZ
between them that is cut. All columns take turns in one process, a step of each, and must agree on
the loss and the gradient's norm to six digits, but for null.qubit, which computes nothing: it is
what PennyLane itself takes for a step. lightning.qubit simulates the whole circuit with its adjoint
method, up to 16 qubits. Medians with min-max in milliseconds; "ratio" is the median of ours in
PennyLane over `cut_qnn` in each turn.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from collections.abc import Callable
from math import isclose

import numpy as np
import pennylane as qml
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from pilotcut import cut_qnn

torch.set_num_threads(1)

#: A step: forward and backward, its loss and the norm of its gradient.
Step = Callable[[], tuple[float, float]]


#: A gate: its name, its angle (of inputs, of weights, or none) and its qubits.
Gate = tuple[str, tuple[str, int] | None, tuple[int, ...]]


def main() -> None:
    """Print a line for each circuit and batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--cases", nargs="+", default=["chain", "dense"])
    parser.add_argument("--qubits", type=int, nargs="+", default=[8, 16, 36], help="of chains")
    parser.add_argument("--layers", type=int, default=4, help="of dense clusters")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 16])
    options = parser.parse_args()
    circuits = [(f"chain-{n}", n, chain(n), {"cuts": 2}) for n in options.qubits]
    circuits += [("dense-16", 16, dense(8, options.layers), {"labels": "A" * 8 + "B" * 8})]
    print(f"{'case':9} batch {'cut_qnn':>21} {'device':>21} ratio {'null':>21} {'lightning':>21}")
    for name, qubits, gates, cut in circuits:
        if name.split("-")[0] in options.cases:
            for batch in options.batches:
                steps = columns(qubits, gates, batch, cut)
                told(name, batch, measured(steps, options.repeats))


def chain(qubits: int) -> list[Gate]:
    """Return a chain of CNOT between two layers of weights."""
    gates: list[Gate] = [("RX", ("x", q), (q,)) for q in range(qubits)]
    gates += [("RY", ("w", q), (q,)) for q in range(qubits)]
    gates += [("CX", None, (q - 1, q)) for q in range(qubits - 1, 0, -1)]
    return gates + [("RY", ("w", qubits + q), (q,)) for q in range(qubits)]


def dense(size: int, layers: int) -> list[Gate]:
    """Return two clusters with all pairs entangled, and one CZ between them."""
    gates: list[Gate] = [("RX", ("x", q), (q,)) for q in range(2 * size)]
    pairs = [(a, b) for a in range(2 * size) for b in range(a) if a // size == b // size]
    for layer in range(layers):
        gates += [("RY", ("w", layer * 2 * size + q), (q,)) for q in range(2 * size)]
        gates += [("CZ", None, pair) for pair in pairs]
        if layer == 0:
            gates.append(("CZ", None, (size - 1, size)))
    return gates + [("RY", ("w", layers * 2 * size + q), (q,)) for q in range(2 * size)]


def columns(qubits: int, gates: list[Gate], batch: int, cut: dict[str, object]) -> dict[str, Step]:
    """Return the steps that are compared."""
    given = (qubits, gates, *data(qubits, gates, batch))
    steps = {
        "cut_qnn": module(*given, cut),
        "device": node(qml.device("pilotcut", wires=qubits, **cut), "device", *given),
        "null": node(qml.device("null.qubit", wires=qubits), "device", *given),
    }
    if qubits <= 16:
        steps["lightning"] = node(qml.device("lightning.qubit", wires=qubits), "adjoint", *given)
    return steps


def measured(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Return milliseconds of each step, in turns; the first two are not counted."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 2):
        results = {}
        for name, step in steps.items():
            started = time.perf_counter()
            results[name] = step()
            if turn > 1:
                spent[name].append(1e3 * (time.perf_counter() - started))
        first = results["cut_qnn"]
        for name, found in results.items():
            agree = all(isclose(a, b, rel_tol=1e-6) for a, b in zip(first, found, strict=True))
            if name != "null" and not agree:
                raise SystemExit(f"{name} found {found}, cut_qnn {first}")
    return spent


def told(case: str, batch: int, spent: dict[str, list[float]]) -> None:
    """Print one line."""
    ratios = [b / a for a, b in zip(spent["cut_qnn"], spent["device"], strict=True)]
    shown = [
        f"{statistics.median(some):.1f} ({min(some):.1f}-{max(some):.1f})"
        if (some := spent.get(name))
        else "-"
        for name in ("cut_qnn", "device", "null", "lightning")
    ]
    ratio = f"{statistics.median(ratios):5.2f}"
    print(f"{case:9} {batch:5} {shown[0]:>21} {shown[1]:>21} {ratio} {shown[2]:>21} {shown[3]:>21}")


def data(qubits: int, gates: list[Gate], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (batch, qubits) and weights."""
    rng = np.random.default_rng(0)
    number = sum(angle is not None and angle[0] == "w" for _, angle, _ in gates)
    inputs, weights = rng.uniform(0, 1, (batch, qubits)), rng.uniform(-1, 1, number)
    return torch.tensor(inputs), torch.tensor(weights)


def module(
    qubits: int,
    gates: list[Gate],
    inputs: torch.Tensor,
    start: torch.Tensor,
    cut: dict[str, object],
) -> Step:
    """Return the step of `cut_qnn`."""
    circuit = QuantumCircuit(qubits)
    angles = {"x": ParameterVector("x", qubits), "w": ParameterVector("w", len(start))}
    for name, angle, where in gates:
        own = [] if angle is None else [angles[angle[0]][angle[1]]]
        getattr(circuit, name.lower())(*own, *where)
    known = {"input_params": angles["x"], "weight_params": angles["w"], "initial_weights": start}
    network = cut_qnn(circuit, "Z" * qubits, **known, **cut).double()

    def step() -> tuple[float, float]:
        network.zero_grad()
        loss = (network(inputs) ** 2).sum()
        loss.backward()
        return loss.item(), network.weights.grad.norm().item()

    return step


def node(
    device: qml.devices.Device,
    method: str,
    qubits: int,
    gates: list[Gate],
    inputs: torch.Tensor,
    start: torch.Tensor,
) -> Step:
    """Return the step of a QNode on a device."""
    weights = start.clone().requires_grad_()
    product = qml.prod(*(qml.Z(wire) for wire in range(qubits)))
    kinds = {"RX": qml.RX, "RY": qml.RY, "CX": qml.CNOT, "CZ": qml.CZ}

    @qml.qnode(device, diff_method=method)
    def circuit(x: torch.Tensor, w: torch.Tensor) -> object:
        values = {"x": x.T, "w": w}
        for name, angle, where in gates:
            own = [] if angle is None else [values[angle[0]][angle[1]]]
            kinds[name](*own, wires=where)
        return qml.expval(product)

    def step() -> tuple[float, float]:
        weights.grad = None
        loss = (circuit(inputs, weights) ** 2).sum()
        loss.backward()
        return loss.item(), weights.grad.norm().item()

    return step


if __name__ == "__main__":
    main()
