"""The ready queue: tasks wait here until a pilot has room for them.

One thread owns all state and reads one inbox; every other thread, the callers', the
pilots' and the canceling ones, only posts to that inbox. So nothing here is locked,
and nobody waits while holding something.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import cloudpickle

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.io.unpicklable import Unpicklable
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.pilot import Pilot
from pilotcut.pilots.worker.exception_text import (
    MOST_LINE,
    add_note,
    repr_of,
    shortened,
    traceback_of,
    why_unreadable,
    words_of,
)
from pilotcut.pilots.worker.payload import Loss, Outcome, Report
from pilotcut.pilots.worker.shared_objects import drop_shared, keep_object
from pilotcut.tasks import waiting_file
from pilotcut.tasks.explain import explain
from pilotcut.tasks.policies import as_policy
from pilotcut.tasks.policies import name_of as policy_name
from pilotcut.tasks.policy_base import Policy, wake_s
from pilotcut.tasks.ready_queue import ReadyQueue
from pilotcut.tasks.runtime_estimates import Rates, RunTimes
from pilotcut.tasks.slot_accounting import PARCEL, Room, Ticket, beside
from pilotcut.tasks.snapshots import PilotView, TaskView
from pilotcut.tasks.task import Shared, Task, TaskFuture, TaskState, futures_in, with_results
from pilotcut.tasks.task_record import Record
from pilotcut.tasks.validation import (
    faults_of,
    kind_of,
    name_of,
    placement_faults,
    unique,
)
from pilotcut.tasks.worker_failures import TURMOIL, Deaths

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Most work in a parcel, in seconds, by what is known of run times.
PARCEL_S = 0.016
#: A task that was alone with this many workers when they died is not run again.
MOST_KILLS = 3
#: How often stragglers are looked for at least, and the pause between two looks at least.
_STRAGGLER_TICK_S, _STRAGGLER_PAUSE_S = 0.05, 0.001
#: How long `explain` waits for the binder.
_ANSWER_S = 5.0
#: A policy may wait on purpose; it is asked again this often.
_TICK_S = 0.5


@dataclass(frozen=True, eq=False)
class Sent:
    """Tasks that were handed to a pilot together, and which launch that is of each."""

    room: Room
    records: Sequence[Record]
    tickets: Sequence[Ticket]
    numbers: Sequence[int]


class TaskManager(Unpicklable):
    """Runs functions on pilots, each bound to a pilot only when that has room.

    Parameters
    ----------
    pilots
        The pilots to run on; started if they are not.
    policy
        ``"eager"``, ``"longest-first"``, ``"cost-aware"``, ``"batched:size=64,delay_s=0.2"``,
        ``"staggered:spacing_s=0.1"``, or a callable such as `pilotcut.tasks.policies.eager`.
    duplicates
        Start a second run of a straggler on a free slot, when no task waits; the first
        result wins. Tasks must then bear running twice at the same time.
    most_preemptions
        How often a task is run again because its whole pilot went: canceled, at its time
        limit, or with its node.

    Examples
    --------
    >>> from pilotcut.pilots.description import embedded
    >>> with PilotManager(embedded()) as pilots, TaskManager(pilots) as tasks:
    ...     tasks.submit_task(max, 3, 7).result()
    7
    """

    _instead = (
        "of a model save its state_dict(), or let its estimator run here first: estimator.use(None)"
    )

    def __init__(
        self,
        pilots: PilotManager,
        *,
        policy: str | Policy = "eager",
        duplicates: bool = True,
        most_preemptions: int = 20,
    ) -> None:
        self._choose = as_policy(policy)
        self.policy = policy_name(self._choose)
        pilots.start()
        self._pilots = pilots
        self._rates = Rates()
        self._rooms = {pilot.name: Room(pilot, self._rates) for pilot in pilots.pilots}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._callbacks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._unfinished: dict[int, Record] = {}
        self._ready = ReadyQueue()
        self._run_times = RunTimes()
        self._duplicates = duplicates
        self._most_preemptions = most_preemptions
        self._running: dict[int, tuple[Record, Ticket]] = {}  # by task, its first launch
        self._quarantined: set[str] = set()
        self._deaths = Deaths()
        self._wrote_waiting = 0.0
        self._has_waiting = False
        self._closing = False
        self._breakdown: BaseException | None = None
        self._ending: TaskFuture | None = None  # which has left `_unfinished` last
        self._submitting = threading.Lock()
        self._sharing = threading.Lock()
        self._shared: dict[str, tuple[Shared[Any], Any]] = {}
        self._prefix = uuid.uuid4().hex[:12]
        for pilot in pilots.pilots:
            pilot.watch(lambda _: self._inbox.put(self._on_pilot))
        pilots.on_newcomer(self._on_newcomer)
        self._caller = threading.Thread(target=self._call_back, daemon=True, name="task-callbacks")
        self._binder = threading.Thread(target=self._serve, daemon=True, name="task-binder")
        self._caller.start()
        self._binder.start()

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time."""
        return self._pilots.slots

    @property
    def pilots(self) -> PilotManager:
        """The pilots that the tasks run on."""
        return self._pilots

    def submit_task(
        self,
        fn: Callable[..., Any] | Sequence[str],
        /,
        *args: Any,
        name: str | None = None,
        cores: int = 1,
        gpus: int = 0,
        ranks: int = 1,
        pilot: str | Iterable[str] | None = None,
        after: TaskFuture | Iterable[TaskFuture] = (),
        retries: int = 2,
        error_retries: int = 0,
        cost_s: float | Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> TaskFuture:
        """Return the future of ``fn(*args, **kwargs)``, to run on a pilot.

        Task futures among the arguments, also inside lists, tuples and dicts, are
        replaced by their results first.

        Parameters
        ----------
        fn
            Any function, or with `ranks` a command. It may run more than once, if a worker
            dies or straggles.
        name
            What messages call the task; the function's name and a number if None. Tasks
            named GROUP.NUMBER belong to a group, for policies that keep groups together.
        cores, gpus
            What the task needs of one node, each rank of it.
        ranks
            Number of MPI processes that run `fn`, which finds the others in
            ``mpi4py.MPI.COMM_WORLD``; the result is that of rank 0. They are those of an MPI
            pilot if one with exactly so many is active, and else are started by srun or
            mpiexec from a worker of an ordinary pilot, as are those of a command, whose result
            is what it writes to stdout. On an MPI pilot an exception on any rank is that of
            the task.
        pilot
            Name or names of the pilots it may run on, None for any. A task of one rank runs
            on an MPI pilot only if that is named here: on its rank 0, while the others wait.
        after
            Tasks that must have succeeded before.
        retries
            How often the task is run again when the worker that held it died. A task that
            was alone with three workers when they died is quarantined in any case, unless
            workers die everywhere. The end of a whole pilot does not count here.
        error_retries
            How often it is run again when `fn` raises; then the exception is the result.
        cost_s
            A guess of the run time in seconds, for policies, or one for each pilot by name.
            A single guess need not be right, only proportional: how fast each pilot works
            guesses off is measured while tasks run.

        Raises
        ------
        UserError
            If no pilot could ever run the task: for want of cores, of GPUs, of ranks or of
            walltime, of which it needs 1.2 times its cost.
        """
        number = next(self._numbers)
        label = name if name is not None else f"{name_of(fn)}-{number}"
        names = (pilot,) if isinstance(pilot, str) else None if pilot is None else tuple(pilot)
        before = (after,) if isinstance(after, TaskFuture) else tuple(after)
        faults = faults_of(fn, cores, gpus, names, before, ranks, retries, error_retries, cost_s)
        if faults:
            raise UserError([f"task '{label}': {fault}" for fault in faults])
        costs = cost_s if isinstance(cost_s, Mapping) else None
        view = TaskView(
            number,
            cores * ranks,
            gpus,
            None if names is None else frozenset(names),
            None if cost_s is None or isinstance(cost_s, Mapping) else float(cost_s),
            time.time(),
            group=label.rpartition(".")[0] or None,
            costs=None if costs is None else {name: float(s) for name, s in costs.items()},
            ranks=ranks,
        )
        if faults := placement_faults(view, self._known_rooms()):
            raise UserError([f"task '{label}': {fault}" for fault in faults])
        budgets = (retries, error_retries, self._most_preemptions)
        record = Record(label, view, fn, args, kwargs, kind_of(fn, view), *budgets, ranks)
        record.dependencies = unique([*before, *futures_in(args), *futures_in(kwargs)])
        return self._accept(record)

    def _accept(self, record: Record) -> TaskFuture:
        future = TaskFuture(
            record.snapshot,
            self._post_callback,
            lambda: self._inbox.put(lambda: self._on_cancel(record)),
            lambda: self._explain(record),
        )
        record.future = future
        with self._submitting:  # so that nothing enters the inbox after `close`
            if self._breakdown is not None:
                raise self._broken(record)
            if self._closing:
                raise UserError(f"task '{record.name}': the task manager is closed")
            self._inbox.put(lambda: self._on_submit(record))
        return future

    def share(self, obj: T, key: str | None = None) -> Shared[T]:
        """Return a handle of `obj`, which travels once to each worker and stays there.

        Parameters
        ----------
        obj
            A read-only object; changes made by a task stay in that task's process.
        key
            Its identity: a key shared before gives the same handle, and nothing
            travels. The identity of the Python object if None.
        """
        own = f"object-{id(obj)}" if key is None else f"key-{key}"
        with self._sharing:
            if own not in self._shared:
                handle: Shared[T] = Shared(f"{self._prefix}:{own}")
                self._publish(handle.key, obj)
                # Keeping `obj` keeps its id from being given to another object.
                self._shared[own] = (handle, obj)
            return self._shared[own][0]

    def _publish(self, key: str, obj: Any) -> None:
        scheduler = self._pilots.scheduler
        if scheduler is not None:
            try:
                blob = cloudpickle.dumps(obj, protocol=5)
            except Exception as error:
                kind = type(obj).__qualname__
                raise UserError(f"a {kind} cannot be shared with workers: {error}") from error
            scheduler.share(key, blob)
        keep_object(key, obj)

    def close(self, *, wait: bool = True) -> None:
        """Take no more tasks and finish; does nothing a second time.

        Parameters
        ----------
        wait
            Wait for all tasks. If False, tasks that are not bound are canceled, and
            those that are fail with a `TaskError`.
        """
        with self._submitting:
            if not self._closing:
                self._closing = True
                self._inbox.put(self._abandon if not wait else lambda: None)
            elif not wait:
                self._inbox.put(self._abandon)
        here = threading.current_thread()
        if here in (self._binder, self._caller):
            return  # the binder ends by itself once all is done
        self._binder.join()
        self._caller.join()
        self._drop_shared()

    def _drop_shared(self) -> None:
        with self._sharing:
            handles = [handle for handle, _ in self._shared.values()]
            self._shared.clear()
        for handle in handles:
            drop_shared(handle.key)
            scheduler = self._pilots.scheduler
            if scheduler is not None:
                scheduler.unshare(handle.key)

    def __enter__(self) -> TaskManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(wait=error is None)

    # -- the binder's thread: everything below is called there only ---------------------

    def _serve(self) -> None:
        try:
            self._serve_all()
        except BaseException as error:  # then nobody else would ever end what others wait for
            self._break_down(error)
        finally:
            self._callbacks.put(None)

    def _serve_all(self) -> None:
        while self._unfinished or not self._closing or not self._inbox.empty():
            for event in self._events():
                event()
            self._bind()
            self._duplicate_stragglers()
            self._write_waiting()

    def _break_down(self, error: BaseException) -> None:
        """Refuse new tasks from now on, and fail all that have not ended."""
        with self._submitting:  # so that no task enters the inbox after it is emptied
            self._breakdown = error
        while not self._inbox.empty():
            with contextlib.suppress(BaseException):  # tasks just submitted, or just done
                self._inbox.get_nowait()()
        lost = [(record, record.future) for record in self._unfinished.values()]
        self._unfinished.clear()
        for record, future in lost:
            if future is not None:
                record.end(TaskState.FAILED)
                _end_with(future, self._broken(record))
        if self._ending is not None and not self._ending.done():
            _end_with(self._ending, self._broken(self._ending.task))

    def _broken(self, task: Record | Task) -> TaskError:
        error = self._breakdown
        assert error is not None
        told = TaskError(
            f"task '{task.name}' cannot end: the task manager broke down ({words_of(error, 300)}), "
            f"which is a fault in pilotcut; report it with the traceback, and use a new TaskManager"
        )
        add_note(told, f"the task manager broke down:\n{traceback_of(error).rstrip()}")
        return told

    def _events(self) -> Iterator[Callable[[], None]]:
        """Yield what is in the inbox, after waiting for the first of it."""
        try:
            yield self._inbox.get(timeout=self._patience())
            while True:
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    def _patience(self) -> float | None:
        """Return how long to wait for an event before looking around."""
        if self._ready:
            return min(_TICK_S, self._policy_wakes_in())
        return self._next_straggler_in() if self._duplicates and self._running else None

    def _next_straggler_in(self) -> float:
        """Return when to look for stragglers again, in seconds: when the next task becomes one.

        Those that are stragglers already and still have no duplicate found no slot.
        """
        if not any(room.active and room.view().free for room in self._rooms.values()):
            return _STRAGGLER_TICK_S
        now = time.time()
        ages = [
            (now - ticket.running_since, record)
            for record, ticket in self._running.values()
            if ticket.running_since is not None and record.copies == 1
        ]
        due = [self._run_times.straggles_after(record.kind) - age for age, record in ages]
        soon = min((wait for wait in due if wait > 0), default=_STRAGGLER_TICK_S)
        return min(_STRAGGLER_TICK_S, max(_STRAGGLER_PAUSE_S, soon))

    def _policy_wakes_in(self) -> float:
        """Return when a policy that waits on purpose wants to be asked again, in seconds."""
        now = time.time()
        when = wake_s(self._choose, self._ready, self._active_views(), now)
        return math.inf if when is None else max(0.0, when - now)

    def _active_views(self) -> list[PilotView]:
        rooms = [room for room in self._rooms.values() if room.active]
        mpi = beside(rooms)
        return [room.view(mpi) for room in rooms]

    def _on_submit(self, record: Record) -> None:
        self._unfinished[record.view.id] = record
        if self._quarantined and (mark := record.fingerprint) in self._quarantined:
            self._fail(record, TaskError(
                f"task '{record.name}' is quarantined: one like it (fingerprint {mark}) has killed "
                f"{MOST_KILLS} workers"
            ))  # fmt: skip
            return
        record.missing = len(record.dependencies)
        for dependency in record.dependencies:
            dependency.when_done(
                lambda done: self._inbox.put(lambda: self._on_dependency(record, done))
            )
        if not record.dependencies:
            self._make_ready(record)

    def _on_dependency(self, record: Record, done: Future[Any]) -> None:
        if record.state is not TaskState.WAITING:
            return
        cause = CancelledError("it was canceled") if done.cancelled() else done.exception()
        if cause is not None:
            assert isinstance(done, TaskFuture)
            self._fail(record, TaskError(
                f"task '{record.name}' did not run, for it depends on task "
                f"'{done.task.name}', which failed: {words_of(cause)}"
            ), cause)  # fmt: skip
            return
        record.missing -= 1
        if record.missing == 0:
            try:
                record.args = with_results(record.args)
                record.kwargs = with_results(record.kwargs)
            except Exception as error:  # of a named tuple's own __new__
                self._fail(record, TaskError(
                    f"task '{record.name}' did not run, for its arguments cannot be filled in with "
                    f"results: {words_of(error)}"
                ))  # fmt: skip
                return
            self._make_ready(record)

    def _make_ready(self, record: Record, alone: bool = False) -> None:
        record.state = TaskState.READY
        self._running.pop(record.view.id, None)
        view = record.view
        if alone or record.dependencies:
            view = replace(view, ready_s=time.time(), alone=alone)
        record.dependencies = []
        self._ready.add(view, first=alone)  # alone: it has waited its turn once
        self._refuse_hopeless(record)

    def _on_cancel(self, record: Record) -> None:
        if record.state in (TaskState.WAITING, TaskState.READY):
            self._settle(record, TaskState.CANCELED).set_running_or_notify_cancel()

    def _on_newcomer(self, pilot: Pilot) -> None:
        """Make room on a pilot that came later, perhaps in place of one that has ended."""
        pilot.watch(lambda _: self._inbox.put(self._on_pilot))
        self._inbox.put(lambda: self._make_room(pilot))

    def _make_room(self, pilot: Pilot) -> None:
        room = self._rooms.get(pilot.name)
        if room is None or room.pilot is not pilot:
            self._rooms[pilot.name] = Room(pilot, self._rates)

    def _known_rooms(self) -> dict[str, Room]:
        """Return rooms of all pilots there are, also of one the binder has not heard of yet.

        Whoever sees a pilot that came later may name it at once: the binder then learns of it
        before it learns of the task.
        """
        rooms = dict(self._rooms)  # the binder's may grow
        for pilot in self._pilots.pilots:
            if pilot.name not in rooms:
                rooms[pilot.name] = Room(pilot, self._rates)
                self._inbox.put(partial(self._make_room, pilot))
        return rooms

    def _on_pilot(self) -> None:
        for view in list(self._ready):
            self._refuse_hopeless(self._unfinished[view.id])

    def _refuse_hopeless(self, record: Record) -> None:
        """Fail a ready task that no pilot is left for."""
        rooms = self._rooms.values()
        if any(self._has_future(room) and room.view().suits(record.view) for room in rooms):
            return
        reasons = {
            room.pilot.reason or f"pilot '{room.pilot.name}' is {room.pilot.state.value}"
            for room in rooms
            if not room.alive and room.view().suits(record.view)
        }
        reason = "; ".join(sorted(reasons))
        self._fail(
            record, PilotError(f"task '{record.name}': no pilot is left to run it: {reason}")
        )

    def _has_future(self, room: Room) -> bool:
        return room.alive or self._pilots.is_replacing(room.pilot)

    def _bind(self) -> None:
        """Ask the policy, and launch what it binds."""
        views = self._active_views()
        if not self._ready or not any(view.free or view.prefetch for view in views):
            return
        try:
            bindings = self._choose(self._ready, views, time.time())
            accepted = self._accepted(bindings, views)
        except Exception as error:
            for view in list(self._ready):
                record = self._unfinished[view.id]
                self._fail(record, TaskError(
                    f"task '{record.name}': policy '{self.policy}' failed: {repr_of(error)}"
                ), error)  # fmt: skip
            return
        for name, records in accepted.items():
            for parcel in self._parcels(records, self._rooms[name].view()):
                self._launch(self._rooms[name], parcel)

    def _accepted(
        self, bindings: Sequence[tuple[int, str]], views: Sequence[PilotView]
    ) -> dict[str, list[Record]]:
        """Return the bindings per pilot, without the short-task room for other tasks.

        They are held against the views that the policy saw: a pilot may end at any moment.
        """
        room = {view.name: view for view in views}
        accepted: dict[str, list[Record]] = {}
        seen: set[int] = set()
        for number, name in bindings:
            view, pilot = self._ready.find(number), room[name]
            if view is None or number in seen or not pilot.has_room(view):
                raise ValueError(f"it bound task {number} to pilot '{name}', which has no room")
            seen.add(number)
            record = self._unfinished[number]
            extra = self._rooms[name].extra
            if pilot.free == 0 and pilot.prefetch <= extra and not self._is_short(record):
                continue
            room[name] = pilot.holding(view)
            accepted.setdefault(name, []).append(record)
        return accepted

    def _is_short(self, record: Record) -> bool:
        return self._run_times.is_short(record.kind)

    def _parcels(self, records: Sequence[Record], room: PilotView) -> Iterator[list[Record]]:
        """Yield what to launch together: short tasks in parcels, others one by one."""
        short = [r for r in records if self._is_short(r) and r.is_plain]
        together = set(map(id, short))
        for record in records:
            if id(record) not in together:
                yield [record]
        longest = max((self._run_times.longest(r.kind) for r in short), default=0.0)
        size = min(PARCEL, int(PARCEL_S / max(longest, PARCEL_S / PARCEL)))
        if room.free:  # idle workers share what there is
            size = min(size, -(-len(short) // room.slots)) or 1
        for start in range(0, len(short), size):
            yield short[start : start + size]

    def _launch(self, room: Room, parcel: Iterable[Record]) -> None:
        records = []
        for record in parcel:
            self._ready.remove(record.view.id)
            assert record.future is not None
            # On the first launch only: a future that runs already may not be told again.
            if record.attempts == 0 and not record.future.set_running_or_notify_cancel():
                self._settle(record, TaskState.CANCELED)
                continue
            record.bind(room.pilot.name)
            self._tell(record)
            records.append(record)
        if records:
            self._send(room, records)

    def _send(self, room: Room, records: Sequence[Record]) -> None:
        """Hand calls to a pilot; it will report once."""
        now = time.time()
        tickets = [room.take(record.view, now) for record in records]
        sent = Sent(room, records, tickets, [record.launches for record in records])
        has_ranks = room.pilot.description.ranks > 1
        calls = [record.call(has_ranks) for record in records]
        for record, ticket in zip(records, tickets, strict=True):
            record.launches += 1
            record.copies += 1
            if record.copies == 1:
                self._running[record.view.id] = (record, ticket)
        room.pilot.launch(
            calls, lambda report: self._inbox.put(lambda: self._on_report(sent, report))
        )

    def _on_report(self, sent: Sent, report: Report) -> None:
        room, records = sent.room, sent.records
        if isinstance(report, Loss) and not report.preempted:
            self._deaths.note(room.pilot.name, (r.view.id for r in records), time.time())
        for i, (record, ticket) in enumerate(zip(records, sent.tickets, strict=True)):
            room.give_back(ticket, time.time())
            record.copies -= 1
            if record.state is not TaskState.BOUND:
                continue  # abandoned, or a duplicate was quicker
            if not isinstance(report, Loss):
                record.launch = sent.numbers[i]
                self._on_outcome(record, report[i], room.pilot.name)
            elif record.copies == 0:
                self._on_loss(record, report, alone=len(records) == 1)

    def _on_loss(self, record: Record, loss: Loss, alone: bool) -> None:
        if loss.preempted:
            record.preemptions += 1
            budget, times, name = record.most_preemptions, record.preemptions, "most_preemptions"
        else:
            record.retries += 1
            is_suspect = self._deaths.without(record.view.id, time.time()) < TURMOIL
            record.kills += alone and is_suspect
            budget, times, name = record.most_retries, record.retries, "retries"
        if record.kills >= MOST_KILLS:
            mark = record.fingerprint
            self._quarantined.add(mark)
            self._fail(record, TaskError(
                f"task '{record.name}' is quarantined (fingerprint {mark}): {record.kills} workers "
                f"died while they ran it alone, the last time because {loss.reason}; "
                f"{loss.advice or 'look for what ends or exhausts their process'}"
            ))  # fmt: skip
        elif times <= budget:
            self._tell(record, loss.reason)
            self._make_ready(record, alone=True)
        else:
            self._fail(record, TaskError(
                f"task '{record.name}' was lost {times} time{'s' if times > 1 else ''} "
                f"({name} is {budget}), the last time because {loss.reason}"
                f"{'; ' if loss.advice else ''}{loss.advice}"
            ))  # fmt: skip

    def _on_outcome(self, record: Record, outcome: Outcome, pilot: str) -> None:
        record.worker, record.pilot = outcome.worker, pilot
        record.started, record.finished = outcome.started, outcome.finished
        run_s = outcome.finished - outcome.started
        self._run_times.add(record.kind, run_s)
        if record.view.cost_s is not None and outcome.error is None:
            self._rates.add(pilot, record.view.cost_s, run_s)
        if outcome.error is None:
            self._settle(record, TaskState.DONE).set_result(outcome.value)
        elif record.errors < record.most_errors:
            record.errors += 1
            self._tell(record, shortened(repr_of(outcome.error), MOST_LINE))
            self._make_ready(record, alone=True)
        else:
            self._fail(record, _told(outcome, record))

    def _duplicate_stragglers(self) -> None:
        """Run once more what takes far too long, where a slot is free and nothing waits."""
        if not self._duplicates or self._ready or not self._running:
            return
        rooms = [room for room in self._rooms.values() if room.active and room.view().free]
        if not rooms:
            return
        now = time.time()
        for record, ticket in list(self._running.values()):
            since = ticket.running_since
            if since is None or record.copies > 1 or record.ranks > 1:
                continue
            if now - since > self._run_times.straggles_after(record.kind):
                room = next((r for r in rooms if r.has_idle_slot(record.view)), None)
                if room is None:
                    return
                self._tell(record, f"straggles: a duplicate runs on pilot '{room.pilot.name}'")
                self._send(room, [record])

    def _tell(self, record: Record, reason: str = "") -> None:
        """Write a change of a task's state to the events."""
        event = {
            "time": time.time(),
            "event": "task",
            "id": record.view.id,
            "task": record.name,
            "state": record.state.value,
            "pilot": record.pilot,
        }
        if record.worker is not None:
            event["worker"] = record.worker
        if record.started is not None:  # on that worker
            event |= {"started": record.started, "finished": record.finished}
        if reason:
            event["reason"] = reason
        self._pilots.events.write(event)

    def _fail(
        self, record: Record, error: BaseException, cause: BaseException | None = None
    ) -> None:
        if cause is not None:
            error.__cause__ = cause
        future = self._settle(record, TaskState.FAILED, words_of(error, MOST_LINE))
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)

    def _settle(self, record: Record, state: TaskState, reason: str = "") -> TaskFuture:
        """End the record's part in all this and return its future, to be given an end."""
        number = record.view.id
        self._unfinished.pop(number, None)
        self._running.pop(number, None)
        if self._ready.find(number) is not None:
            self._ready.remove(number)
        self._ending = future = record.end(state)
        self._tell(record, reason)
        return future

    def _abandon(self) -> None:
        for record in list(self._unfinished.values()):
            assert record.future is not None
            if record.state is TaskState.BOUND or not record.future.cancel():
                self._fail(record, TaskError(f"task '{record.name}' was abandoned by close()"))
            else:
                self._on_cancel(record)

    # -- explanations ------------------------------------------------------------------

    def _explain(self, record: Record) -> str:
        """Ask the binder, from any other thread, why a task is where it is."""
        if record.state in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELED):
            return f"is {record.state.value}"
        answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._inbox.put(lambda: answer.put(self._reason(record)))
        try:
            return answer.get(timeout=_ANSWER_S)
        except queue.Empty:
            return f"is {record.state.value}"

    def _reason(self, record: Record) -> str:
        if record.state is TaskState.WAITING:
            names = [f"'{f.task.name}'" for f in record.dependencies if not f.done()]
            return f"waits for {len(names)} tasks: {', '.join(names[:4])}"
        if record.state is TaskState.READY:
            return self._why_ready(record.view)
        if record.state is TaskState.BOUND:
            return f"is bound to pilot '{record.pilot}': it runs there, or is next in line"
        return f"is {record.state.value}"

    def _why_ready(self, view: TaskView) -> str:
        pending = [
            f"pilot '{room.pilot.name}' is {room.pilot.state.value}"
            + (f" ({room.pilot.reason})" if room.pilot.reason else "")
            for room in self._rooms.values()
            if not room.active and room.alive and room.view().suits(view)
        ]
        rooms = [room for room in self._rooms.values() if room.active]
        views = [room.view_for_long_tasks(beside(rooms)) for room in rooms]
        why = explain(view, self._ready, views, time.time(), self._choose)
        return "; ".join([why, *pending])

    def _write_waiting(self) -> None:
        """Tell other processes now and then which tasks wait, and why."""
        now = time.monotonic()
        file = self._pilots.connection_file
        if file is None or now - self._wrote_waiting < waiting_file.PERIOD_S:
            return
        if not self._ready and not self._has_waiting:
            return
        self._wrote_waiting, self._has_waiting = now, bool(self._ready)
        some = itertools.islice(self._ready, waiting_file.MOST)
        lines = [(self._unfinished[v.id].name, self._why_ready(v)) for v in some]
        with contextlib.suppress(OSError):  # the directory may be gone by now
            waiting_file.write(file.with_name(waiting_file.FILE_NAME), lines)

    # -- callbacks ---------------------------------------------------------------------

    def _post_callback(self, callback: Callable[[], Any]) -> None:
        self._callbacks.put(callback)

    def _call_back(self) -> None:
        while (callback := self._callbacks.get()) is not None:
            try:
                callback()
            except BaseException as error:  # SystemExit must not end everybody's callbacks
                _log.error("a done callback of a task failed\n%s", traceback_of(error))


def _end_with(future: TaskFuture, error: TaskError) -> None:
    with contextlib.suppress(Exception):  # it may have an end already
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)


def _told(outcome: Outcome, record: Record) -> Exception:
    """Return the task's exception with the worker's traceback as a add_note."""
    error = outcome.error
    assert error is not None
    kind = type(error)  # asking the exception itself may raise
    # SystemExit must not end the caller, nor StopIteration the loop that it waits in.
    if why := why_unreadable(error):
        cause = vars(BaseException)["__cause__"].__get__(error)
        error = TaskError(words_of(error))
        error.__cause__ = cause  # not the exception: who prints the other would fail
        add_note(error, f"The exception itself is left out: {why}")
    elif not issubclass(kind, Exception) or issubclass(kind, StopIteration):
        told = TaskError(f"task '{record.name}' raised {repr_of(error)}")
        told.__cause__, error = error, told
    where = f"worker {outcome.worker} of pilot '{record.pilot}'"
    add_note(error, f"task '{record.name}' failed on {where}:\n{outcome.traceback.rstrip()}")
    assert isinstance(error, Exception)
    return error
