"""Outcomes of launches: results, errors and losses, and which tasks are run again.

This module owns the budgets of retries and the quarantine of tasks that kill their workers. It
refuses to know where a task runs next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pilotcut.errors import TaskError
from pilotcut.options import counted
from pilotcut.pilots.worker.exception_text import (
    MOST_LINE,
    add_note,
    repr_of,
    shortened,
    why_unreadable,
    words_of,
)
from pilotcut.pilots.worker.payload import Loss, Outcome, Report
from pilotcut.tasks.load import Unguessed
from pilotcut.tasks.runtime_estimates import PilotRates, RunTimes
from pilotcut.tasks.slot_accounting import Reservation, SlotAccount
from pilotcut.tasks.stored_results import StoredResults
from pilotcut.tasks.task import TaskState
from pilotcut.tasks.task_record import TaskRecord
from pilotcut.tasks.task_table import TaskTable
from pilotcut.tasks.worker_failures import TURMOIL, WorkerFailures

#: A task that was alone with this many workers when they died is not run again.
MOST_KILLS = 3


class LaunchOutcomes:
    """Ends tasks by what pilots report, or has them run again.

    Parameters
    ----------
    table
        The tasks.
    run_times, rates, unguessed
        Are told of every run.
    run_again
        Puts a task back into the queue.
    stored
        Keeps the results of tasks with a key, None if nobody does.
    """

    def __init__(
        self,
        table: TaskTable,
        run_times: RunTimes,
        rates: PilotRates,
        unguessed: Unguessed,
        run_again: Callable[[TaskRecord], None],
        stored: StoredResults | None = None,
    ) -> None:
        self._table = table
        self._run_times = run_times
        self._rates = rates
        self._unguessed = unguessed
        self._run_again = run_again
        self._stored = stored
        self._quarantined: set[str] = set()
        self._worker_failures = WorkerFailures()

    def is_quarantined(self, record: TaskRecord) -> bool:
        """Return whether one like it has killed workers; fail it then."""
        if not self._quarantined or (mark := record.fingerprint) not in self._quarantined:
            return False
        self._table.fail(record, TaskError(
            f"task '{record.name}' is quarantined: one like it (fingerprint {mark}) has killed "
            f"{MOST_KILLS} workers"
        ))  # fmt: skip
        return True

    def take(
        self, account: SlotAccount, reservations: Sequence[Reservation], report: Report
    ) -> None:
        """Take note of how launches have ended that a pilot was handed together."""
        name = account.pilot.name
        # A pilot that ends takes its workers along, which tells nothing of its tasks.
        if isinstance(report, Loss) and not report.preempted:
            lost = (reservation.record.view.id for reservation in reservations)
            self._worker_failures.note(name, lost, time.time())
        for i, reservation in enumerate(reservations):
            # Also of a run that a duplicate has outrun: it kept its slots until now.
            account.release(reservation, time.time())
            record = reservation.record
            record.copies -= 1
            if record.state is not TaskState.BOUND or record.is_ending:
                continue  # abandoned, or a duplicate was quicker
            if not isinstance(report, Loss):
                record.launch = reservation.launch
                self._on_outcome(record, report[i], name)
            elif record.copies == 0:
                # As long as a duplicate runs, the loss of the other launch costs nothing.
                self._on_loss(record, report, was_single=len(reservations) == 1)

    def _on_loss(self, record: TaskRecord, loss: Loss, was_single: bool) -> None:
        if loss.preempted:
            record.preemptions += 1
            budget, times, name = record.most_preemptions, record.preemptions, "most_preemptions"
        else:
            record.retries += 1
            # Where workers die that never held this task, the node or the network is to blame.
            is_suspect = self._worker_failures.without_task(record.view.id, time.time()) < TURMOIL
            # Of several in one parcel any may be the one that has ended the worker.
            record.kills += was_single and is_suspect
            budget, times, name = record.most_retries, record.retries, "retries"
        if record.kills >= MOST_KILLS:
            mark = record.fingerprint
            self._quarantined.add(mark)
            self._table.fail(record, TaskError(
                f"task '{record.name}' is quarantined (fingerprint {mark}): "
                f"{counted(record.kills, 'worker')} "
                f"died while they ran it alone, the last time because {loss.reason}; "
                f"{loss.advice or 'look for what ends or exhausts their process'}"
            ))  # fmt: skip
        elif times <= budget:
            self._table.write_event(record, loss.reason)
            self._run_again(record)
        else:
            self._table.fail(record, TaskError(
                f"task '{record.name}' was lost {times} time{'s' if times > 1 else ''} "
                f"({name} is {budget}), the last time because {loss.reason}"
                f"{'; ' if loss.advice else ''}{loss.advice}"
            ))  # fmt: skip

    def _on_outcome(self, record: TaskRecord, outcome: Outcome, pilot: str) -> None:
        record.worker, record.pilot = outcome.worker, pilot
        record.started, record.finished = outcome.started, outcome.finished
        run_s = outcome.finished - outcome.started
        self._run_times.add(record.kind, run_s)
        if record.view.length_s == 0.0:
            self._unguessed.add(run_s)
        # A task that raises at once would count as a very fast run, and walltimes are judged by
        # rates.
        if record.view.cost_s is not None and outcome.error is None:
            self._rates.add(pilot, record.view.cost_s, run_s)
        if outcome.error is None and self._stored is not None and record.key is not None:
            self._stored.keep(record, outcome.value)
        elif outcome.error is None:
            self._table.settle(record, TaskState.DONE).set_result(outcome.value)
        elif record.errors < record.most_errors:
            record.errors += 1
            self._table.write_event(record, shortened(repr_of(outcome.error), MOST_LINE))
            self._run_again(record)
        else:
            self._table.fail(record, _with_worker_traceback(outcome, record))


def _with_worker_traceback(outcome: Outcome, record: TaskRecord) -> Exception:
    """Return the task's exception with the worker's traceback as a note."""
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
        other = TaskError(f"task '{record.name}' raised {repr_of(error)}")
        other.__cause__, error = error, other
    where = f"worker {outcome.worker} of pilot '{record.pilot}'"
    add_note(error, f"task '{record.name}' failed on {where}:\n{outcome.traceback.rstrip()}")
    assert isinstance(error, Exception)
    return error
