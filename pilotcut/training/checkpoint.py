"""State of a training, and the checkpoint from which a resumed one goes on bit for bit.

A checkpoint is a plain dict of tensors, numbers and texts, which torch reads without running any
code (``weights_only``): no class of ours is in it, so classes may be renamed. The file is
`pilotcut.training.trainer_directory`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from pilotcut.execution.batch_log import BatchLog
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.training.history import METRICS, Epoch
from pilotcut.training.optimisers import LearningRateSchedule
from pilotcut.training.passes import Loader


@dataclass(frozen=True)
class Best:
    """Lowest value so far of what is watched, with the weights it belongs to."""

    epoch: int
    value: float
    weights: dict[str, Any]


@dataclass
class FitState:
    """State of a training: its loaders, what it was asked, and how far it has come."""

    loader: Loader
    validation: Loader | None
    test: Loader | None
    optimizer: torch.optim.Optimizer | None
    schedule: LearningRateSchedule | None
    #: Optimiser, learning rate and seed: what a resumed training must keep to.
    asked: Mapping[str, Any] = field(default_factory=dict)
    #: Without gradients, the weights (weights,) that the search began with: together with the
    #: values on record they lead to where it is.
    start: Tensor | None = None
    history: list[Epoch] = field(default_factory=list)
    best: Best | None = None
    #: Up to the end of the last epoch, and of that before this process.
    seconds: float = 0.0
    before: float = 0.0
    since: float = field(default_factory=perf_counter)

    @property
    def done(self) -> int:
        """Epochs so far."""
        return self.history[-1].epoch if self.history else 0


def state_of(fit: FitState, model: torch.nn.Module) -> dict[str, Any]:
    """Return what a resumed training needs to go on bit for bit."""
    best = fit.best
    return {
        "epoch": fit.done,
        "history": {name: [getattr(epoch, name) for epoch in fit.history] for name in METRICS},
        "best": None if best is None else dict(vars(best)),
        "network": model.state_dict(),
        "asked": dict(fit.asked),
        "optimizer": {"start": fit.start} if fit.optimizer is None else fit.optimizer.state_dict(),
        "schedule": None if fit.schedule is None else fit.schedule.state_dict(),
        "generators": [generator.get_state() for generator in _generators(fit.loader)],
        "estimators": [stages.state_dict() for stages in _stages(model)],
        "seconds": fit.seconds,
    }


def restore(state: Mapping[str, Any], fit: FitState, model: torch.nn.Module) -> None:
    """Go to where the state was taken.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError, AttributeError
        If it is the state of something else.
    """
    model.load_state_dict(state["network"])
    if fit.optimizer is None:
        fit.start = state["optimizer"]["start"]
    else:
        fit.optimizer.load_state_dict(state["optimizer"])
    if fit.schedule is not None:
        fit.schedule.load_state_dict(state["schedule"])
    for generator, its in zip(_generators(fit.loader), state["generators"], strict=True):
        generator.set_state(its)
    for stages, its in zip(_stages(model), state["estimators"], strict=True):
        stages.load_state_dict(its)
    columns = state["history"]
    rows = zip(*columns.values(), strict=True)
    fit.history = [Epoch(**dict(zip(columns, row, strict=True))) for row in rows]
    fit.best = None if state["best"] is None else Best(**state["best"])
    fit.seconds = fit.before = float(state["seconds"])


def faults_of(
    state: Mapping[str, Any], fit: FitState, epochs: int, *, cosine: bool, where: str
) -> list[str]:
    """Return a line for each setting with which a checkpoint cannot be continued.

    Parameters
    ----------
    state
        Of the checkpoint.
    fit
        The training that is to continue it.
    epochs
        The last epoch that is asked for.
    cosine
        Whether the schedule is ours that reaches 0 with the last epoch.
    where
        The checkpoint's training, in words.
    """
    faults = [
        f"{name} is {fit.asked[name]!r}, but {where} was started with {old!r}; keep to that, "
        f"or give another directory"
        for name, old in state["asked"].items()
        if fit.asked[name] != old
    ]
    ends = (state["schedule"] or {}).get("T_max", epochs)
    if state["epoch"] > epochs:
        faults.append(
            f"epochs is {epochs}, but {where} has done {state['epoch']}; give at least "
            f"{state['epoch']}, or another directory"
        )
    elif cosine and ends != epochs:
        faults.append(
            f"epochs is {epochs}, but the cosine schedule of {where} ends with {ends}; "
            f"keep to that, or give another directory"
        )
    return faults


def _generators(loader: Loader) -> list[torch.Generator]:
    """Return the generators that a loader draws from, each once."""
    sampler, batches = (getattr(loader, name, None) for name in ("sampler", "batch_sampler"))
    owners = (loader, sampler, batches, getattr(batches, "sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    # A DataLoader that shuffles hands its generator on to its sampler: it is saved once.
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def _stages(model: torch.nn.Module) -> list[BatchLog]:
    """Return what counts the batches of a model's cut estimators, each once."""
    owners = [o for m in model.modules() for o in (m, getattr(m, "neural_network", None))]
    found = [getattr(owner, "estimator", None) for owner in owners]
    stages = [one.stages for one in found if isinstance(one, CutEstimator)]
    return list({id(one): one for one in stages}.values())
