"""Binder: one thread that owns the state of all tasks and binds each to a pilot with room.

It reads one inbox; every other thread, the callers', the pilots' and the canceling ones, only
posts to that inbox. So the state of tasks has no lock, and nobody waits while holding something. It
refuses to know what a task is made of (`manager`), how pilots are handed tasks (`launching`) and
what becomes of what they report (`outcomes`).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.options import counted
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.pilot import Pilot
from pilotcut.pilots.worker.exception_text import add_note, repr_of, traceback_of, words_of
from pilotcut.pilots.worker.payload import Report
from pilotcut.tasks.callbacks import CallbackThread
from pilotcut.tasks.dependencies import Dependencies
from pilotcut.tasks.explain import explain
from pilotcut.tasks.launching import Launcher
from pilotcut.tasks.load import Unguessed, loads
from pilotcut.tasks.outcomes import LaunchOutcomes
from pilotcut.tasks.policies import name_of
from pilotcut.tasks.policy_base import Policy, wake_s
from pilotcut.tasks.result_store import ResultStore
from pilotcut.tasks.runtime_estimates import PilotRates, RunTimes
from pilotcut.tasks.slot_accounting import Reservation, SlotAccount, active_mpi_pilots
from pilotcut.tasks.snapshots import PilotView, TaskView
from pilotcut.tasks.stored_results import StoredResults
from pilotcut.tasks.task import TaskFuture, TaskState
from pilotcut.tasks.task_record import TaskRecord
from pilotcut.tasks.task_table import TaskTable
from pilotcut.tasks.waiting_file import MOST, WaitingFile

#: Most events between two looks at what can be bound.
_MOST_EVENTS = 64
#: Submissions that may wait for the binder while slots have nothing to do, and a pause of the next.
_MOST_BEHIND, _PAUSE_S = 64, 0.001
#: How long `explain` waits for the binder.
_ANSWER_S = 5.0
#: A policy may wait on purpose; it is asked again this often.
_TICK_S = 0.5


class Binder:
    """Takes tasks from any thread and ends each of them.

    Parameters
    ----------
    pilots
        The pilots, started.
    choose
        The policy.
    duplicates
        Whether stragglers are run a second time.
    store
        Where results of tasks with a key are, None if they are not stored.
    """

    def __init__(
        self,
        pilots: PilotManager,
        choose: Policy,
        *,
        duplicates: bool,
        store: ResultStore | None = None,
    ) -> None:
        self._pilots = pilots
        self._choose = choose
        self._duplicates = duplicates
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Reports need not wait behind thousands of submissions; `_wake` in the inbox wakes us.
        self._reported: deque[Callable[[], None]] = deque()
        self._is_woken = False
        self._is_starved = True
        self._rates, run_times = PilotRates(), RunTimes()
        self._accounts = {p.name: SlotAccount(p, self._rates) for p in pilots.pilots}
        self._table = TaskTable(pilots.events)
        self._stored = (
            None
            if store is None
            else StoredResults(store, self._table, self._inbox.put, self._make_ready)
        )
        self._dependencies = Dependencies(self._table, self._inbox.put, self._release)
        self._launcher = Launcher(self._table, self._accounts, run_times, self._post_report)
        # By itself: whether it is the task that ends workers shows only where nothing else stands
        # in line with it.
        run_again = partial(self._make_ready, isolated=True)
        self._unguessed = Unguessed()
        self._outcomes = LaunchOutcomes(
            self._table, run_times, self._rates, self._unguessed, run_again, self._stored
        )
        self._waiting_file = WaitingFile(self._reasons)
        self._closing = False
        self._breakdown: BaseException | None = None
        # It orders submissions against `close` and a breakdown, no more: the state of tasks needs
        # no lock.
        self._submitting = threading.Lock()
        for pilot in pilots.pilots:
            pilot.watch(lambda _: self._inbox.put(self._on_pilot))
        pilots.on_newcomer(self._on_newcomer)
        pilots.loads.on_asked(self, lambda: self._inbox.put(self._say_load))
        self._callbacks = CallbackThread()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="task-binder")
        self._thread.start()

    # -- for any thread ------------------------------------------------------------

    def submit(self, record: TaskRecord) -> TaskFuture:
        """Take in a task and return its future."""
        future = TaskFuture(record, self)
        record.future = future
        record.before = tuple(f.task.id for f in record.dependencies if f.is_of(self))
        # Threads share the interpreter: one that submits ten thousand tasks would have most of it,
        # and a thousand slots nothing to do until all are submitted.
        if self._is_starved and self._inbox.qsize() > _MOST_BEHIND:
            time.sleep(_PAUSE_S)
        with self._submitting:  # so that nothing enters the inbox after `close`
            if self._breakdown is not None:
                raise self._broken(record.name)
            if self._closing:
                raise UserError(f"task '{record.name}': the task manager is closed")
            self._inbox.put(lambda: self._on_submit(record))
        return future

    def known_accounts(self) -> dict[str, SlotAccount]:
        """Return accounts of all pilots there are, also of one the binder has not heard of yet.

        Whoever sees a pilot that came later may name it at once: the binder then learns of it
        before it learns of the task.
        """
        accounts = dict(self._accounts)  # the binder's may grow
        for pilot in self._pilots.pilots:
            if pilot.name not in accounts:
                accounts[pilot.name] = SlotAccount(pilot, self._rates)
                self._inbox.put(partial(self._add_account, pilot))
        return accounts

    def close(self, *, wait: bool) -> bool:
        """Take no more tasks; wait for all, or abandon them; return whether all is over.

        It is not yet where a callback or the binder itself closes: the binder then ends by
        itself once all is done.
        """
        with self._submitting:
            if not self._closing:
                self._closing = True
                # Nothing is an event too: it wakes a binder that has no task left and waits without
                # a limit.
                self._inbox.put(self._abandon if not wait else lambda: None)
            elif not wait:
                self._inbox.put(self._abandon)
        if threading.current_thread() in (self._thread, self._callbacks.thread):
            return False
        self._thread.join()
        self._callbacks.thread.join()
        return True

    def call_back(self, callback: Callable[[], Any]) -> None:
        """Run a done callback on the thread for them."""
        self._callbacks.post(callback)

    def on_cancel(self, record: TaskRecord) -> None:
        """Hear from a future that it is canceled."""
        self._inbox.put(lambda: self._on_cancel(record))

    def explain(self, record: TaskRecord) -> str:
        """Ask the binder, from any other thread, why a task is where it is."""
        # A binder that has ended answers nobody; then all its tasks are in one of these states.
        if record.state in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELED):
            return f"is {record.state.value}"
        answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._inbox.put(lambda: answer.put(self._reason(record)))
        try:
            return answer.get(timeout=_ANSWER_S)
        except queue.Empty:
            return f"is {record.state.value}"

    # -- the binder's thread: everything below is called there only ---------------------

    def _serve(self) -> None:
        try:
            self._serve_all()
        except BaseException as error:  # then nobody else would ever end what others wait for
            self._break_down(error)
        finally:
            self._pilots.loads.leave(self)
            self._callbacks.end()
            if self._stored is not None:
                self._stored.close()

    def _serve_all(self) -> None:
        table = self._table
        # What was submitted just before `close` may be in the inbox still, and is in no table yet.
        while table.unfinished or not self._closing or not self._inbox.empty():
            for event in self._events():
                event()
            self._bind()
            self._is_starved = not table.ready and self._launcher.has_free_slot
            if self._duplicates:
                self._launcher.duplicate_stragglers()
            self._waiting_file.write(self._pilots.connection_file, bool(table.ready))

    def _break_down(self, error: BaseException) -> None:
        """Refuse new tasks from now on, and fail all that have not ended."""
        with self._submitting:  # so that no task enters the inbox after it is emptied
            self._breakdown = error
        self._reported.clear()
        while not self._inbox.empty():
            with contextlib.suppress(BaseException):  # tasks just submitted, or just done
                self._inbox.get_nowait()()
        self._table.fail_all(self._broken)

    def _broken(self, name: str) -> TaskError:
        error = self._breakdown
        assert error is not None
        fault = TaskError(
            f"task '{name}' cannot end: the task manager broke down ({words_of(error, 300)}), "
            f"which is a fault in pilotcut; report it with the traceback, and use a new TaskManager"
        )
        add_note(fault, f"the task manager broke down:\n{traceback_of(error).rstrip()}")
        return fault

    def _events(self) -> Iterator[Callable[[], None]]:
        """Yield what is in the inbox, after waiting for the first of it."""
        try:
            yield self._inbox.get(timeout=self._patience())
            # No more: while thousands of tasks are submitted it would never be empty, and of a
            # thousand idle slots 350 had nothing to do a second later.
            for _ in range(_MOST_EVENTS):
                yield from self._reports()
                yield self._inbox.get_nowait()
            yield from self._reports()  # what the last event was to wake us for
        except queue.Empty:
            return

    def _reports(self) -> Iterator[Callable[[], None]]:
        """Yield what pilots have reported: slots that are free now come before new tasks."""
        while self._reported:
            yield self._reported.popleft()

    def _patience(self) -> float | None:
        """Return how long to wait for an event before looking around."""
        if self._table.ready:
            return min(_TICK_S, self._policy_wakes_in())
        # With nothing ready only a straggler can be due; all else comes through the inbox.
        return (
            self._launcher.next_straggler_in() if self._duplicates and self._table.running else None
        )

    def _policy_wakes_in(self) -> float:
        """Return when a policy that waits on purpose wants to be asked again, in seconds."""
        now = time.time()
        when = wake_s(self._choose, self._table.ready, self._active_views(), now)
        return math.inf if when is None else max(0.0, when - now)

    def _active_views(self, has_short: bool = True) -> list[PilotView]:
        accounts = [account for account in self._accounts.values() if account.active]
        # Ordinary pilots' views name the MPI pilots beside them, so that no policy has to know of
        # ranks.
        mpi = active_mpi_pilots(accounts)
        return [account.view(mpi, has_short=has_short) for account in accounts]

    def _on_submit(self, record: TaskRecord) -> None:
        self._table.add(record)
        if not self._outcomes.is_quarantined(record):
            self._dependencies.add(record)

    def _say_load(self) -> None:
        """Say what waits for elastic pilots and runs on them."""
        accounts = self._accounts.values()
        table = self._table
        found = loads(table.ready, accounts, self._unguessed, time.time(), table.groups)
        self._pilots.loads.say(self, found)

    def _release(self, record: TaskRecord) -> None:
        """Go on with a task that waits for no other one."""
        if self._stored is not None and record.key is not None:
            self._stored.look(record)
        else:
            self._make_ready(record)

    def _make_ready(self, record: TaskRecord, *, isolated: bool = False) -> None:
        self._table.make_ready(record, isolated=isolated)
        self._refuse_hopeless(record)

    def _post_report(
        self, account: SlotAccount, reservations: Sequence[Reservation], report: Report
    ) -> None:
        self._reported.append(lambda: self._outcomes.take(account, reservations, report))
        if not self._is_woken:  # once for all that comes until the binder looks
            self._is_woken = True
            self._inbox.put(self._wake)

    def _wake(self) -> None:
        """Have the next report wake the binder again; those until now are taken next."""
        self._is_woken = False

    def _on_cancel(self, record: TaskRecord) -> None:
        if record.state in (TaskState.WAITING, TaskState.READY):
            self._table.settle(record, TaskState.CANCELED).set_running_or_notify_cancel()

    def _on_newcomer(self, pilot: Pilot) -> None:
        """Keep an account of a pilot that came later, perhaps in place of one that has ended."""
        pilot.watch(lambda _: self._inbox.put(self._on_pilot))
        self._inbox.put(lambda: self._add_account(pilot))

    def _add_account(self, pilot: Pilot) -> None:
        account = self._accounts.get(pilot.name)
        # A pilot that comes in place of another has its name.
        if account is None or account.pilot is not pilot:
            self._accounts[pilot.name] = SlotAccount(pilot, self._rates)

    def _on_pilot(self) -> None:
        for view in list(self._table.ready):
            self._refuse_hopeless(self._table.unfinished[view.id])

    def _refuse_hopeless(self, record: TaskRecord) -> None:
        """Fail a ready task that no pilot is left for."""
        accounts = self._accounts.values()
        if any(self._has_future(account) and account.suits(record.view) for account in accounts):
            return
        reasons = {
            account.pilot.reason or f"pilot '{account.pilot.name}' is {account.pilot.state.value}"
            for account in accounts
            if not account.alive and account.suits(record.view)
        }
        reason = "; ".join(sorted(reasons))
        self._table.fail(
            record, PilotError(f"task '{record.name}': no pilot is left to run it: {reason}")
        )

    def _has_future(self, account: SlotAccount) -> bool:
        return account.alive or self._pilots.is_replacing(account.pilot)

    def _bind(self) -> None:
        """Ask the policy, and launch what it binds."""
        has_short = self._launcher.has_short
        views = self._active_views(has_short)
        if not self._table.ready or not any(view.free or view.prefetch for view in views):
            return
        try:
            bindings = self._choose(self._table.ready, views, time.time())
            accepted = self._accepted(bindings, views, has_short)
        except Exception as error:
            # A policy may be the user's: its fault ends the tasks that it was asked about, and not
            # the binder, whose end is that of everybody's tasks.
            fault = f"policy '{name_of(self._choose)}' failed: {repr_of(error)}"
            for view in list(self._table.ready):
                record = self._table.unfinished[view.id]
                self._table.fail(record, TaskError(f"task '{record.name}': {fault}"), error)
            return
        # Whoever writes lets other threads have the interpreter, and waits for them.
        with self._pilots.events.together():
            for name, records in accepted.items():
                self._launcher.launch(name, records)

    def _accepted(
        self, bindings: Sequence[tuple[int, str]], views: Sequence[PilotView], has_short: bool
    ) -> dict[str, list[TaskRecord]]:
        """Return the bindings per pilot, without the room that only short tasks may take.

        They are held against the views that the policy saw: a pilot may end at any moment.
        """
        left = {view.name: view for view in views}
        accepted: dict[str, list[TaskRecord]] = {}
        seen: set[int] = set()
        for number, name in bindings:
            view, pilot = self._table.ready.find(number), left[name]
            if view is None or number in seen or not pilot.has_room(view):
                raise ValueError(f"it bound task {number} to pilot '{name}', which has no room")
            seen.add(number)
            record = self._table.unfinished[number]
            extra = self._accounts[name].extra if has_short else -1
            # Policies do not know what is short, so they may bind anything to the room for parcels.
            # What is long stays ready: it would hold up all that stands behind it.
            if pilot.free == 0 and pilot.prefetch <= extra and not self._launcher.is_short(record):
                continue
            left[name] = pilot.holding(view)
            accepted.setdefault(name, []).append(record)
        return accepted

    def _abandon(self) -> None:
        # The last ones first: what waits for others is canceled, and not cut off by their end.
        for record in reversed(list(self._table.unfinished.values())):
            assert record.future is not None
            if record.state is TaskState.BOUND or not record.future.cancel():
                self._table.fail(
                    record, TaskError(f"task '{record.name}' was abandoned by close()")
                )
            else:
                self._on_cancel(record)

    # -- explanations ----------------------------------------------------------------

    def _reason(self, record: TaskRecord) -> str:
        if record.state is TaskState.WAITING:
            names = [f"'{f.task.name}'" for f in record.dependencies if not f.done()]
            if not names:
                return "is looked for among stored results"
            waits = f"waits for {counted(len(names), 'task')}: {', '.join(names[:4])}"
            return f"{waits}{self._followers(record)}"
        if record.state is TaskState.READY:
            return f"{self._why_ready(record.view)}{self._followers(record)}"
        if record.state is TaskState.BOUND:
            where = f"is bound to pilot '{record.pilot}': it runs there, or is next in line"
            return f"{where}{self._followers(record)}"
        return f"is {record.state.value}"

    def _followers(self, record: TaskRecord) -> str:
        """Return which tasks wait for one, to stand behind what it waits for itself."""
        names = [f"'{other.name}'" for other in self._table.branches.followers(record.future)]
        if not names:
            return ""
        some = counted(len(names), "task")
        return f"; {some} wait{'s' if len(names) == 1 else ''} for it: {', '.join(names[:4])}"

    def _why_ready(self, view: TaskView) -> str:
        pending = dict.fromkeys(
            account.pilot.in_words
            for account in self._accounts.values()
            if not account.active and account.alive and account.suits(view)
        )
        accounts = [account for account in self._accounts.values() if account.active]
        mpi = active_mpi_pilots(accounts)
        views = [account.view(mpi, has_short=False) for account in accounts]
        why = explain(view, self._table.ready, views, time.time(), self._choose)
        return "; ".join([why, *pending])

    def _reasons(self) -> Iterator[tuple[str, str]]:
        """Yield the first tasks that wait, and why."""
        for view in itertools.islice(self._table.ready, MOST):
            yield self._table.unfinished[view.id].name, self._why_ready(view)
