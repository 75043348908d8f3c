"""Manager of pilots: the pilots of a program, and the one scheduler that they share.

The manager starts, watches, replaces and ends pilots. It refuses to know what runs on
them: tasks, queues and policies are `pilotcut.tasks`.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, Self

from pilotcut.errors import PilotError, UserError
from pilotcut.io.new_directory import new_directory, private_directory
from pilotcut.options import check, directory_fault
from pilotcut.pilots import registry
from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.description import PilotDescription, load_descriptions, notes
from pilotcut.pilots.elastic_pilots import STANDBY, ElasticPilots, members_of
from pilotcut.pilots.executor_pilot import ExecutorPilot, described_executor
from pilotcut.pilots.external import RemotePilot
from pilotcut.pilots.journal import Journal
from pilotcut.pilots.lender import Lender
from pilotcut.pilots.load_board import LoadBoard
from pilotcut.pilots.managed import ManagedPilots
from pilotcut.pilots.observer import Observer, workers_by_pilot
from pilotcut.pilots.pilot import DirectPilot, Pilot, PilotState
from pilotcut.pilots.replacements import Replacements, may_be_followed
from pilotcut.pilots.resources import check_available, make_pilot
from pilotcut.pilots.scheduler import DaskScheduler, SchedulerLink, listening_host
from pilotcut.pilots.slurm.array import start_group
from pilotcut.pilots.start import PilotStart, not_started
from pilotcut.pilots.worker.connection import FILE_NAME

_log = logging.getLogger(__name__)

#: Names the connection file for `PilotManager.from_environment`.
CONNECTION_VARIABLE = "PILOTCUT_CONNECTION"

#: How often workers are looked at.
LOOK_S = 0.5


class PilotManager(ManagedPilots):
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
        members = tuple(members_of(descriptions))
        self._check(members)
        self._described = tuple(descriptions)
        self.notes: tuple[str, ...] = notes(descriptions)
        self._journal = Journal()
        self.connection_file: Path | None = None
        check(directory_fault("run_dir", run_dir))
        self._run_dir = Path(run_dir) if run_dir is not None else None
        self._scratch: Path | None = None
        self._scheduler: SchedulerLink | None = None
        self._site: PilotSite | None = None
        self._starting = threading.RLock()
        self._closing = threading.Event()
        self._has_lost = False  # the scheduler, and with it all that could still come
        self._monitor: threading.Thread | None = None
        self._newcomers: list[Callable[[Pilot], None]] = []
        self._replacements = Replacements()
        self._observer = Observer()
        self.loads = LoadBoard()
        self._elastic = ElasticPilots(self._start_later, self.loads)
        self._pilots: tuple[Pilot, ...] = tuple(self._make(d) for d in members)

    def _check(self, descriptions: Sequence[PilotDescription]) -> None:
        check_available(descriptions)

    def __reduce_ex__(self, protocol: object) -> Any:
        if type(self) is PilotManager and all(p.state is PilotState.NEW for p in self._pilots):
            make = partial(PilotManager, run_dir=self._run_dir)
            return make, (self._described,)
        return super().__reduce_ex__(protocol)

    @classmethod
    def from_yaml(
        cls, path: str | os.PathLike[str], *, run_dir: str | os.PathLike[str] | None = None
    ) -> Self:
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
        path = os.environ.get(CONNECTION_VARIABLE)
        if not path:
            raise UserError(
                f"{CONNECTION_VARIABLE} is not set, expected the connection file of running "
                f"pilots; start the script with: pilotcut run PILOTS.yaml -- python SCRIPT"
            )
        return RemoteManager(Path(path))

    @classmethod
    def from_executor(
        cls,
        executor: Executor,
        *,
        slots: int | None = None,
        name: str = "executor",
        threads: int = 1,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> PilotManager:
        """Return a manager of one pilot, whose workers are those of an executor.

        Whoever made the executor closes it, after this manager.

        Parameters
        ----------
        executor
            Anything with the interface of `concurrent.futures.Executor`.
        slots
            Calls that it runs at the same time; what it says itself if None.
        name
            The pilot's name.
        threads
            Threads that each of these calls may use.
        run_dir
            Where its events go, if anywhere.

        Examples
        --------
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as pool, PilotManager.from_executor(pool) as pilots:
        ...     pilots.slots
        2
        """
        described = described_executor(executor, slots, name, threads)
        return ExecutorManager(executor, described, run_dir)

    def _new(self, description: PilotDescription, generation: int) -> Pilot:
        return make_pilot(description, generation)

    def _make(self, description: PilotDescription, generation: int = 0) -> Pilot:
        pilot = self._new(description, generation)
        # Before any binder watches: early ends are counted when it hears of this one and asks
        # `is_replacing`. Counted afterwards, tasks waited for a pilot that nobody asked for.
        pilot.watch(self._on_change)
        if description.elastic is not None:
            pilot.reason = STANDBY
        return pilot

    # -- start ---------------------------------------------------------------------

    def _start(self, timeout_s: float) -> None:
        new = [pilot for pilot in self._pilots if pilot.state is PilotState.NEW]
        outside = [pilot for pilot in new if isinstance(pilot, DaskPilot)]
        if new and not outside and self._run_dir is not None:
            self._home(is_remote=False)
        for pilot in new:
            if isinstance(pilot, DirectPilot):
                self._start_direct(pilot)
        # What stands by is new for as long as nothing needs it, and has its scheduler.
        if outside and self._scheduler is None:
            self._start_outside(outside, time.monotonic() + timeout_s)

    def _start_direct(self, pilot: DirectPilot) -> None:
        try:
            pilot.start()
        except BaseException:  # sessions and executors of those before would stay open
            self.close()
            raise

    def _start_outside(self, outside: Sequence[DaskPilot], deadline: float) -> None:
        self._elastic.ask_for_least(outside)
        start = PilotStart.of(outside, self._elastic.is_standby)
        self._scratch = Path(tempfile.mkdtemp(prefix="pilotcut-"))
        try:
            for pilot in outside:
                pilot.check_possible()
            host = listening_host(wide=start.is_wide)
            home = self._home(start.is_wide)
            (home / "logs").mkdir(exist_ok=True)
            self._scheduler = scheduler = self._make_scheduler(home, self._scratch, host)
            self._site = site = PilotSite(scheduler, home / FILE_NAME, self._scratch)
            connection = start.launch(site, deadline, self._scheduler_lost)
            self.connection_file = site.connection_file
            self._journal.list_pilots(self.connection_file, self._pilots)  # whoever joins reads it
            connection.write(self.connection_file)
            start.join(site, deadline)
        except BaseException as error:
            # An interrupt too must leave no job and no process behind.
            for failed in outside:
                failed.move(PilotState.FAILED, str(error))
            self.close()
            if isinstance(error, OSError):
                raise not_started(error) from error
            raise
        self._watch_in_background()

    def _make_scheduler(self, home: Path, scratch: Path, host: str | None) -> DaskScheduler:
        return DaskScheduler(home, scratch, host)

    def _watch_in_background(self) -> None:
        self._monitor = threading.Thread(target=self._watch, daemon=True, name="pilot-monitor")
        self._monitor.start()

    def _home(self, is_remote: bool) -> Path:
        """Return the directory of this run, open to its owner alone, and begin its events."""
        if self._run_dir is None and is_remote:
            self._run_dir = new_directory(Path.cwd() / "runs" / "pilots")
        if self._run_dir is None:
            assert self._scratch is not None
            return self._scratch
        private_directory(self._run_dir)
        self._journal.begin(self._run_dir)
        return self._run_dir

    def _scheduler_lost(self, reason: str) -> None:
        # Before the pilots fail: their tasks ask at once whether others may come, and the monitor,
        # which would ask for them, ends with the scheduler.
        self._has_lost = True
        for pilot in self._pilots:
            if isinstance(pilot, DaskPilot):
                pilot.move(PilotState.FAILED, reason)

    # -- watching ------------------------------------------------------------------

    def _on_change(self, pilot: Pilot) -> None:
        self._replacements.count_end(pilot)
        self._journal.change(pilot)
        self._journal.list_pilots(self.connection_file, self._pilots)

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

    def _look(self, workers: Iterable[dict[str, float]], now: float) -> None:
        for newcomer in self._observer.observe(self._pilots, workers_by_pilot(workers), now):
            self._adopt(newcomer)
        for gone in filter(self._replacements.is_new_end, self._pilots):
            self._replace(gone)
        self._journal.list_again(self.connection_file, self._pilots)
        self.loads.read(self.connection_file, now)
        self._journal.count_others(self.loads.used, now)
        self._elastic.look(self._pilots, now)

    def _adopt(self, pilot: DaskPilot) -> None:
        """Take in a pilot that somebody else has started."""
        pilot.watch(self._on_change)
        assert self._site is not None
        self._add(pilot)
        pilot.start(self._site)

    def _replace(self, pilot: Pilot) -> None:
        """Ask for a new pilot in place of one that has ended, if that is wanted and wise."""
        if not (self._is_open and isinstance(pilot, DaskPilot) and may_be_followed(pilot)):
            return
        if refusal := self._replacements.refusal(pilot):
            self._journal.note(pilot, refusal)
            self._elastic.give_up(self._pilots, pilot, refusal)
            return
        self._replacements.count_replacement(pilot)
        successor = self._make(pilot.description, pilot.generation + 1)
        assert isinstance(successor, DaskPilot)
        # Before it starts, so that those who wait for it hear of it if that fails.
        self._add(successor)
        if pilot.description.elastic is not None:  # until it is needed, by whoever joins too
            self._journal.list_pilots(self.connection_file, self._pilots)
            return
        try:
            self._start_later([successor])
        except (PilotError, OSError) as error:  # a full disk, say: it would be new for ever
            successor.move(PilotState.FAILED, str(error))

    def _start_later(self, pilots: Sequence[DaskPilot]) -> None:
        assert self._site is not None
        if not self._closing.is_set():
            start_group(pilots, self._site)

    # -- the end -------------------------------------------------------------------

    def close(self) -> None:
        """End all pilots and every process of theirs; does nothing a second time."""
        self._closing.set()
        if self._monitor is not None and self._monitor is not threading.current_thread():
            # A replacement that is being started now is in `_pilots` afterwards, and is closed with
            # them.
            self._monitor.join()
        self._elastic.close()
        for pilot in self._pilots:
            if self._elastic.is_standby(pilot):
                pilot.move(PilotState.CANCELED, "was not needed")
            pilot.close()
        self.loads.read(self.connection_file, math.inf)
        self._journal.count_others(self.loads.used, math.inf)
        self._remove_connection_file()
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        self.events.close()

    def _remove_connection_file(self) -> None:
        if self.connection_file is not None:
            self.connection_file.unlink(missing_ok=True)


class ExecutorManager(PilotManager):
    """Uses the workers of an executor, see `from_executor`; `close` leaves it be."""

    _instead = "make pilots by PilotManager.from_executor where it is loaded, of an executor there"

    def __init__(
        self,
        executor: Executor,
        description: PilotDescription,
        run_dir: str | os.PathLike[str] | None,
    ) -> None:
        self._executor = executor
        super().__init__((description,), run_dir=run_dir)

    def _new(self, description: PilotDescription, generation: int) -> Pilot:
        return ExecutorPilot(description, lambda _: self._executor, is_own=False)


class RemoteManager(PilotManager):
    """Uses the pilots of the manager that wrote a connection file; `close` leaves them be.

    Parameters
    ----------
    connection_file
        Its connection file, such as ``runs/pilots-20260102-030405/connection.json``.
    """

    def __init__(self, connection_file: Path) -> None:
        self._lender = Lender(connection_file)
        super().__init__(())
        self.connection_file = connection_file

    def _check(self, descriptions: Sequence[PilotDescription]) -> None:
        """Nothing is described here: the registry of the other manager says what there is."""

    def _start(self, timeout_s: float) -> None:
        """Join the scheduler."""
        if self._scheduler is not None:
            return
        self._site = self._lender.attach(timeout_s)
        self._scheduler = self._site.scheduler
        self._look_at_registry()
        if not self._pilots:
            self.close()
            raise self._lender.lists_none()
        self._watch_in_background()

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_S):
            if not self._lender.is_there(self._pilots, self._closing):
                self._scheduler_lost("the manager of the pilots has ended")
                return
            self._look_at_registry()
            self._lender.resume(self._pilots)
            self.loads.ask()
            self.loads.write(self.connection_file, self.usage.used, time.time())

    def _look_at_registry(self) -> None:
        new, gone = self._lender.look(self._pilots)
        for entry in new:
            self._adopt_entry(entry)
        # Last: whose tasks are lost looks at once for other pilots.
        for pilot in gone:
            pilot.move(PilotState.FAILED, "its manager has another in its place")

    def _adopt_entry(self, entry: registry.RegistryEntry) -> None:
        pilot = RemotePilot(entry)
        pilot.watch(self._on_change)
        assert self._site is not None
        pilot.start(self._site)
        self._add(pilot)
        # Last, so that whoever has been told of the newcomer hears of its state.
        pilot.mirror(entry)

    def _on_change(self, pilot: Pilot) -> None:
        """Keep the change in memory: the other manager writes the files."""
        self._journal.change(pilot)

    def _remove_connection_file(self) -> None:
        """Leave the file, which is the other manager's, and tell that what was used here."""
        self.loads.write(self.connection_file, self.usage.used, math.inf)
