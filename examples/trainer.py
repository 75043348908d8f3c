"""A `Trainer` over a cut circuit, on pilots: early stopping, a callback, checkpoints.

Run it, interrupt it, and run it again with --resume: it comes to the same weights.

    python examples/trainer.py [--epochs 20] [--directory runs/example] [--resume]
        [--pilots laptop]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import Callback, PilotManager, TaskManager, Trainer, cut_qnn
from pilotcut.pilots.description import embedded
from pilotcut.training.callbacks import ProgressBar, Training
from pilotcut.training.data import load_dataset
from pilotcut.training.history import Epoch, History
from pilotcut.training.model import classifier


class Watch(Callback):
    """Prints the epochs, and ends the training where it is good enough."""

    def on_epoch_end(self, trainer: Training, epoch: Epoch) -> None:
        """Print a line."""
        print(f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, validation {epoch.val_loss:.3f}")
        if epoch.val_accuracy == 1.0 and epoch.val_loss < 0.1:
            trainer.stop = True


def main(
    epochs: int = 20,
    directory: Path | None = None,
    resume: bool = False,
    pilots: Path | None = None,
    samples: int = 100,
) -> History:
    """Train on two kinds of Iris and return the history."""
    data = load_dataset("iris", 4, validation=0.2, max_samples=samples)
    described = PilotManager.from_yaml(pilots) if pilots else PilotManager(embedded(2))
    with described as manager, TaskManager(manager) as tasks:
        model = classifier(4)
        qnn = cut_qnn(
            model.circuit,
            model.observables,
            input_params=model.inputs,
            weight_params=model.weights,
            cuts=2,
            mode="sampled",
            shots=256,
            tasks=tasks,
            seed=7,
        )
        trainer = Trainer(
            qnn,
            optimizer="adam",
            loss="mse",
            schedule="plateau",
            patience=4,
            callbacks=[Watch(), ProgressBar()],
            seed=7,
            directory=directory,
        )
        history = trainer.fit(
            batches(data.x_train, data.y_train, 16),
            batches(data.x_val, data.y_val, 64),
            epochs=epochs,
            resume=resume,
        )
        test = trainer.evaluate(batches(data.x_test, data.y_test, 64))
    print(f"weights of epoch {history.kept.epoch}: test accuracy {test.accuracy:.0%}")
    return history


def batches(x, y, size: int) -> DataLoader:
    """Return samples in batches, in an order that the trainer's seed decides."""
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (x, y))
    return DataLoader(TensorDataset(x, y), batch_size=size, shuffle=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pilots", type=Path)
    main(**vars(parser.parse_args()))
