"""Launching of tasks: short ones in parcels, and stragglers a second time.

This module owns what a pilot is handed at once, and when a task is run once more beside itself.
It refuses to know why a task goes to a pilot, and what becomes of it there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pilotcut.pilots.worker.payload import Report
from pilotcut.tasks.runtime_estimates import RunTimes
from pilotcut.tasks.slot_accounting import PARCEL, Reservation, SlotAccount
from pilotcut.tasks.task import TaskState
from pilotcut.tasks.task_record import TaskRecord
from pilotcut.tasks.task_table import TaskTable

#: Most work in a parcel, in seconds, by what is known of run times.
#: A no-op takes 0.67 ms of CPU time in all processes this way, and 5.2 ms by a `submit` of dask's
#: each (benchmarks/dispatch.py, two local workers).
PARCEL_S = 0.016
#: How often stragglers are looked for at least, and the pause between two looks at least.
_STRAGGLER_TICK_S, _STRAGGLER_PAUSE_S = 1.0, 0.001


class Launcher:
    """Hands bound tasks to their pilots.

    Parameters
    ----------
    table
        The tasks.
    accounts
        What is taken of each pilot's slots, by its name.
    run_times
        What is known of run times.
    on_report
        Is called, from any thread, with what was launched and what the pilot reports of it.
    """

    def __init__(
        self,
        table: TaskTable,
        accounts: Mapping[str, SlotAccount],
        run_times: RunTimes,
        on_report: Callable[[SlotAccount, Sequence[Reservation], Report], None],
    ) -> None:
        self._table = table
        self._accounts = accounts
        self._run_times = run_times
        self._on_report = on_report

    def launch(self, name: str, records: Sequence[TaskRecord]) -> None:
        """Launch tasks that are bound to the pilot of that name."""
        account = self._accounts[name]
        for parcel in self._parcels(records, account):
            self._launch(account, parcel)

    @property
    def has_short(self) -> bool:
        """Whether some of the ready tasks may travel in parcels."""
        return any(map(self._run_times.is_short, self._table.ready_kinds))

    @property
    def has_free_slot(self) -> bool:
        """Whether a slot of some pilot has nothing to do."""
        return any(account.active and account.free for account in self._accounts.values())

    def is_short(self, record: TaskRecord) -> bool:
        """Return whether a task may travel in a parcel, by what is known of its kind."""
        return self._run_times.is_short(record.kind)

    def _parcels(
        self, records: Sequence[TaskRecord], account: SlotAccount
    ) -> Iterator[list[TaskRecord]]:
        """Yield what to launch together: short tasks in parcels, others one by one."""
        short = [r for r in records if self.is_short(r) and r.is_plain]
        together = set(map(id, short))
        for record in records:
            if id(record) not in together:
                yield [record]
        longest = max((self._run_times.longest(r.kind) for r in short), default=0.0)
        size = min(PARCEL, int(PARCEL_S / max(longest, PARCEL_S / PARCEL)))
        if account.free:  # idle workers share what there is
            size = min(size, -(-len(short) // account.pilot.slots)) or 1
        for start in range(0, len(short), size):
            yield short[start : start + size]

    def _launch(self, account: SlotAccount, parcel: Iterable[TaskRecord]) -> None:
        records = []
        for record in parcel:
            self._table.take_ready(record)
            assert record.future is not None
            # On the first launch only: a future that runs already may not be told again.
            if record.attempts == 0 and not record.future.set_running_or_notify_cancel():
                self._table.settle(record, TaskState.CANCELED)
                continue
            record.bind(account.pilot.name)
            self._table.write_event(record)
            records.append(record)
        if records:
            self._send(account, records)

    def _send(self, account: SlotAccount, records: Sequence[TaskRecord]) -> None:
        """Hand calls to a pilot; it will report once."""
        now = time.time()
        reservations = [account.reserve(record, now) for record in records]
        has_ranks = account.pilot.description.ranks > 1
        # Reservations and calls carry the number of launches before this one, so they are made
        # before it is counted.
        calls = [record.call(has_ranks) for record in records]
        for record, reservation in zip(records, reservations, strict=True):
            record.launches += 1
            record.copies += 1
            if record.copies == 1:
                self._table.running[record.view.id] = reservation
        account.pilot.launch(calls, lambda report: self._on_report(account, reservations, report))

    # -- stragglers ----------------------------------------------------------------

    # Of the time that delayed runs take beyond their share, duplicates save 89 % in one process,
    # and 68 % on local workers (medians of ten seeds). Where nothing straggles they cost 0.1 %.
    # (benchmarks/stragglers.py, 64 tasks of 0.2 s on 8 slots, each delayed fivefold with p = 0.2.)
    def duplicate_stragglers(self) -> None:
        """Run once more what takes far too long, where a slot is free and nothing waits."""
        if self._table.ready or not self._table.running:
            return
        accounts = [
            account for account in self._accounts.values() if account.active and account.free
        ]
        # Without a free slot nothing comes of a look at what runs.
        if not accounts:
            return
        now = time.time()
        for reservation in list(self._table.running.values()):
            record = reservation.record
            since = reservation.running_since
            if since is None or record.copies > 1 or record.view.ranks > 1:
                continue
            if not record.may_be_duplicated:
                continue
            if now - since > self._run_times.straggles_after(record.kind):
                account = next((r for r in accounts if r.has_idle_slot(record.view)), None)
                if account is None:
                    return
                self._table.write_event(
                    record, f"straggles: a duplicate runs on pilot '{account.pilot.name}'"
                )
                self._send(account, [record])

    def next_straggler_in(self) -> float:
        """Return when to look for stragglers again, in seconds: when the next task becomes one.

        Those that are stragglers already and still have no duplicate found no slot.
        """
        if not self.has_free_slot:
            return _STRAGGLER_TICK_S
        now = time.time()
        ages = [
            (now - reservation.running_since, reservation.record)
            for reservation in self._table.running.values()
            if reservation.running_since is not None and reservation.record.copies == 1
            if reservation.record.may_be_duplicated
        ]
        # With a fixed tick alone each duplicate would start up to that much too late.
        due = [self._run_times.straggles_after(record.kind) - age for age, record in ages]
        soon = min((wait for wait in due if wait > 0), default=_STRAGGLER_TICK_S)
        return min(_STRAGGLER_TICK_S, max(_STRAGGLER_PAUSE_S, soon))
