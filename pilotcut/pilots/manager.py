"""The set of pilots of a program, and the one scheduler that they share.

The manager starts, watches, replaces and ends pilots. It refuses to know what runs on
them: tasks, queues and policies are `pilotcut.tasks`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pilotcut.errors import PilotError, UserError
from pilotcut.io.jsonl import JsonLines
from pilotcut.io.unpicklable import Unpicklable
from pilotcut.pilots.description import PilotDescription, load_descriptions, notes
from pilotcut.pilots.description.files import TOO_MANY, duplicates
from pilotcut.pilots.description.pilot import MOST_PILOTS
from pilotcut.pilots.pilot import InProcessPilot, Pilot, PilotState

if TYPE_CHECKING:
    from pilotcut.pilots.scheduler import SchedulerLink

_log = logging.getLogger(__name__)

#: Names the connection file for `PilotManager.from_environment`.
CONNECTION_VARIABLE = "PILOTCUT_CONNECTION"

#: How often workers, and Slurm, are looked at.
LOOK_S, SLURM_S = 0.5, 1.0

#: Pilots of one description that fail in a row, without ever being active, before no more
#: are asked for.
MOST_FAILURES = 3


class PilotManager(Unpicklable):
    """Starts the described pilots, watches them, and ends them again.

    Parameters
    ----------
    descriptions
        One description for each pilot.
    run_dir
        Where the connection file, events and logs go. If None, a temporary directory that
        `close` removes; where pilots run on other machines, ``runs/pilots-TIME``, since
        they must be able to read it.

    Examples
    --------
    >>> from pilotcut.pilots.description import embedded
    >>> with PilotManager(embedded(workers=2)) as pilots:
    ...     pilots.slots
    2
    """

    _instead = (
        "pickle the descriptions, and make a PilotManager of them where they are loaded, or use "
        "these pilots there by PilotManager.from_environment()"
    )

    def __init__(
        self,
        descriptions: Sequence[PilotDescription],
        *,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._check(descriptions)
        self.notes: tuple[str, ...] = notes(descriptions)
        self.events = JsonLines()
        self.connection_file: Path | None = None
        self._run_dir = Path(run_dir) if run_dir is not None else None
        self._scratch: Path | None = None
        self._scheduler: SchedulerLink | None = None
        self._closing = threading.Event()
        self._has_lost = False  # the scheduler, and with it all that could still come
        self._monitor: threading.Thread | None = None
        self._newcomers: list[Callable[[Pilot], None]] = []
        self._replaced: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._counted: set[Pilot] = set()
        self._mourned: set[Pilot] = set()
        self._asked_slurm = 0.0
        self._writing = threading.Lock()
        self._pilots: tuple[Pilot, ...] = tuple(self._make(d) for d in descriptions)

    def _check(self, descriptions: Sequence[PilotDescription]) -> None:
        _refuse_unavailable(descriptions)

    def __reduce_ex__(self, protocol: object) -> Any:
        if type(self) is PilotManager and all(p.state is PilotState.NEW for p in self._pilots):
            make = partial(PilotManager, run_dir=self._run_dir)
            return make, (tuple(pilot.description for pilot in self._pilots),)
        return super().__reduce_ex__(protocol)

    @classmethod
    def from_yaml(
        cls, path: str | os.PathLike[str], *, run_dir: str | os.PathLike[str] | None = None
    ) -> PilotManager:
        """Return a manager of the pilots that a file describes."""
        return cls(load_descriptions(path), run_dir=run_dir)

    @classmethod
    def from_environment(cls) -> PilotManager:
        """Return a manager of the pilots that ``pilotcut run`` or ``pilots up`` has started.

        The environment variable PILOTCUT_CONNECTION names their connection file.

        Raises
        ------
        UserError
            If it is not set.
        """
        from pilotcut.pilots.remote_manager import BorrowingManager

        path = os.environ.get(CONNECTION_VARIABLE)
        if not path:
            raise UserError(
                f"{CONNECTION_VARIABLE} is not set, expected the connection file of running "
                f"pilots; start the script with: pilotcut run PILOTS.yaml -- python SCRIPT"
            )
        return BorrowingManager(Path(path))

    def _make(self, description: PilotDescription, generation: int = 0) -> Pilot:
        pilot = _pilot_of(description, generation)
        pilot.watch(self._on_change)
        return pilot

    @property
    def pilots(self) -> tuple[Pilot, ...]:
        """All pilots, in the order of the descriptions, then those that came later."""
        return self._pilots

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time on the pilots that have not ended."""
        return sum(pilot.slots for pilot in self._pilots if not pilot.state.final)

    @property
    def scheduler(self) -> SchedulerLink | None:
        """The scheduler of the pilots outside this process, None if there are none."""
        return self._scheduler

    @property
    def dashboard(self) -> str:
        """Where dask's dashboard can be seen from this machine; empty if there is none."""
        return getattr(self._scheduler, "dashboard", "")

    def on_newcomer(self, callback: Callable[[Pilot], None]) -> None:
        """Call `callback(pilot)` for every pilot that comes later, from any thread."""
        self._newcomers.append(callback)

    # -- start ---------------------------------------------------------------------

    def start(self, timeout_s: float = 60.0) -> None:
        """Start all pilots; does nothing a second time.

        Pilots of this machine are active when it returns, Slurm jobs are submitted: tasks
        wait for them.

        Parameters
        ----------
        timeout_s
            Time limit for the whole start in seconds.

        Raises
        ------
        PilotError
            If a pilot is refused or not active in time; nothing is left running then.
        """
        new = [pilot for pilot in self._pilots if pilot.state is PilotState.NEW]
        for pilot in new:
            if isinstance(pilot, InProcessPilot):
                pilot.start()
        outside = [pilot for pilot in new if not isinstance(pilot, InProcessPilot)]
        if outside:
            self._start_outside(outside, time.monotonic() + timeout_s)

    def _start_outside(self, pilots: Sequence[Pilot], deadline: float) -> None:
        from pilotcut.pilots.dask_pilot import DaskPilot
        from pilotcut.pilots.local import LocalPilot
        from pilotcut.pilots.scheduler import DaskScheduler, listening_host
        from pilotcut.pilots.worker.connection import FILE_NAME

        local = [pilot for pilot in pilots if isinstance(pilot, LocalPilot)]
        remote = [pilot for pilot in pilots if not isinstance(pilot, LocalPilot)]
        self._scratch = Path(tempfile.mkdtemp(prefix="pilotcut-"))
        try:
            for pilot in pilots:
                if isinstance(pilot, DaskPilot):
                    pilot.check_possible()
            home = self._home(remote)
            logs = home / "logs"
            logs.mkdir(exist_ok=True)
            scheduler = DaskScheduler(home, self._scratch, listening_host(wide=bool(remote)))
            self._scheduler = scheduler
            # All processes import dask at the same time; they meet when it has an address.
            scheduler.launch_process()
            for pilot in local:
                pilot.launch_process(logs, self._scratch)
            connection = scheduler.connect(deadline, on_loss=self._scheduler_lost)
            self.connection_file = home / FILE_NAME
            connection.write(self.connection_file)
            self._write_roster()
            for pilot in local:
                pilot.join(scheduler, self.connection_file)
            for other in remote:
                self._launch(other)
            for pilot in local:
                pilot.wait_active(deadline)
        except BaseException as error:
            for failed in pilots:
                failed.move(PilotState.FAILED, str(error))
            self.close()
            if isinstance(error, OSError):
                raise PilotError(f"pilots could not be started: {error}") from error
            raise
        self._watch_in_background()

    def _watch_in_background(self) -> None:
        self._monitor = threading.Thread(target=self._watch, daemon=True, name="pilot-monitor")
        self._monitor.start()

    def _home(self, remote: Sequence[Pilot]) -> Path:
        """Return the directory of this run, open to its owner alone, and begin its events."""
        assert self._scratch is not None
        if self._run_dir is None and remote:
            self._run_dir = Path.cwd() / "runs" / f"pilots-{datetime.now():%Y%m%d-%H%M%S}"
        if self._run_dir is None:
            return self._scratch
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir.chmod(0o700)
        early, self.events = self.events, JsonLines(self._run_dir / "events.jsonl", vital=False)
        for record in early.records:
            self.events.write(record)
        return self._run_dir

    def _launch(self, pilot: Pilot) -> None:
        """Launch a pilot that becomes active by and by."""
        from pilotcut.pilots.external import AllocationPilot
        from pilotcut.pilots.local import LocalPilot
        from pilotcut.pilots.slurm.pilot import SlurmPilot

        assert self._scheduler is not None
        assert self.connection_file is not None
        logs = self.connection_file.parent / "logs"
        if isinstance(pilot, SlurmPilot):
            pilot.submit(self._scheduler, self.connection_file, logs)
        elif isinstance(pilot, AllocationPilot):
            pilot.launch_process(self._scheduler, self.connection_file, logs)
        elif isinstance(pilot, LocalPilot):
            assert self._scratch is not None
            pilot.follow_on(self._scheduler, self.connection_file, logs, self._scratch)

    def _scheduler_lost(self, reason: str) -> None:
        self._has_lost = True
        for pilot in self._pilots:
            if not isinstance(pilot, InProcessPilot):
                pilot.move(PilotState.FAILED, reason)

    # -- watching ------------------------------------------------------------------

    def _on_change(self, pilot: Pilot) -> None:
        self._count_failure(pilot)
        self.events.write(
            {
                "time": time.time(),
                "event": "pilot",
                "pilot": pilot.name,
                "state": pilot.state.value,
                "reason": pilot.reason,
            }
        )
        self._write_roster()

    def _count_failure(self, pilot: Pilot) -> None:
        """Count early ends in a row before any other watcher hears of one.

        Who then asks `is_replacing` is not told again if the answer turns to no.
        """
        if pilot.state.final and pilot not in self._counted:
            self._counted.add(pilot)
            kind = pilot.description.kind
            failed_early = PilotState.ACTIVE not in pilot.since
            self._failures[kind] = self._failures[kind] + 1 if failed_early else 0

    def _write_roster(self) -> None:
        from pilotcut.pilots import registry

        if self.connection_file is not None:
            with self._writing, contextlib.suppress(OSError):  # the directory may be gone by now
                registry.write(self.connection_file.with_name(registry.FILE_NAME), self._pilots)

    def _watch(self) -> None:
        """Look at workers and jobs until the manager closes."""
        while not self._closing.wait(LOOK_S):
            scheduler = self._scheduler
            if scheduler is None or not scheduler.is_alive:
                return
            try:
                self._look(scheduler.workers(), time.time())
            except Exception:
                if not self._closing.is_set():
                    _log.debug("a look at the pilots failed", exc_info=True)

    def _look(self, workers: Mapping[str, Mapping[str, Any]], now: float) -> None:
        from pilotcut.pilots.dask_pilot import DaskPilot
        from pilotcut.pilots.external import AllocationPilot, AttachedPilot
        from pilotcut.pilots.slurm.commands import query_jobs
        from pilotcut.pilots.slurm.pilot import SlurmPilot, joined_by_pilot

        joined = joined_by_pilot(workers)
        alive = [p for p in self._pilots if isinstance(p, DaskPilot) and not p.state.final]
        jobs = {p: p.job for p in alive if isinstance(p, SlurmPilot) and p.job is not None}
        if jobs and now - self._asked_slurm >= SLURM_S:
            self._asked_slurm = now
            known = query_jobs(jobs.values())
            for asked, job in jobs.items():
                asked.observe(len(joined.get(asked.key, ())), known.get(job), now)
        for pilot in alive:
            here = joined.get(pilot.key, [])
            if isinstance(pilot, AllocationPilot):
                pilot.observe(len(here), now)
            elif isinstance(pilot, AttachedPilot):
                pilot.observe(here, now)
        # Workers of an attached pilot that was given up may come back: nobody else ends them.
        known_keys = {
            p.key
            for p in self._pilots
            if isinstance(p, DaskPilot) and not (isinstance(p, AttachedPilot) and p.state.final)
        }
        for key in set(joined) - known_keys:
            self._adopt(AttachedPilot(key, joined[key]))
        for gone in [p for p in self._pilots if p.state.final and p not in self._mourned]:
            self._mourned.add(gone)
            self._replace(gone)

    def _adopt(self, pilot: Any) -> None:
        """Take in a pilot that attached itself."""
        pilot.watch(self._on_change)
        assert self._scheduler is not None
        self._add(pilot)
        pilot.join(self._scheduler)

    def _add(self, pilot: Pilot) -> None:
        self._pilots = (*(p for p in self._pilots if p.name != pilot.name), pilot)
        for callback in tuple(self._newcomers):
            callback(pilot)

    def is_replacing(self, pilot: Pilot) -> bool:
        """Return whether another pilot may still come in place of one that has ended."""
        description = pilot.description
        kind = description.kind
        return (
            description.replace
            and not self._closing.is_set()
            and not self._has_lost
            and self._failures[kind] < MOST_FAILURES
            and self._replaced[kind] < description.most_replacements
        )

    def _replace(self, pilot: Pilot) -> None:
        """Ask for a new pilot in place of one that has ended, if that is wanted and wise."""
        from pilotcut.pilots.dask_pilot import DaskPilot

        description = pilot.description
        if not isinstance(pilot, DaskPilot) or not description.replace:
            return
        if self._closing.is_set() or self._has_lost:
            return
        kind = description.kind
        if self._failures[kind] >= MOST_FAILURES:
            self._tell(pilot, f"no more are asked for: {MOST_FAILURES} failed in a row")
        elif self._replaced[kind] >= description.most_replacements:
            self._tell(pilot, f"no more are asked for: {self._replaced[kind]} were replaced")
        else:
            self._replaced[kind] += 1
            successor = self._make(description, pilot.generation + 1)
            self._add(successor)
            try:
                self._launch(successor)
            except (PilotError, OSError) as error:  # a full disk, say: it would be new for ever
                successor.move(PilotState.FAILED, str(error))

    def _tell(self, pilot: Pilot, text: str) -> None:
        self.events.write(
            {"time": time.time(), "event": "note", "pilot": pilot.name, "reason": text}
        )
        _log.warning("pilot '%s': %s", pilot.name, text)

    # -- the end -------------------------------------------------------------------

    def close(self) -> None:
        """End all pilots and every process of theirs; does nothing a second time."""
        self._closing.set()
        if self._monitor is not None and self._monitor is not threading.current_thread():
            self._monitor.join()
        for pilot in self._pilots:
            pilot.close()
        self._forget_connection()
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        self.events.close()

    def _forget_connection(self) -> None:
        if self.connection_file is not None:
            self.connection_file.unlink(missing_ok=True)

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


def _pilot_of(description: PilotDescription, generation: int) -> Pilot:
    if description.resource == "inprocess":
        return InProcessPilot(description)
    if description.resource == "local":
        from pilotcut.pilots.local import LocalPilot

        return LocalPilot(description, generation)
    if description.resource == "slurm":
        from pilotcut.pilots.slurm.pilot import SlurmPilot

        return SlurmPilot(description, generation)
    from pilotcut.pilots.external import AllocationPilot

    return AllocationPilot(description, generation)


def _refuse_unavailable(descriptions: Sequence[PilotDescription]) -> None:
    if not descriptions:
        raise UserError("no pilot is described, expected at least one")
    if len(descriptions) > MOST_PILOTS:
        raise UserError(TOO_MANY)
    faults = [
        f"pilot '{d.name}': backend is {d.backend.device} with method {d.backend.method}, expected "
        "CPU and automatic in this process; use resource: local"
        for d in descriptions
        if d.resource == "inprocess"
        and (d.backend.device, d.backend.method) != ("CPU", "automatic")
    ]
    faults += duplicates(descriptions)
    if faults:
        raise UserError(faults)
