"""One pass of a model over the batches of a loader, with steps of an optimiser or without.

The loop that anybody would write, in plain torch. Epochs, checkpoints and callbacks are
`pilotcut.training.trainer`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pilotcut.errors import UserError
from pilotcut.training.losses import Loss, RunningScores, Scores, aligned

#: Batches of inputs and targets, such as a torch DataLoader.
Loader = Iterable[Sequence[Tensor]]

#: Called after every batch with its number from 1, their number (0 if nobody knows), its loss.
OnBatch = Callable[[int, int, float], object]


def train_pass(
    model: torch.nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    loader: Loader,
    on_batch: OnBatch,
) -> Scores:
    """Take a step for every batch; return the scores at the weights before each step."""
    model.train()
    scores, batches = RunningScores(), _length(loader)
    for number, batch in enumerate(loader, start=1):
        inputs, targets = _placed(model, batch)
        outputs, value = _step(model, loss, optimizer, inputs, targets)
        scores.add(outputs, targets, value)
        on_batch(number, batches, value)
    return scores.means


def evaluate(
    model: torch.nn.Module, loss: Loss, loader: Loader, on_batch: OnBatch | None = None
) -> Scores:
    """Return the scores of some samples."""
    training = model.training
    model.eval()
    scores, batches = RunningScores(), _length(loader)
    with torch.no_grad():
        for number, batch in enumerate(loader, start=1):
            inputs, targets = _placed(model, batch)
            outputs = aligned(model(inputs), targets)
            value = float(loss(outputs, targets))
            scores.add(outputs, targets, value)
            if on_batch is not None:
                on_batch(number, batches, value)
    model.train(training)
    return scores.means


def _step(
    model: torch.nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
) -> tuple[Tensor, float]:
    """Return outputs and loss before the step; LBFGS evaluates them several times."""
    # A closure for every optimiser, since LBFGS wants one: the loss on record is that of its first
    # evaluation, at the weights before the step, as with the others.
    first: list[tuple[Tensor, float]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        outputs = aligned(model(inputs), targets)
        value = loss(outputs, targets)
        value.backward()  # type: ignore[no-untyped-call]
        first.append((outputs.detach(), float(value.detach())))
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    return first[0]


def _placed(model: torch.nn.Module, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets where the model is."""
    if len(batch) != 2:
        raise UserError(
            f"a batch of the loader has {len(batch)} parts, expected inputs and targets"
        )
    place = next((p.device for p in model.parameters()), None)
    inputs, targets = batch
    return inputs.to(place), targets.to(place)


def _length(loader: Loader) -> int:
    """Return the number of batches, 0 where nobody knows."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return 0
