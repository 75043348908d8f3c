"""A training loop of your own over a cut circuit: plain torch and Qiskit Machine Learning.

What is cut is the estimator's business: the network, the connector and the loop are those of any
Qiskit Machine Learning tutorial, with `CutEstimator` and `CutGradient` in two places.

    python examples/plain_loop.py [--epochs 5]
"""

from __future__ import annotations

import argparse

import torch
from qiskit.circuit.library import real_amplitudes, z_feature_map
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import CutEstimator, CutGradient
from pilotcut.training.data import load_dataset


def network(seed: int) -> TorchConnector:
    """Return a network of four qubits, cut into two halves, 256 shots a subexperiment."""
    features = z_feature_map(4, parameter_prefix="x")
    ansatz = real_amplitudes(4, reps=1, parameter_prefix="w")
    estimator = CutEstimator(labels="AABB", mode="sampled", shots=256, seed=seed)
    qnn = EstimatorQNN(
        circuit=features.compose(ansatz),
        estimator=estimator,
        observables=SparsePauliOp("ZZZZ"),
        input_params=list(features.parameters),
        weight_params=list(ansatz.parameters),
        gradient=CutGradient(estimator),
        default_precision=None,  # else Qiskit's would override the shots
    )
    torch.manual_seed(seed)
    return TorchConnector(qnn)


def main(epochs: int = 5, samples: int = 100) -> list[float]:
    """Train on two kinds of Iris and return the loss of each epoch."""
    data = load_dataset("iris", 4, max_samples=samples)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (data.x_train, data.y_train))
    loader = DataLoader(TensorDataset(x, y[:, None]), batch_size=16, shuffle=True)
    model = network(seed=7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        losses.append(total / len(x))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.3f}")
    with torch.no_grad():
        outputs = model(torch.tensor(data.x_test, dtype=torch.float32))[:, 0]
    right = (outputs * torch.tensor(data.y_test) > 0).float().mean()
    print(f"test accuracy {right:.0%}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    main(parser.parse_args().epochs)
