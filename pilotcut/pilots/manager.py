"""The set of pilots of a program, and the one scheduler that they share.

The manager starts and ends pilots. It refuses to know what runs on them: tasks,
queues and policies are `pilotcut.tasks`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pilotcut.descriptions import PilotDescription, load_descriptions, notes
from pilotcut.errors import PilotError, UserError
from pilotcut.pilots.pilot import InProcessPilot, Pilot, PilotState

if TYPE_CHECKING:
    from pilotcut.pilots.scheduler import DaskScheduler


class PilotManager:
    """Starts the described pilots and ends them again.

    Parameters
    ----------
    descriptions
        One description for each pilot.
    run_dir
        Where the logs of schedulers and workers go, in ``logs/``. A temporary
        directory, removed by `close`, if None.

    Examples
    --------
    >>> from pilotcut.descriptions import embedded
    >>> with PilotManager(embedded(workers=2)) as pilots:
    ...     pilots.slots
    2
    """

    def __init__(
        self,
        descriptions: Sequence[PilotDescription],
        *,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        _refuse_unavailable(descriptions)
        self.notes: tuple[str, ...] = notes(descriptions)
        self._run_dir = Path(run_dir) if run_dir is not None else None
        self._scratch: Path | None = None
        self._scheduler: DaskScheduler | None = None
        self._pilots: tuple[Pilot, ...] = tuple(self._make(d) for d in descriptions)

    @classmethod
    def from_yaml(
        cls, path: str | os.PathLike[str], *, run_dir: str | os.PathLike[str] | None = None
    ) -> PilotManager:
        """Return a manager of the pilots that a file describes."""
        return cls(load_descriptions(path), run_dir=run_dir)

    def _make(self, description: PilotDescription) -> Pilot:
        if description.resource == "inprocess":
            return InProcessPilot(description)
        from pilotcut.pilots.local import LocalPilot

        return LocalPilot(description)

    @property
    def pilots(self) -> tuple[Pilot, ...]:
        """All pilots, in the order of the descriptions."""
        return self._pilots

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time on the pilots that have not ended."""
        return sum(pilot.slots for pilot in self._pilots if not pilot.state.final)

    @property
    def scheduler(self) -> DaskScheduler | None:
        """The scheduler of the pilots outside this process, None if there are none."""
        return self._scheduler

    def start(self, timeout_s: float = 60.0) -> None:
        """Start all pilots and wait until they are active; does nothing a second time.

        Parameters
        ----------
        timeout_s
            Time limit for the whole start in seconds.

        Raises
        ------
        PilotError
            If a pilot is not active in time; nothing is left running then.
        """
        new = [pilot for pilot in self._pilots if pilot.state is PilotState.NEW]
        for pilot in new:
            if isinstance(pilot, InProcessPilot):
                pilot.start()
        outside = [pilot for pilot in new if not isinstance(pilot, InProcessPilot)]
        if outside:
            self._start_outside(outside, time.monotonic() + timeout_s)

    def _start_outside(self, pilots: Sequence[Pilot], deadline: float) -> None:
        from pilotcut.pilots.connection import FILE_NAME
        from pilotcut.pilots.local import LocalPilot
        from pilotcut.pilots.scheduler import DaskScheduler, listening_host

        self._scratch = Path(tempfile.mkdtemp(prefix="pilotcut-"))
        logs = (self._run_dir or self._scratch) / "logs"
        local = [pilot for pilot in pilots if isinstance(pilot, LocalPilot)]
        try:
            logs.mkdir(parents=True, exist_ok=True)
            self._scheduler = DaskScheduler(logs, self._scratch, listening_host(wide=False))
            # All processes import dask at the same time; they meet when it has an address.
            self._scheduler.launch_process()
            for pilot in local:
                pilot.launch_process(logs, self._scratch)
            connection = self._scheduler.connect(deadline, on_loss=self._scheduler_lost)
            connection_file = (self._run_dir or self._scratch) / FILE_NAME
            connection.write(connection_file)
            for pilot in local:
                pilot.join(self._scheduler, connection_file)
            for pilot in local:
                pilot.wait_active(deadline)
        except BaseException as error:
            for failed in pilots:
                failed.move(PilotState.FAILED, str(error))
            self.close()
            if isinstance(error, OSError):
                raise PilotError(f"pilots could not be started: {error}") from error
            raise

    def _scheduler_lost(self, reason: str) -> None:
        for pilot in self._pilots:
            if not isinstance(pilot, InProcessPilot):
                pilot.move(PilotState.FAILED, reason)

    def close(self) -> None:
        """End all pilots and every process of theirs; does nothing a second time."""
        for pilot in self._pilots:
            pilot.close()
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def __enter__(self) -> PilotManager:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _refuse_unavailable(descriptions: Sequence[PilotDescription]) -> None:
    if not descriptions:
        raise UserError("no pilot is described, expected at least one")
    names = [description.name for description in descriptions]
    faults = [
        f"pilot '{d.name}': resource {d.resource} is not available in this version, "
        "expected inprocess or local"
        for d in descriptions
        if d.resource not in ("inprocess", "local")
    ]
    faults += [
        f"pilot '{d.name}': backend noise is {d.backend.noise!r}, expected none: noisy backends "
        "are not available in this version"
        for d in descriptions
        if d.backend.noise is not None
    ]
    faults += [
        f"pilot '{d.name}': backend is {d.backend.device} with method {d.backend.method}, expected "
        "CPU and automatic in this process; use resource: local"
        for d in descriptions
        if d.resource == "inprocess"
        and (d.backend.device, d.backend.method) != ("CPU", "automatic")
    ]
    faults += [
        f"pilot '{name}': name is given {names.count(name)} times, expected different names"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if faults:
        raise UserError(faults)
