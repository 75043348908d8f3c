"""Optimisers and learning-rate schedules by name: torch's, and Qiskit Machine Learning's.

Those without gradients keep no state that could be saved. Both here decide by nothing but the
values they are given and a seed, so giving them the same values again brings them to where they
were: that is how a training is resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from qiskit_machine_learning.optimizers import COBYLA, SPSA, Optimizer
from qiskit_machine_learning.optimizers.spsa import powerseries
from qiskit_machine_learning.utils import algorithm_globals
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LRScheduler,
    ReduceLROnPlateau,
    StepLR,
)

from pilotcut.options import check, choice_fault
from pilotcut.training.config import (
    LEARNING_RATE,
    LEARNING_RATES,
    SCHEDULES,
    schedule_fault,
)

#: More evaluations than anybody waits for: it is the trainer who ends a search.
_NO_LIMIT = 10**9

LearningRateSchedule = LRScheduler | ReduceLROnPlateau


def check_optimizer(
    name: str, rate: float | None, schedule: str | Callable[..., LearningRateSchedule]
) -> None:
    """Raise one `UserError` for all that is wrong with an optimiser and its schedule."""
    is_function = callable(schedule)
    unknown = "" if is_function else choice_fault("schedule", schedule, SCHEDULES)
    check(
        choice_fault("optimizer", name.lower(), LEARNING_RATES),
        "" if rate is None else LEARNING_RATE.fault("learning_rate", rate),
        unknown or schedule_fault(name, "a function" if is_function else str(schedule)),
    )


def torch_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], rate: float
) -> torch.optim.Optimizer:
    """Return an optimiser that uses gradients.

    LBFGS makes up to 5 iterations a batch, with a line search: `rate` is where it begins.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=rate)
    assert name == "lbfgs"
    return torch.optim.LBFGS(parameters, lr=rate, max_iter=5, line_search_fn="strong_wolfe")


def torch_schedule(
    schedule: str | Callable[..., LearningRateSchedule],
    optimizer: torch.optim.Optimizer,
    epochs: int,
) -> LearningRateSchedule | None:
    """Return a schedule, None for a constant learning rate.

    "cosine" falls to 0 over all epochs, "step" halves every 10 epochs, "exponential" takes 5 %
    off every epoch, "plateau" halves after more than 5 epochs without a lower loss (that of the
    validation samples, where there are any).
    """
    if callable(schedule):
        return schedule(optimizer)
    if schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=epochs)
    if schedule == "step":
        return StepLR(optimizer, step_size=10, gamma=0.5)
    if schedule == "exponential":
        return ExponentialLR(optimizer, gamma=0.95)
    if schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    return None


def search(
    name: str,
    objective: Callable[[np.ndarray], float],
    start: np.ndarray,
    rate: float,
    seed: int,
) -> None:
    """Let a gradient-free optimiser ask for values until it is done, or `objective` raises.

    COBYLA's `rate` is the radius of its first trust region, in radians, and it ends by itself
    where the radius has shrunk to 1e-4. SPSA's is the a of its steps, a / k^0.602 times a slope
    that is cut to length 1; perturbations are 0.2 / k^0.101, without its calibration, which takes
    50 evaluations. It asks for three values a step, two for the slope and one where the step has
    led.
    """
    with _seeded(seed):
        _optimizer(name, rate).minimize(objective, start)  # type: ignore[arg-type]


def _optimizer(name: str, rate: float) -> Optimizer:
    if name == "cobyla":
        return COBYLA(maxiter=_NO_LIMIT, rhobeg=rate)
    assert name == "spsa"
    return SPSA(
        maxiter=_NO_LIMIT,
        learning_rate=lambda: powerseries(rate, 0.602),
        perturbation=lambda: powerseries(0.2, 0.101),
        trust_region=True,
        callback=lambda *_: None,  # with one it evaluates each step
    )


def as_point(weights: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """Return all weights in one row, in double precision, as `search` moves them."""
    return torch.cat([p.detach().reshape(-1).double().cpu() for p in weights])


def assign(weights: Sequence[torch.nn.Parameter], point: np.ndarray) -> None:
    """Give weights the values of a row."""
    parts = torch.as_tensor(point).split([p.numel() for p in weights])
    with torch.no_grad():
        for parameter, part in zip(weights, parts, strict=True):
            parameter.copy_(part.reshape(parameter.shape))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what Qiskit ML draws from, and leave it afterwards as it was."""
    before, state = algorithm_globals.random_seed, algorithm_globals.random.bit_generator.state
    algorithm_globals.random_seed = seed
    try:
        yield
    finally:
        # The seed first: setting it makes a new generator.
        algorithm_globals.random_seed = before
        algorithm_globals.random.bit_generator.state = state
