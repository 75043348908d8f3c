"""Files of a trainer: metrics, checkpoint, weights, curves for TensorBoard.

    metrics.jsonl    loss and accuracy an epoch
    checkpoint.pt    what a resumed training continues from
    weights.pt       the trained weights, once it is done
    tensorboard/     curves for TensorBoard, if asked for

Files are replaced in one step, so that a kill, or a full disk, leaves the old or the new one. What
they hold is `pilotcut.training.checkpoint`'s; nothing here knows what was asked of a run.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pilotcut.errors import RunDirectoryError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten
from pilotcut.io.jsonl import read_jsonl, unwritten

#: What a checkpoint holds: records of all epochs; the best epoch with its weights; states of
#: the loader's generators and of the model's estimators.
CHECKPOINT = frozenset(
    {
        "epoch",
        "history",
        "best",
        "network",
        "asked",
        "optimizer",
        "schedule",
        "generators",
        "estimators",
        "seconds",
    }
)


class TrainerDirectory:
    """Directory in which a trainer keeps its files.

    Parameters
    ----------
    path
        The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.weights = path / "weights.pt"
        self.tensorboard = path / "tensorboard"

    def make(self) -> None:
        """Make the directory; see `make_directory`."""
        make_directory(self.path)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return what a training continues from, None where there is no checkpoint.

        Raises
        ------
        RunDirectoryError
            If it cannot be read.
        """
        if not self.checkpoint.exists():
            return None
        try:
            # weights_only: a file from elsewhere must not run code, as pickles do.
            state = torch.load(self.checkpoint, weights_only=True)
        except Exception:  # torch, pickle and zip raise half a dozen kinds, in many words
            raise self.damaged_checkpoint("it is damaged") from None
        if not isinstance(state, dict) or not state.keys() >= CHECKPOINT or not state["history"]:
            raise self.damaged_checkpoint("it holds something else")
        return state

    def load_weights(self) -> dict[str, Any]:
        """Return the trained weights, a torch state dict.

        Raises
        ------
        RunDirectoryError
            If there are none, or they cannot be read.
        """
        if not self.weights.exists():
            raise RunDirectoryError(
                f"run directory '{self.path}' holds no weights.pt, expected a finished run; "
                f"finish it with --resume"
            )
        try:
            weights: dict[str, Any] = torch.load(self.weights, weights_only=True)
        except Exception:
            raise self.damaged_weights("it is damaged") from None
        return weights

    def damaged_weights(self, why: str) -> RunDirectoryError:
        """Return the error of weights that cannot be used."""
        return RunDirectoryError(
            f"{self.weights}: cannot be read ({why}), expected the weights of this run; remove it "
            f"and write it again with --resume"
        )

    def damaged_checkpoint(self, why: str) -> RunDirectoryError:
        """Return the error of a checkpoint that cannot be used."""
        return RunDirectoryError(
            f"{self.checkpoint}: cannot be read ({why}), expected a checkpoint of this run; "
            f"remove it to --resume from the first epoch, or give another --run-dir"
        )

    def forget_metrics_after(self, epoch: int) -> None:
        """Drop metrics of epochs that no checkpoint holds, and torn lines."""
        if not self.metrics.exists():
            return
        kept = [r for r in read_jsonl(self.metrics) if 0 < r.get("epoch", 0) <= epoch]
        self._write(self.metrics, "".join(f"{json.dumps(r)}\n" for r in kept).encode())

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint in one step.

        Raises
        ------
        RunDirectoryError
            If it cannot be written; the one before stays.
        """
        self._save(self.checkpoint, state)

    def save_weights(self, state: Mapping[str, Any]) -> None:
        """Write the trained weights, a torch state dict; raises as `save_checkpoint` does."""
        self._save(self.weights, state)

    def _save(self, place: Path, state: Mapping[str, Any]) -> None:
        content = io.BytesIO()  # of a full disk torch itself says "unexpected pos 64 vs 0"
        torch.save(dict(state), content)
        self._write(place, content.getvalue())

    def _write(self, place: Path, data: bytes) -> None:
        try:
            write_atomically(place, data)
        except OSError as error:
            raise unwritten(place, error) from error


def make_directory(path: Path) -> None:
    """Make the directory of a run, where it does not exist, and see that it can be written.

    Raises
    ------
    RunDirectoryError
        If not.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        raise unusable(path, error) from None


def fault_of_start(path: Path, config: Path) -> str | None:
    """Return why no run can be started in a directory, None if one may be."""
    if config.exists():
        return (
            "already holds a run, expected a new or empty one; add --resume to continue it, or "
            "give another --run-dir"
        )
    if path.exists() and not path.is_dir():
        return "is a file, expected a new or empty directory; give another --run-dir"
    return None


def unusable(path: Path, error: OSError) -> RunDirectoryError:
    """Return the error of a directory that cannot be written."""
    return RunDirectoryError(
        f"run directory '{path}' cannot be used ({why_unwritten(error, path)}), expected a "
        f"place that can be written; make room, or give another --run-dir"
    )
