"""The ready queue: tasks wait here until a pilot has room for them.

One thread owns all state and reads one inbox; every other thread, the callers', the
pilots' and the canceling ones, only posts to that inbox. So nothing here is locked,
and nobody waits while holding something.
"""

from __future__ import annotations

import difflib
import itertools
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import cloudpickle

from pilotcut.descriptions import PilotDescription
from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.payload import Call, Loss, Outcome, Report, drop_shared, keep_object
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.tasks.policies import POLICIES, PilotView, Policy, TaskView
from pilotcut.tasks.task import Shared, Task, TaskFuture, TaskState, futures_in, with_results

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: A task known to take at most this long is sent in a parcel with others like it.
#: Measured on two local workers: no-op tasks one by one 700/s, in parcels 3,000/s.
SHORT_S = 0.002
#: Most tasks in a parcel, and most work in seconds by what is known of their run times.
PARCEL = 64
PARCEL_S = 0.016
#: A policy may wait on purpose; it is asked again this often.
_TICK_S = 0.5


class TaskManager:
    """Runs functions on pilots, each bound to a pilot only when that has room.

    Parameters
    ----------
    pilots
        The pilots to run on; started if they are not.
    policy
        ``"eager"``, ``"longest_first"``, or a callable such as
        `pilotcut.tasks.policies.eager`.

    Examples
    --------
    >>> from pilotcut.descriptions import embedded
    >>> with PilotManager(embedded()) as pilots, TaskManager(pilots) as tasks:
    ...     tasks.submit_task(max, 3, 7).result()
    7
    """

    def __init__(self, pilots: PilotManager, *, policy: str | Policy = "eager") -> None:
        self._choose = _policy(policy)
        self.policy: str = policy if isinstance(policy, str) else _name_of(policy)
        pilots.start()
        self._pilots = pilots
        self._rooms = {pilot.name: _Room(pilot) for pilot in pilots.pilots}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._callbacks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._unfinished: dict[int, _Record] = {}
        self._ready: dict[int, TaskView] = {}
        self._run_times: dict[tuple[str, str], float] = {}
        self._closing = False
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
        fn: Callable[..., Any],
        /,
        *args: Any,
        name: str | None = None,
        cores: int = 1,
        gpus: int = 0,
        ranks: int = 1,
        pilot: str | Iterable[str] | None = None,
        after: TaskFuture | Iterable[TaskFuture] = (),
        retries: int = 2,
        cost_s: float | None = None,
        **kwargs: Any,
    ) -> TaskFuture:
        """Return the future of ``fn(*args, **kwargs)``, to run on a pilot.

        Task futures among the arguments, also inside lists, tuples and dicts, are
        replaced by their results first.

        Parameters
        ----------
        fn
            Any function. It may run more than once, if a worker dies.
        name
            What messages call the task; the function's name and a number if None.
        cores, gpus
            What the task needs of one node.
        ranks
            Number of MPI processes; only 1 in this version.
        pilot
            Name or names of the pilots it may run on, None for any.
        after
            Tasks that must have succeeded before.
        retries
            How often the task is bound again when its worker or pilot was lost. An
            exception that `fn` raises is the result and is not retried.
        cost_s
            A guess of the run time in seconds, for policies.

        Raises
        ------
        UserError
            If no pilot could ever run the task.
        """
        number = next(self._numbers)
        label = name if name is not None else f"{_name_of(fn)}-{number}"
        names = (pilot,) if isinstance(pilot, str) else None if pilot is None else tuple(pilot)
        before = (after,) if isinstance(after, TaskFuture) else tuple(after)
        view = TaskView(
            number, cores, gpus, None if names is None else frozenset(names), cost_s, time.time()
        )
        faults = _faults(fn, view, names, before, ranks, retries)
        faults = faults or self._placement_faults(view)
        if faults:
            raise UserError([f"task '{label}': {fault}" for fault in faults])
        record = _Record(label, view, fn, args, kwargs, retries, self._kind(fn, cost_s))
        record.dependencies = _unique([*before, *futures_in(args), *futures_in(kwargs)])
        return self._accept(record)

    def _accept(self, record: _Record) -> TaskFuture:
        future = TaskFuture(
            record.snapshot,
            self._post_callback,
            lambda: self._inbox.put(lambda: self._on_cancel(record)),
        )
        record.future = future
        with self._submitting:  # so that nothing enters the inbox after `close`
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
        while self._unfinished or not self._closing or not self._inbox.empty():
            for event in self._events():
                event()
            self._bind()
        self._callbacks.put(None)

    def _events(self) -> Iterator[Callable[[], None]]:
        """Yield what is in the inbox, after waiting for the first of it."""
        try:
            yield self._inbox.get(timeout=_TICK_S if self._ready else None)
            while True:
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    def _on_submit(self, record: _Record) -> None:
        self._unfinished[record.view.id] = record
        record.missing = len(record.dependencies)
        for dependency in record.dependencies:
            dependency.when_done(
                lambda done: self._inbox.put(lambda: self._on_dependency(record, done))
            )
        if not record.dependencies:
            self._make_ready(record)

    def _on_dependency(self, record: _Record, done: Future[Any]) -> None:
        if record.state is not TaskState.WAITING:
            return
        cause = CancelledError("it was canceled") if done.cancelled() else done.exception()
        if cause is not None:
            assert isinstance(done, TaskFuture)
            kind = type(cause).__name__
            self._fail(record, TaskError(
                f"task '{record.name}' did not run, for it depends on task "
                f"'{done.task.name}', which failed: {kind}: {cause}"
            ), cause)  # fmt: skip
            return
        record.missing -= 1
        if record.missing == 0:
            record.args = with_results(record.args)
            record.kwargs = with_results(record.kwargs)
            self._make_ready(record)

    def _make_ready(self, record: _Record, alone: bool = False) -> None:
        record.state = TaskState.READY
        view = record.view
        if alone or record.dependencies:
            view = TaskView(
                view.id, view.cores, view.gpus, view.pilots, view.cost_s, time.time(), alone
            )
        record.dependencies = []
        if alone:  # it has waited its turn once
            self._ready = {view.id: view} | self._ready
        else:
            self._ready[view.id] = view
        self._refuse_hopeless(record)

    def _on_cancel(self, record: _Record) -> None:
        if record.state in (TaskState.WAITING, TaskState.READY):
            self._settle(record, TaskState.CANCELED).set_running_or_notify_cancel()

    def _on_newcomer(self, pilot: Pilot) -> None:
        """Make room on a pilot that came later, perhaps in place of one that has ended."""
        pilot.watch(lambda _: self._inbox.put(self._on_pilot))
        self._inbox.put(lambda: self._rooms.update({pilot.name: _Room(pilot)}))

    def _on_pilot(self) -> None:
        for number in list(self._ready):
            self._refuse_hopeless(self._unfinished[number])

    def _refuse_hopeless(self, record: _Record) -> None:
        """Fail a ready task that no pilot is left for."""
        rooms = self._rooms.values()
        if any(room.alive and room.view().suits(record.view) for room in rooms):
            return
        reasons = {
            room.pilot.reason or f"pilot '{room.pilot.name}' is {room.pilot.state.value}"
            for room in rooms
            if not room.alive
        }
        reason = "; ".join(sorted(reasons))
        self._fail(
            record, PilotError(f"task '{record.name}': no pilot is left to run it: {reason}")
        )

    def _bind(self) -> None:
        """Ask the policy, and launch what it binds."""
        views = [room.view() for room in self._rooms.values() if room.active]
        if not self._ready or not any(view.free or view.prefetch for view in views):
            return
        try:
            bindings = self._choose(tuple(self._ready.values()), views, time.time())
            accepted = self._accepted(bindings)
        except Exception as error:
            for number in list(self._ready):
                record = self._unfinished[number]
                self._fail(record, TaskError(
                    f"task '{record.name}': policy '{self.policy}' failed: {error!r}"
                ), error)  # fmt: skip
            return
        for name, records in accepted.items():
            for parcel in self._parcels(records, self._rooms[name].view()):
                self._launch(self._rooms[name], parcel)

    def _accepted(self, bindings: Sequence[tuple[int, str]]) -> dict[str, list[_Record]]:
        """Return the bindings per pilot, without the short-task room for other tasks."""
        room = {room.pilot.name: room.view() for room in self._rooms.values() if room.active}
        accepted: dict[str, list[_Record]] = {}
        seen: set[int] = set()
        for number, name in bindings:
            view, pilot = self._ready[number], room[name]
            if number in seen or not pilot.has_room(view):
                raise ValueError(f"it bound task {number} to pilot '{name}', which has no room")
            seen.add(number)
            record = self._unfinished[number]
            extra = self._rooms[name].extra
            if pilot.free == 0 and pilot.prefetch <= extra and not self._is_short(record):
                continue
            room[name] = pilot.holding(view)
            accepted.setdefault(name, []).append(record)
        return accepted

    def _is_short(self, record: _Record) -> bool:
        return self._run_times.get(record.kind, SHORT_S + 1) <= SHORT_S

    def _parcels(self, records: Sequence[_Record], room: PilotView) -> Iterator[list[_Record]]:
        """Yield what to launch together: short tasks in parcels, others one by one."""
        short = [r for r in records if self._is_short(r) and r.is_plain]
        together = set(map(id, short))
        for record in records:
            if id(record) not in together:
                yield [record]
        longest = max((self._run_times[r.kind] for r in short), default=0.0)
        size = min(PARCEL, int(PARCEL_S / max(longest, PARCEL_S / PARCEL)))
        if room.free:  # idle workers share what there is
            size = min(size, -(-len(short) // room.slots)) or 1
        for start in range(0, len(short), size):
            yield short[start : start + size]

    def _launch(self, room: _Room, parcel: Iterable[_Record]) -> None:
        records = []
        for record in parcel:
            view = self._ready.pop(record.view.id)
            assert record.future is not None
            # On the first launch only: a future that runs already may not be told again.
            if record.retries == 0 and not record.future.set_running_or_notify_cancel():
                self._settle(record, TaskState.CANCELED)
                continue
            record.bind(room.pilot.name)
            room.take(view)
            records.append(record)
        if records:
            calls = [Call(r.fn, r.args, r.kwargs, r.view.gpus) for r in records]
            room.pilot.launch(
                calls,
                lambda report: self._inbox.put(lambda: self._on_report(room, records, report)),
            )

    def _on_report(self, room: _Room, records: Sequence[_Record], report: Report) -> None:
        for i, record in enumerate(records):
            room.give_back(record.view.id)
            if record.state is not TaskState.BOUND:
                continue  # abandoned
            if isinstance(report, Loss):
                self._on_loss(record, report)
            else:
                self._on_outcome(record, report[i])

    def _on_loss(self, record: _Record, loss: Loss) -> None:
        if record.retries < record.most_retries:
            record.retries += 1
            self._make_ready(record, alone=True)
            return
        times = record.retries + 1
        self._fail(record, TaskError(
            f"task '{record.name}' was lost {times} time{'s' if times > 1 else ''} "
            f"(retries is {record.most_retries}), the last time because {loss.reason}"
        ))  # fmt: skip

    def _on_outcome(self, record: _Record, outcome: Outcome) -> None:
        record.worker = outcome.worker
        record.started, record.finished = outcome.started, outcome.finished
        run_time = outcome.finished - outcome.started
        # The longest of late: a parcel must not hold a surprise.
        self._run_times[record.kind] = max(run_time, 0.7 * self._run_times.get(record.kind, 0.0))
        if outcome.error is not None:
            self._fail(record, _told(outcome, record))
        else:
            self._settle(record, TaskState.DONE).set_result(outcome.value)

    def _fail(
        self, record: _Record, error: BaseException, cause: BaseException | None = None
    ) -> None:
        if cause is not None:
            error.__cause__ = cause
        future = self._settle(record, TaskState.FAILED)
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)

    def _settle(self, record: _Record, state: TaskState) -> TaskFuture:
        """End the record's part in all this and return its future, to be given an end."""
        number = record.view.id
        self._unfinished.pop(number, None)
        self._ready.pop(number, None)
        return record.end(state)

    def _abandon(self) -> None:
        for record in list(self._unfinished.values()):
            assert record.future is not None
            if record.state is TaskState.BOUND or not record.future.cancel():
                self._fail(record, TaskError(f"task '{record.name}' was abandoned by close()"))
            else:
                self._on_cancel(record)

    # -- callbacks ---------------------------------------------------------------------

    def _post_callback(self, callback: Callable[[], Any]) -> None:
        self._callbacks.put(callback)

    def _call_back(self) -> None:
        while (callback := self._callbacks.get()) is not None:
            try:
                callback()
            except Exception:
                _log.exception("a done callback of a task failed")

    # -- what is refused at submission ---------------------------------------------------

    def _kind(self, fn: Callable[..., Any], cost_s: float | None) -> tuple[str, str]:
        """Return what tells tasks of similar run time apart."""
        if cost_s is not None and cost_s > SHORT_S:
            return ("", "not short")
        return (getattr(fn, "__module__", None) or "", _name_of(fn))

    def _placement_faults(self, view: TaskView) -> list[str]:
        unknown = sorted((view.pilots or frozenset()) - set(self._rooms))
        if unknown:
            known = ", ".join(f"'{name}'" for name in self._rooms)
            return [
                f"pilot is '{name}', expected one of {known}{_did_you_mean(name, self._rooms)}"
                for name in unknown
            ]
        rooms = [
            r for r in self._rooms.values() if view.pilots is None or r.pilot.name in view.pilots
        ]
        if any(room.view().suits(view) for room in rooms):
            return []
        have = "; ".join(
            f"pilot '{v.name}' has {v.slots * v.cores_per_slot} cores, "
            f"{v.gpus_per_slot} GPUs a worker"
            for v in (room.view() for room in rooms)
        )
        return [f"cores is {view.cores} and gpus is {view.gpus}, more than any pilot has: {have}"]


@dataclass(eq=False)
class _Record:
    """What the binder knows of a task; read by other threads through `snapshot`."""

    name: str
    view: TaskView
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    most_retries: int
    kind: tuple[str, str]
    future: TaskFuture | None = None
    dependencies: list[TaskFuture] = field(default_factory=list)
    missing: int = 0
    state: TaskState = TaskState.WAITING
    pilot: str | None = None
    worker: str | None = None
    submitted: float = field(default_factory=time.time)
    bound: float | None = None
    started: float | None = None
    finished: float | None = None
    retries: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing keeps the task from sharing a parcel."""
        return self.view.cores == 1 and self.view.gpus == 0 and self.retries == 0

    def bind(self, pilot: str) -> None:
        self.state, self.pilot, self.bound = TaskState.BOUND, pilot, time.time()

    def end(self, state: TaskState) -> TaskFuture:
        """Enter a final state; let go of arguments and future, which may be big."""
        assert self.future is not None
        future, self.future = self.future, None
        self.state = state
        self.finished = self.finished or time.time()
        self.args, self.kwargs, self.dependencies = (), {}, []
        return future

    def snapshot(self) -> Task:
        return Task(
            id=self.view.id,
            name=self.name,
            state=self.state,
            pilot=self.pilot,
            worker=self.worker,
            submitted=self.submitted,
            bound=self.bound,
            started=self.started,
            finished=self.finished,
            retries=self.retries,
        )


class _Room:
    """What of a pilot's slots and GPUs is taken."""

    def __init__(self, pilot: Pilot) -> None:
        self.pilot = pilot
        self._held: dict[int, TaskView] = {}
        self._slots_taken = 0
        self._gpus_taken = 0
        self._unshared = 0
        self._described = pilot.description
        self._view_of_idle = _idle(pilot.description)

    @property
    def _idle(self) -> PilotView:
        if self.pilot.description is not self._described:  # workers attached or left
            self._described = self.pilot.description
            self._view_of_idle = _idle(self._described)
        return self._view_of_idle

    @property
    def alive(self) -> bool:
        return not self.pilot.state.final and self.pilot.state is not PilotState.DRAINING

    @property
    def active(self) -> bool:
        return self.pilot.state is PilotState.ACTIVE

    @property
    def extra(self) -> int:
        """The part of the room that only short tasks may take."""
        return self.pilot.slots * PARCEL if self.pilot.prefetch else 0

    def view(self) -> PilotView:
        idle = self._idle
        return PilotView(
            name=idle.name,
            slots=idle.slots,
            free=max(0, idle.slots - self._slots_taken),
            prefetch=self._prefetch(),
            cores_per_slot=idle.cores_per_slot,
            gpus_per_slot=idle.gpus_per_slot,
            gpus_free=idle.gpus_free * (1 + self.pilot.prefetch) - self._gpus_taken,
        )

    def _prefetch(self) -> int:
        if self._unshared:  # nothing may stand in line behind these
            return 0
        in_line = max(0, self._slots_taken - self._idle.slots)
        ahead = self._idle.slots * self.pilot.prefetch - in_line
        if ahead + self.extra < PARCEL // 2:
            return 0  # refilled in small change, parcels would shrink from round to round
        return max(0, ahead + self.extra)

    def take(self, task: TaskView) -> None:
        self._held[task.id] = task
        self._count(task, 1)

    def give_back(self, number: int) -> None:
        self._count(self._held.pop(number), -1)

    def _count(self, task: TaskView, sign: int) -> None:
        width = self._idle.width(task)
        self._slots_taken += sign * width
        self._gpus_taken += sign * task.gpus
        self._unshared += sign * (task.alone or width > 1)


def _idle(d: PilotDescription) -> PilotView:
    return PilotView(
        name=d.name,
        slots=d.slots,
        free=d.slots,
        cores_per_slot=d.threads_per_worker,
        gpus_per_slot=d.gpus_per_worker,
        gpus_free=d.gpus,
    )


# -- small helpers ---------------------------------------------------------------------


def _policy(policy: str | Policy) -> Policy:
    if callable(policy):
        return policy
    if policy not in POLICIES:
        known = ", ".join(f"'{name}'" for name in POLICIES)
        hint = _did_you_mean(str(policy), POLICIES)
        raise UserError(f"policy is {policy!r}, expected {known} or a callable{hint}")
    return POLICIES[policy]


def _faults(
    fn: object,
    view: TaskView,
    names: Sequence[str] | None,
    before: Sequence[object],
    ranks: int,
    retries: int,
) -> list[str]:
    """Return what is wrong with the arguments of `submit_task` by themselves."""
    counts = {"cores": (view.cores, 1), "gpus": (view.gpus, 0), "retries": (retries, 0)}
    faults = [
        f"{what} is {value!r}, expected a whole number from {least} up"
        for what, (value, least) in counts.items()
        if not isinstance(value, int) or value < least
    ]
    if not callable(fn):
        faults.append(f"fn is {fn!r}, expected a function")
    if names is not None and not names:
        faults.append("pilot is an empty list, expected at least one name, or None for any")
    if not all(isinstance(future, TaskFuture) for future in before):
        faults.append(f"after is {before!r}, expected futures from submit_task")
    if ranks != 1:
        faults.append(
            f"ranks is {ranks!r}, expected 1: MPI tasks are not available in this version"
        )
    return faults


def _told(outcome: Outcome, record: _Record) -> Exception:
    """Return the task's exception with the worker's traceback as a note."""
    error = outcome.error
    if not isinstance(error, Exception):  # SystemExit must not end the caller
        error = TaskError(f"task '{record.name}' raised {error!r}")
    where = f"worker {outcome.worker} of pilot '{record.pilot}'"
    error.add_note(f"task '{record.name}' failed on {where}:\n{outcome.traceback.rstrip()}")
    return error


def _name_of(fn: object) -> str:
    fn = getattr(fn, "func", fn)  # functools.partial
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _unique(futures: Iterable[TaskFuture]) -> list[TaskFuture]:
    return list({id(future): future for future in futures}.values())
