"""Trainings of a study: from a cell's settings to a run in its directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pilotcut.study.profiles import Profile
from pilotcut.tasks import TaskManager
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory

_KNOWN = frozenset(field.name for field in fields(TrainingConfig))


def common_settings(profile: Profile, dataset: str) -> dict[str, Any]:
    """Return what all trainings on a data set share."""
    return {
        "dataset": dataset,
        "data_dir": profile.data_dir if dataset == "mnist" else None,
        "qubits": profile.qubits,
        "shots": profile.shots,
        "batch_size": profile.batch_size,
    }


def training_run(
    settings: Mapping[str, Any], run_dir: Path, tasks: TaskManager | None = None
) -> TrainingRun:
    """Return the training that a cell's settings ask for; what is no setting of one is left out."""
    config = TrainingConfig.of({k: v for k, v in settings.items() if k in _KNOWN})
    return TrainingRun(config, RunDirectory(run_dir), tasks)


def train(settings: Mapping[str, Any], run_dir: Path) -> tuple[TrainingRun, dict[str, Any]]:
    """Train in this process, from the last checkpoint if there is one; return the summary too."""
    training = training_run(settings, run_dir)
    begun = training.run.config.exists()
    return training, training.train(resume=begun)
