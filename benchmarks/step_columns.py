"""Every way in which `training_step.py` trains a circuit: a function from a case to a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
import torch
from circuit_network import traced
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from step_cases import Case
from tensor_network import BEST, WAYS

from pilotcut import cut_qnn

#: Steps after which torch has optimised a traced function.
WARM_UP = 3

#: Gates of `step_cases.BASIS` in PennyLane.
PENNYLANE = {
    "h": qml.Hadamard,
    "p": qml.PhaseShift,
    "rx": qml.RX,
    "ry": qml.RY,
    "rz": qml.RZ,
    "cx": qml.CNOT,
    "cz": qml.CZ,
    "rzz": qml.IsingZZ,
}


@dataclass
class Step:
    """One step, which always starts from the same weights; its call returns the loss."""

    run: Callable[[], float]
    slope: Callable[[], float | None] = lambda: None  # the norm of the last step's gradient


def columns() -> dict[str, Callable[[Case], Step]]:
    """Return all columns but tensorcircuit-ng's, by name."""
    return {
        "pilotcut exact, cut": ours,
        "pilotcut exact, cut, states": partial(ours, engine="statevector"),
        "pilotcut exact, uncut": partial(ours, cut=False),
        "pilotcut exact, uncut, states": partial(ours, cut=False, engine="statevector"),
        "pilotcut sampled 1024 shots, cut": partial(ours, mode="sampled"),
        "pilotcut counts 1024 shots, cut": partial(ours, mode="counts"),
        "PennyLane default.qubit, uncut": partial(pennylane, "default.qubit", "backprop"),
        "PennyLane lightning.qubit, uncut": partial(pennylane, "lightning.qubit", "adjoint"),
        "Qiskit ML + Aer EstimatorV2, uncut": qiskit_ml,
        "Aer EstimatorV2, uncut, value alone": aer_values,
        "quimb traced, uncut": quimb_gates,
        "quimb traced, uncut, value alone": partial(quimb_gates, gradient=False),
        **{f"quimb {way}, uncut": partial(quimb_chain, way) for way in WAYS},
    }


#: quimb's fastest network of the chain.
QUIMB_CHAIN = f"quimb {BEST}, uncut"


def train_step(forward: torch.nn.Module, case: Case) -> Step:
    """Return forward, loss, backward and Adam's step."""
    x, y, _ = map(torch.tensor, case.data())
    optimizer = torch.optim.Adam(forward.parameters(), lr=1e-12)

    def run() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(forward(x).reshape(y.shape), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def slope() -> float:
        return float(torch.cat([p.grad.flatten() for p in forward.parameters()]).norm())

    return Step(run, slope)


def ours(case: Case, cut: bool = True, mode: str = "exact", engine: str = "auto") -> Step:
    """Return our step."""
    network = cut_qnn(
        case.circuit,
        case.observable,
        input_params=case.inputs,
        weight_params=case.weights,
        mode=mode,
        engine=engine,
        seed=1,
        initial_weights=case.data()[2],
        max_seconds=np.inf,
        **(case.cut if cut else {}),
    ).double()
    return train_step(network, case)


class Network(torch.nn.Module):
    """A module around a function of inputs and weights."""

    def __init__(self, values: Callable[..., torch.Tensor], weights: np.ndarray) -> None:
        super().__init__()
        self.values = values
        self.weights = torch.nn.Parameter(torch.tensor(weights))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return values (batch,) of inputs (batch, inputs)."""
        return self.values(inputs, self.weights)


def pennylane(device: str, method: str, case: Case) -> Step:
    """Return PennyLane's step on the whole circuit, broadcast over the batch."""
    gates = case.gates

    @qml.qnode(qml.device(device, wires=case.circuit.num_qubits), diff_method=method)
    def circuit(inputs: torch.Tensor, weights: torch.Tensor) -> object:
        columns = [*inputs.T, *weights]
        for name, qubits, angle in gates:
            angles = [] if angle is None else [angle_of(angle, columns)]
            PENNYLANE[name](*angles, wires=qubits)
        return qml.expval(pennylane_sum(case))

    return train_step(Network(circuit, case.data()[2]), case)


def pennylane_sum(case: Case) -> qml.operation.Operator:
    """Return the observable."""
    terms = [
        qml.prod(*(getattr(qml, f"Pauli{p}")(q) for p, q in zip(letters, qubits, strict=True)))
        for letters, qubits, _ in case.terms
    ]
    return terms[0] if len(terms) == 1 else qml.dot([t[2] for t in case.terms], terms)


def angle_of(angle: Any, columns: list[Any]) -> Any:
    """Return a gate's angle from all parameters' columns."""
    return angle if isinstance(angle, float) else angle[1] * columns[angle[0]]


def aer() -> AerEstimator:
    """Return Aer's exact estimator."""
    return AerEstimator(options={"backend_options": {"max_parallel_threads": 1}, "run_options": {}})


def qiskit_ml(case: Case) -> Step:
    """Return Qiskit ML's step with its parameter shift over Aer's exact EstimatorV2."""
    qnn = EstimatorQNN(
        circuit=case.circuit,
        estimator=aer(),
        observables=case.observable,
        input_params=case.inputs,
        weight_params=case.weights,
        default_precision=0.0,
    )
    return train_step(TorchConnector(qnn, initial_weights=case.data()[2]).double(), case)


def aer_values(case: Case) -> Step:
    """Return the loss by Aer's exact EstimatorV2, without a gradient."""
    _, targets, _ = case.data()
    values = case.rows()
    estimator = aer()

    def run() -> float:
        found = estimator.run([(case.circuit, case.observable, values)], precision=0.0).result()
        return float(np.mean((found[0].data.evs - targets[:, 0]) ** 2))

    return Step(run)


def quimb_gates(case: Case, gradient: bool = True) -> Step:
    """Return quimb's step on the tensor networks of all gates, one for each term."""
    inputs, targets, weights = case.data()
    values = traced(case.gates, case.terms, torch.tensor(inputs), torch.tensor(weights))
    if gradient:
        return warm(train_step(Network(values, weights), case))

    def run() -> float:
        with torch.no_grad():
            found = values(torch.tensor(inputs), torch.tensor(weights))
        return float(np.mean((found.numpy() - targets[:, 0]) ** 2))

    return Step(run)


def quimb_chain(way: str, case: Case) -> Step:
    """Return quimb's step on a network made for the chain, see `tensor_network.py`."""
    inputs, _, weights = case.data()
    values = WAYS[way](torch.tensor(inputs), torch.tensor(weights))
    return warm(train_step(Network(values, weights), case))


def warm(step: Step) -> Step:
    """Return a step behind those in which torch optimises."""
    for _ in range(WARM_UP):
        step.run()
    return step
