"""Losses by name, and accuracy.

Two kinds of targets: ±1 (floats), of which the sign of one output decides, and class indices
(integers), of which the largest of several outputs decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from pilotcut.errors import UserError
from pilotcut.options import choice_fault
from pilotcut.training.config import LOSSES

#: A loss: outputs and targets of a batch to a mean over its samples.
Loss = Callable[[Tensor, Tensor], Tensor]

#: What multiplies expectations, which lie in [-1, 1], to become the logits of a cross entropy:
#: without it the surest answer among three classes would have probability 0.79.
LOGIT_SCALE = 4.0


@dataclass(frozen=True)
class Scores:
    """Loss and accuracy on some samples.

    Attributes
    ----------
    loss
        Mean over the samples.
    accuracy
        Share that is classified right; None where targets are neither ±1 nor class indices.
    """

    loss: float
    accuracy: float | None


class RunningScores:
    """Sums of losses and hits over the batches so far."""

    def __init__(self) -> None:
        self._total, self._right, self._samples = 0.0, 0, 0
        self._classified = True

    def add(self, outputs: Tensor, targets: Tensor, loss: float) -> None:
        """Add a batch with its mean loss."""
        self._total += loss * len(targets)
        self._samples += len(targets)
        right = hits(outputs, targets)
        if right is None:
            self._classified = False
        else:
            self._right += right

    @property
    def means(self) -> Scores:
        """Means over all samples so far."""
        if not self._samples:
            raise UserError("a loader has no samples, expected at least one batch")
        accuracy = self._right / self._samples if self._classified else None
        return Scores(self._total / self._samples, accuracy)


def hits(outputs: Tensor, targets: Tensor) -> int | None:
    """Return how many samples are classified right, None where targets name no classes."""
    if not targets.is_floating_point():
        if outputs.ndim != targets.ndim + 1:
            return None
        return int((outputs.detach().argmax(dim=1) == targets).sum())
    if outputs.shape != targets.shape or not bool((targets.abs() == 1).all()):
        return None
    return int((outputs.detach() * targets > 0).sum())


def aligned(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return outputs (samples, 1) as (samples,) where the targets are."""
    single = outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1
    return outputs.squeeze(-1) if single and targets.is_floating_point() else outputs


def find_loss(loss: str | Loss) -> Loss:
    """Return the loss of that name, or what was given.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if callable(loss):
        return loss
    name = str(loss).lower()
    if name not in _LOSSES:
        raise UserError(choice_fault("loss", str(loss), LOSSES))
    return _LOSSES[name]


@dataclass(frozen=True)
class _Scaled:
    """A loss of outputs that are multiplied first; unlike a function in a function it pickles."""

    loss: Loss
    scale: float

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.scale * outputs, targets)


def scaled(loss: Loss, scale: float = LOGIT_SCALE) -> Loss:
    """Return a loss of outputs that are multiplied first, from expectations to logits."""
    return _Scaled(loss, scale)


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape or not targets.is_floating_point():
        raise _unfit("mse", "floating targets of the outputs' shape", outputs, targets)
    return functional.mse_loss(outputs, targets)


def _hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    _check_signs("hinge", outputs, targets)
    return functional.relu(1 - targets * outputs).mean()


def _bce(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of logits; with targets ±1 both of its terms are one softplus."""
    _check_signs("bce", outputs, targets)
    return functional.softplus(-targets * outputs).mean()


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point() or outputs.ndim != 2 or targets.ndim != 1:
        raise _unfit("cross_entropy", "class indices and an output for each", outputs, targets)
    classes = outputs.shape[1]
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < classes):
        raise UserError(
            f"loss cross_entropy has targets from {int(targets.min())} to {int(targets.max())}, "
            f"expected 0 to {classes - 1}, one output each; give the model more outputs"
        )
    return functional.cross_entropy(outputs, targets)


def _check_signs(name: str, outputs: Tensor, targets: Tensor) -> None:
    signs = targets.is_floating_point() and bool((targets.abs() == 1).all())
    if outputs.shape != targets.shape or not signs:
        raise _unfit(name, "one output and a target -1.0 or 1.0 a sample", outputs, targets)


def _unfit(name: str, expected: str, outputs: Tensor, targets: Tensor) -> UserError:
    kind = str(targets.dtype).removeprefix("torch.")
    return UserError(
        f"loss {name} has outputs {tuple(outputs.shape)} and {kind} targets "
        f"{tuple(targets.shape)}, expected {expected}; choose another loss or change the targets"
    )


_LOSSES: dict[str, Loss] = {
    "mse": _mse,
    "hinge": _hinge,
    "bce": _bce,
    "cross_entropy": _cross_entropy,
}
