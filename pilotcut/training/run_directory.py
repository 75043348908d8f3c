"""The directory of one run: configuration, trace, metrics, checkpoint, weights.

    config.yaml      what was asked
    trace.jsonl      one record a compilation and a batch of queries
    metrics.jsonl    loss and accuracy an epoch
    checkpoint.pt    what a resumed run continues from
    weights.pt       the trained weights, once the run is done
    logs/            what pilots say

Checkpoints are written beside their place and renamed, so that a kill leaves the old or
the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from pilotcut.errors import RunDirectoryError
from pilotcut.trace import mend, read_jsonl

#: Settings that may differ when a run is resumed: they do not change its numbers so far.
FREE_ON_RESUME = frozenset({"epochs", "pilots"})


class RunDirectory:
    """One run's files.

    Parameters
    ----------
    path
        The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.trace = path / "trace.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.weights = path / "weights.pt"

    def check(self, *, resume: bool) -> None:
        """Say early whether a run can be started, or resumed, here.

        Raises
        ------
        RunDirectoryError
            If not.
        """
        if resume:
            if not self.config.exists():
                raise RunDirectoryError(
                    f"run directory '{self.path}' holds no run to resume; leave out --resume to "
                    f"start one there"
                )
        elif self.config.exists():
            raise RunDirectoryError(
                f"run directory '{self.path}' already holds a run, expected a new or empty one; "
                f"add --resume to continue it, or give another --run-dir"
            )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunDirectoryError(
                f"run directory '{self.path}' is not an empty directory and holds no run; give "
                f"another --run-dir"
            )

    def create(self, config: Mapping[str, Any]) -> None:
        """Start a run here.

        Raises
        ------
        RunDirectoryError
            If there is a run already, or the place cannot be written.
        """
        self.check(resume=False)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(self.config, yaml.safe_dump(dict(config), sort_keys=False).encode())
        except OSError as error:
            raise RunDirectoryError(
                f"run directory '{self.path}' cannot be written ({error.strerror}); give another "
                f"--run-dir"
            ) from error

    def resume(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the checkpoint to continue from; None if the run died before its first.

        Raises
        ------
        RunDirectoryError
            If there is no run, or it was started with other settings.
        """
        self.check(resume=True)
        self._check_same(yaml.safe_load(self.config.read_text(encoding="utf-8")) or {}, config)
        mend(self.trace)
        mend(self.metrics)
        if not self.checkpoint.exists():
            self.forget_metrics_after(0)
            return None
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        self.forget_metrics_after(state["epoch"])
        return state

    def _check_same(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        faults = [
            f"{key} is {new[key]!r}, but the run in '{self.path}' was started with "
            f"{old.get(key)!r}; leave it as it was, or start a new run directory"
            for key in new
            if key not in FREE_ON_RESUME and old.get(key) != new[key]
        ]
        if faults:
            raise RunDirectoryError(faults)

    def forget_metrics_after(self, epoch: int) -> None:
        """Drop metrics of epochs that no checkpoint holds: they are trained again."""
        if self.metrics.exists():
            kept = [
                line
                for line, record in zip(
                    self.metrics.read_text(encoding="utf-8").splitlines(keepends=True),
                    read_jsonl(self.metrics),
                    strict=True,
                )
                if record["epoch"] <= epoch
            ]
            self._replace(self.metrics, "".join(kept).encode())

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint in one step."""
        self._save(self.checkpoint, state)

    def save_weights(self, state: Mapping[str, Any]) -> None:
        """Write the trained weights, a torch state dict."""
        self._save(self.weights, state)

    def _save(self, place: Path, state: Mapping[str, Any]) -> None:
        beside = place.with_suffix(".tmp")
        torch.save(dict(state), beside)
        os.replace(beside, place)

    def _replace(self, place: Path, data: bytes) -> None:
        beside = place.with_suffix(".tmp")
        beside.write_bytes(data)
        os.replace(beside, place)
