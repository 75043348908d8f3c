"""Directory of one run of `pilotcut train`: the trainer's files, and what was asked.

    config.yaml          what was asked
    trace.jsonl          one record a compilation and a batch of queries
    metrics.jsonl, checkpoint.pt, weights.pt, tensorboard/
                         the trainer's, see `pilotcut.training.trainer_directory`
    recommendation.json  where the circuit is cut, if that was chosen by prediction
    begun.yaml           what was asked, where the first epoch could not be written
    logs/                what pilots say

Owns whether a run may be started, or resumed, here. A directory that holds nothing but logs and
leftovers holds no run: a start that failed before anything was trained does not stand in the way
of the next, which may also be a resumed one: of what could not be written the settings stay, as
begun.yaml, with measured tensors.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from pilotcut.cutting.placement import Placement
from pilotcut.errors import RunDirectoryError, UserError
from pilotcut.execution.query_store import FOLDER, is_store
from pilotcut.io.atomic import write_atomically
from pilotcut.io.jsonl import mend
from pilotcut.io.yaml_reader import load_yaml
from pilotcut.options import SEPARATE, STATEVECTOR
from pilotcut.training.config import TrainingConfig, settled
from pilotcut.training.trainer_directory import TrainerDirectory, fault_of_start, unusable

#: Settings that may differ when a run is resumed: they do not change its numbers so far.
FREE_ON_RESUME = frozenset(
    {"epochs", "pilots", "store", "patience", "tensorboard", "max_seconds", "max_usage"}
)

#: What pilots write beside a run, before it begins.
OF_PILOTS = frozenset({"logs", "events.jsonl", "connection.json", "pilots.json"})

#: What is left of files that were being written when a run ended.
_LEFTOVER = re.compile(
    r"(config\.yaml|checkpoint\.pt|weights\.pt|metrics\.jsonl|recommendation\.json)"
    r"\.[0-9a-f]{12}\.partial"
)


class RunDirectory(TrainerDirectory):
    """Files of one run of `pilotcut train`.

    Parameters
    ----------
    path
        The directory.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config = path / "config.yaml"
        self.trace = path / "trace.jsonl"
        self.recommendation = path / "recommendation.json"
        self.begun = path / "begun.yaml"

    def check(self, *, resume: bool) -> None:
        """Say early whether a run can be started, or resumed, here.

        Raises
        ------
        RunDirectoryError
            If not.
        """
        try:
            fault = self._fault_of_resume() if resume else self._fault_of_start()
        except OSError as error:
            raise unusable(self.path, error) from None
        if fault:
            raise RunDirectoryError(f"run directory '{self.path}' {fault}")

    def _fault_of_resume(self) -> str | None:
        if self._settings_file is not None or self._leftovers():
            return None
        return "holds no run to resume; leave out --resume to start one there"

    def _fault_of_start(self) -> str | None:
        if (fault := fault_of_start(self.path, self.config)) or not self.path.exists():
            return fault
        leftovers = {entry.name for entry in self._leftovers()}
        other = sorted({entry.name for entry in self.path.iterdir()} - OF_PILOTS - leftovers)
        if other:
            return (
                f"holds '{other[0]}' and no run, expected a new or empty one; give another "
                f"--run-dir"
            )
        return None

    @property
    def _settings_file(self) -> Path | None:
        """What says what was asked of the run, or of the start that failed here; None for none."""
        return next((file for file in (self.config, self.begun) if file.is_file()), None)

    def _leftovers(self) -> list[Path]:
        """Return what a start that failed, or was killed, has left beside logs."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        return [
            path
            for path in found
            if path == self.begun
            or _LEFTOVER.fullmatch(path.name)
            or (path.name == FOLDER and is_store(path))
        ]

    def _clear(self) -> None:
        """Remove leftovers: what is started anew has other numbers."""
        for path in self._leftovers():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def create(self, config: Mapping[str, Any]) -> None:
        """Start a run here.

        Raises
        ------
        RunDirectoryError
            If there is a run already, or the place cannot be written.
        """
        self.check(resume=False)
        self.make()
        try:
            self._clear()
            self._save_settings(config)
        except OSError as error:
            raise unusable(self.path, error) from error

    def discard(self, *, resumable: bool = False) -> None:
        """Forget a run of which nothing was trained; logs stay.

        Parameters
        ----------
        resumable
            Keep what it was asked, and what it measured, for a start that is a resumed one.
        """
        with suppress(OSError):  # it is another error that is to be told
            if resumable:
                self.config.replace(self.begun)
            else:
                self._clear()
            for file in (self.trace, self.metrics, self.recommendation, self.config):
                file.unlink(missing_ok=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        with suppress(OSError):  # it has logs
            self.path.rmdir()

    def settings(self) -> dict[str, Any]:
        """Return what the run that is here was asked.

        Raises
        ------
        RunDirectoryError
            If there is no run, or its configuration cannot be read.
        """
        self.check(resume=True)
        if (file := self._settings_file) is None:
            return asdict(TrainingConfig(dataset=""))
        try:
            found = load_yaml(file.read_bytes())
        except OSError as error:
            raise self.damaged_settings(error.strerror or "an error") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise self.damaged_settings(_in_one_line(error)) from None
        if not isinstance(found, dict):
            raise self.damaged_settings(f"it holds {found!r:.40}")
        # Runs from before there was a choice go on as they began.
        before = {"wires": SEPARATE, "engine": STATEVECTOR}
        return asdict(TrainingConfig(dataset="")) | before | found

    def training_config(self, **given: Any) -> TrainingConfig:
        """Return the checked settings of the run that is here, with what is given over them.

        Raises
        ------
        UserError
            If they cannot be read, or make no sense.
        """
        stored = self.settings()
        try:
            TrainingConfig.of(stored).check()
        except (TypeError, AttributeError, UserError) as error:  # somebody's hand was in the file
            raise self.damaged_settings(_in_one_line(error)) from None
        config = TrainingConfig.of(stored | {k: v for k, v in given.items() if v is not None})
        config.check()
        return config

    def damaged_settings(self, why: str) -> RunDirectoryError:
        """Return the error of a configuration that cannot be used."""
        return RunDirectoryError(
            f"{self.config}: cannot be read ({why}), expected the settings of a run; start a new "
            f"run with another --run-dir"
        )

    def save_recommendation(self, found: Mapping[str, Any]) -> None:
        """Keep what was recommended, so that a resumed run has the same cuts."""
        self._write(self.recommendation, json.dumps(found, indent=1).encode())

    def recommended(self) -> Placement | None:
        """Return the placement that was recommended, None where nothing was trained with any.

        Raises
        ------
        RunDirectoryError
            If it cannot be read, or is gone.
        """
        if not self.recommendation.exists() and not self.checkpoint.exists():
            return None
        try:
            chosen = json.loads(self.recommendation.read_text(encoding="utf-8"))["chosen"]
            return Placement.of_dict(chosen)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunDirectoryError(
                f"{self.recommendation}: cannot be read ({type(error).__name__}: {error}), "
                f"expected a recommendation; start a new run with another --run-dir"
            ) from None

    def resume(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the checkpoint to continue from; None if the run died before its first.

        Raises
        ------
        RunDirectoryError
            If there is no run, it was started with other settings, or it is damaged.
        """
        self.check_same(config)
        state = self.load_checkpoint()
        done = state["epoch"] if state else 0
        if done > config["epochs"]:
            raise RunDirectoryError(
                f"epochs is {config['epochs']}, but the run in '{self.path}' has trained {done}; "
                f"give at least {done}, or another --run-dir"
            )
        try:
            # A line that a kill has torn would swallow the first one of this process.
            mend(self.trace)
            self._save_settings(config)  # it may have more epochs to go than before
            self.begun.unlink(missing_ok=True)
        except OSError as error:
            raise unusable(self.path, error) from None
        return state

    def check_same(self, config: Mapping[str, Any]) -> None:
        """Say whether the run that is here can go on with these settings.

        Raises
        ------
        RunDirectoryError
            With a line for each setting that would change its numbers.
        """
        self.check(resume=True)
        if self._settings_file is None:
            return  # a start that left nothing but leftovers: there are no numbers to change
        old, asked = settled(self.settings()), settled(config)
        free = FREE_ON_RESUME
        if asked["schedule"] == "cosine":  # which reaches 0 with the last epoch
            free -= {"epochs"}
        faults = [
            f"{key} is {new!r}, but the run in '{self.path}' was started "
            f"{_with(old[key])}; keep to that, or give another --run-dir"
            for key, new in asked.items()
            if key not in free and old.get(key) != new
        ]
        if faults:
            raise RunDirectoryError(faults)

    def _save_settings(self, config: Mapping[str, Any]) -> None:
        write_atomically(self.config, yaml.safe_dump(dict(config), sort_keys=False).encode())


def _with(value: object) -> str:
    return "without" if value is None else f"with {value!r}"


def _in_one_line(error: Exception) -> str:
    """Return what an error says, on one line and not for ever."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 100 else f"{text[:97]}..."
