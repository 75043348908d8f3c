"""A network that learns angles which are cheap to cut: gamma in the loss (CutReg).

The angle of a cut RZZ decides how many shots the cut costs: gamma is 1 + 2 |sin x|. Trained twice,
on the loss alone and on loss + strength * log gamma^2, the network predicts as well, and its values
need fewer shots for the same error.

    python examples/cheap_cuts.py [--epochs 15]
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from pilotcut import CutEstimator, CutQNN, cut_qnn
from pilotcut.training.data import load_dataset

SHOTS = 1024


class Trained(NamedTuple):
    """What came of one training: gamma^2, test accuracy, and shots for an error of 0.01."""

    overhead: float
    accuracy: float
    shots: float


def ansatz(layers: int = 2) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """Return a circuit of four qubits; of a layer's four RZZ two lie between the halves."""
    x, w = ParameterVector("x", 4), ParameterVector("w", 8 * layers)
    circuit = QuantumCircuit(4)
    for layer in range(layers):
        first = 8 * layer
        for qubit in range(4):
            circuit.ry(x[qubit], qubit)
            circuit.ry(w[first + qubit], qubit)
        for qubit in range(4):
            circuit.rzz(w[first + 4 + qubit], qubit, (qubit + 1) % 4)
    circuit.h(range(4))
    return circuit, x, w


def main(epochs: int = 15, strength: float = 0.05, samples: int = 100) -> tuple[Trained, Trained]:
    """Train on two kinds of Iris, without and with gamma in the loss, and return both."""
    found = []
    for weight in (0.0, strength):
        one = train(weight, epochs, samples)
        found.append(one)
        print(
            f"strength {weight}: γ² {one.overhead:.2f}, test accuracy {one.accuracy:.0%}, "
            f"{one.shots:,.0f} shots a subexperiment for an error of 0.01"
        )
    return found[0], found[1]


def train(strength: float, epochs: int, samples: int) -> Trained:
    """Train a network in exact mode and return what it came to."""
    torch.manual_seed(7)
    circuit, x, w = ansatz()
    qnn = cut_qnn(circuit, "ZZZZ", input_params=x, weight_params=w, labels="AABB", seed=7)
    data = load_dataset("iris", 4, max_samples=samples)
    inputs, targets = (torch.tensor(a, dtype=torch.float32) for a in (data.x_train, data.y_train))
    optimizer = torch.optim.Adam(qnn.parameters(), lr=0.1)
    for _ in range(epochs):
        for some in torch.randperm(len(inputs)).split(16):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(qnn(inputs[some])[:, 0], targets[some])
            # The cut angles are weights alone: gamma is the same for every sample.
            (loss + strength * qnn.log_overhead(inputs[:1]).mean()).backward()
            optimizer.step()
    tests = torch.tensor(data.x_test, dtype=torch.float32)
    with torch.no_grad():
        right = (qnn(tests)[:, 0] * torch.tensor(data.y_test) > 0).double().mean()
        overhead = qnn.log_overhead(tests[:1]).exp()
    return Trained(float(overhead), float(right), shots_needed(circuit, qnn, tests))


def shots_needed(circuit: QuantumCircuit, qnn: CutQNN, inputs: torch.Tensor) -> float:
    """Return shots a subexperiment for a standard error of 0.01, in the mean over inputs.

    Dealt to where errors come from: shots that each subexperiment has alike are spent on those of
    little weight too, and a small gamma saves none of them.
    """
    weights = qnn.weights.detach().expand(len(inputs), -1)
    # Qiskit orders parameters by name: w before x.
    values = torch.cat([weights, inputs], dim=1).double().numpy()
    estimator = CutEstimator(
        labels="AABB", mode="sampled", shots=SHOTS, seed=7, shot_allocation="optimal"
    )
    stds = estimator.run([(circuit, "ZZZZ", values)]).result()[0].data.stds
    return float(SHOTS * (stds**2).mean() / 0.01**2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    main(parser.parse_args().epochs)
