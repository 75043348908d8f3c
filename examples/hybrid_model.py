"""A classical layer before and one after a cut circuit, trained together as one torch module.

The first layer brings 16 pixels down to 4 angles, so gradients flow through the circuit's inputs
too; the last one turns two expectations into the logits of three digits.

    python examples/hybrid_model.py [--epochs 5]
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import Trainer, cut_qnn
from pilotcut.training.data import load_dataset
from pilotcut.training.model import classifier


def network() -> torch.nn.Sequential:
    """Return linear layer, circuit of four qubits in two fragments, linear layer."""
    torch.manual_seed(7)
    model = classifier(4)
    circuit = cut_qnn(
        model.circuit,
        ["IIZZ", "ZZII"],
        input_params=model.inputs,
        weight_params=model.weights,
        labels="AABB",
        mode="exact",
        seed=7,
    )
    return torch.nn.Sequential(
        torch.nn.Linear(16, 4), torch.nn.Tanh(), circuit, torch.nn.Linear(2, 3)
    )


def main(epochs: int = 5, samples: int = 200) -> list[float]:
    """Train on three digits and return the loss of each epoch."""
    data = load_dataset("digits", 16, classes=3, max_samples=samples)
    loader = DataLoader(samples_of(data.x_train, data.y_train), batch_size=16, shuffle=True)
    test = DataLoader(samples_of(data.x_test, data.y_test), batch_size=64)
    trainer = Trainer(network(), learning_rate=0.1, loss="cross_entropy", schedule="cosine")
    history = trainer.fit(loader, epochs=epochs)
    for epoch in history.epochs:
        print(f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, accuracy {epoch.train_accuracy:.0%}")
    print(f"test accuracy {trainer.evaluate(test).accuracy:.0%}")
    return [epoch.loss for epoch in history.epochs]


def samples_of(x, y) -> TensorDataset:
    """Return features and class indices as torch takes them."""
    return TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    main(parser.parse_args().epochs)
