"""Jobs of a device, from submission to a result: in flight, written down, fetched, awaited.

Owns that no job is paid twice: one that is in the journal is fetched, one that has not come back
is asked for again, and one is submitted anew only if the service says that it has none of its
results. Refuses to know what the circuits are, and what a result means.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Semaphore
from typing import Any, TypeAlias

from pilotcut.backends.device_client import (
    FAILED,
    QUEUED,
    RUNNING,
    DeviceClient,
    is_unknown,
    job_id_of,
    seconds_of,
    status_of,
)
from pilotcut.backends.job_journal import current_journal, job_in
from pilotcut.backends.job_usage import Usage, current_meter, nothing_is_paid, stays_in_queue
from pilotcut.errors import DeviceError, QueueWaitError
from pilotcut.io import env_variables
from pilotcut.pilots.description.access import NO_LIMITS, JobLimits

#: Workers of the pilot, which share its jobs in flight.
WORKERS_VARIABLE = "PILOTCUT_PILOT_WORKERS"

#: How often a result that does not come is asked for, how often what the service has lost or
#: failed for nothing is submitted again, and how often a queue is looked at.
_ASKED, _AGAIN, _LOOK_S = 5, 3, 0.05
#: Longest pause between two looks or questions, and how long a job may take to be cancelled.
_MOST_S, _CANCEL_S = 2.0, 20.0


@dataclass(frozen=True)
class JobRules:
    """How a device's jobs are to be run.

    Parameters
    ----------
    limits
        Of jobs.
    wait_s, job_s
        Seconds that a job may stand in the queue, and that it may run; None for any.
    dedicated
        Whether the device is ours alone: it gets one job after the other.
    batches
        Whether each query has a sampler of its own, in a batch.
    """

    limits: JobLimits = NO_LIMITS
    wait_s: float | None = None
    dedicated: bool = False
    batches: bool = False
    job_s: float | None = None

    @property
    def in_flight(self) -> int | None:
        """Most jobs that this process may have in flight, None for any number."""
        if self.dedicated:
            return 1
        if self.limits.jobs is None:
            return None
        workers = env_variables.whole_number(WORKERS_VARIABLE, 1, least=1)
        return max(1, self.limits.jobs // workers)


@dataclass(frozen=True)
class JobRequest:
    """A job to be run.

    Parameters
    ----------
    submit
        Submits it and returns it.
    content
        Tells it from others, "" where it need not be found again.
    results
        How many results it has.
    shots
        Of all its circuits.
    """

    submit: Callable[[], Any]
    content: Callable[[], str]
    results: int
    shots: int


#: Turns what a vendor's client raises into one line of ours.
Worded: TypeAlias = Callable[[BaseException], DeviceError]


@dataclass
class _Flying:
    request: JobRequest
    job: Any
    since: float
    entry: Path | None = None
    fetched: bool = False
    again: int = 0
    requeued: int = 0


class DeviceJobs:
    """Runs jobs of one device, not more at once than it takes.

    Parameters
    ----------
    name
        Of the pilot, for messages.
    rules
        How.
    opened
        Returns what submits jobs now.
    renewed
        Told what failed to submit one; returns whether something else does now, with a new
        session.
    """

    def __init__(
        self,
        name: str,
        rules: JobRules,
        opened: Callable[[], Any],
        renewed: Callable[[Any], bool],
    ) -> None:
        self._name, self._rules = name, rules
        self._opened, self._renewed = opened, renewed
        most = rules.in_flight
        self._slots = Semaphore(10**9 if most is None else most)
        self._said = False

    def results(
        self, requests: Sequence[JobRequest], client: DeviceClient, worded: Worded
    ) -> list[Any]:
        """Return what comes back for each job, whatever that is.

        Raises
        ------
        QueueWaitError
            If one stays in the queue for `JobRules.wait_s`, before anything of this work unit is
            paid, and all could be cancelled.
        DeviceError
            If the client raises, by `worded`.
        """
        found: list[Any] = [None] * len(requests)
        flying: deque[tuple[int, _Flying]] = deque()
        coming = deque(enumerate(requests))
        watched = self._rules.wait_s is not None and not stays_in_queue()
        timed = self._rules.job_s is not None
        try:
            while coming or flying:
                # Who holds a place never waits for another: two threads that do would for ever.
                if coming and self._slots.acquire(blocking=not flying):
                    k, request = coming.popleft()
                    try:
                        flying.append((k, self._begun(request, client, worded)))
                    except BaseException:
                        self._slots.release()
                        raise
                    continue
                k, one = flying[0]
                others = [each for _, each in flying]
                watches = [partial(self._watch, one, others, worded)] * watched
                watches += [partial(self._clock, one, others, worded)] * timed
                found[k] = self._result(one, client, worded, watches)
                flying.popleft()
                self._slots.release()
        finally:
            for _ in flying:
                self._slots.release()
        return found

    # -- submission ---------------------------------------------------------------------

    def _begun(self, request: JobRequest, client: DeviceClient, worded: Worded) -> _Flying:
        journal = current_journal()
        if journal is None:
            return _Flying(request, self._submitted(request, worded), time.monotonic())
        entry = journal.entry(request.content())
        known = job_in(entry)
        if known is not None and (job := self._fetched(known, client, worded)) is not None:
            return _Flying(request, job, time.monotonic(), entry, fetched=True)
        one = _Flying(request, self._submitted(request, worded), time.monotonic(), entry)
        self._note(one, client)
        return one

    def _submitted(self, request: JobRequest, worded: Worded) -> Any:
        used = self._opened()
        try:
            return request.submit()
        except (Exception, SystemExit) as error:  # it may be a user's sampler
            if self._renewed(used):
                with suppress(Exception):
                    return request.submit()
            raise worded(error) from error

    def _note(self, one: _Flying, client: DeviceClient) -> None:
        """Write a job's id down, so that another process can fetch its result."""
        journal = current_journal()
        if journal is None or one.entry is None:
            return
        job = job_id_of(one.job)
        if client.fetch is not None and job is not None:
            journal.write(one.entry, job, self._name)
        elif not self._said:
            self._said = True
            warnings.warn(
                f"pilot '{self._name}': its client has no way to fetch a job by its id, so a run "
                f"that is killed pays for the jobs in flight again; docs/qpus.md says what a "
                f"sampler needs for it",
                stacklevel=2,
            )

    def _fetched(self, job: str, client: DeviceClient, worded: Worded) -> Any:
        """Return a job by its id, None if the service says that it has none."""
        fetch = client.fetch
        if fetch is None:
            return None
        try:
            found = fetch(job)
        except Exception as error:
            if is_unknown(error):
                return None
            # Not submitted anew: it may well run, and be paid.
            raise worded(error) from error
        if status_of(found) in FAILED:
            return None
        return found

    # -- queue --------------------------------------------------------------------------

    def _watch(self, one: _Flying, all_jobs: Sequence[_Flying], worded: Worded) -> None:
        """Wait until a job has left the queue; if that takes too long, do something.

        Raises
        ------
        QueueWaitError
            If nothing of this work unit is paid yet, and all its jobs are cancelled.
        """
        wait_s = self._rules.wait_s
        assert wait_s is not None
        pause = _LOOK_S
        while status_of(one.job) in QUEUED:
            waited = time.monotonic() - one.since
            # Each time that it goes to the end of the queue it gets twice the time there.
            allowed = wait_s * 2**one.requeued
            if waited >= allowed:
                if one.requeued == _AGAIN:
                    return
                # What is paid must not be left alone: then this one alone may be stuck.
                gone = [
                    each
                    for each in (all_jobs if nothing_is_paid() else [one])
                    if self._cancelled(each.job)
                ]
                if nothing_is_paid() and len(gone) == len(all_jobs):
                    self._leave(gone, waited)
                for each in gone:
                    each.requeued += 1
                    self._resubmit(each, worded)
                if one not in gone:
                    return
                continue
            time.sleep(min(pause, allowed - waited + 1e-3))
            pause = min(2 * pause, _MOST_S)

    def _clock(self, one: _Flying, all_jobs: Sequence[_Flying], worded: Worded) -> None:
        """Wait until a job has ended; one that runs for too long is cancelled and submitted again.

        Raises
        ------
        QueueWaitError
            If none of that helps, or nothing of this work unit is paid yet: its task moves.
        DeviceError
            The same, where the task has nowhere to go.
        """
        most_s = self._rules.job_s
        assert most_s is not None
        since: float | None = None
        pause = _LOOK_S
        while (status := status_of(one.job)) in QUEUED or status in RUNNING:
            if status in RUNNING:
                since = since or time.monotonic()
                if (ran := time.monotonic() - since) >= most_s:
                    self._give_up(one, all_jobs, ran, worded)
                    since, pause = None, _LOOK_S
                    continue
            time.sleep(min(pause, most_s / 4))
            pause = min(2 * pause, _MOST_S)

    def _give_up(
        self, one: _Flying, all_jobs: Sequence[_Flying], ran: float, worded: Worded
    ) -> None:
        gone = self._cancelled(one.job, QUEUED | RUNNING)
        leaves = not stays_in_queue()
        # What is paid must not be left alone, also what nobody has fetched yet.
        paid = not nothing_is_paid() or any(_has_ended(each.job) for each in all_jobs)
        if one.again < _AGAIN and gone and (paid or not leaves):
            one.again += 1
            self._resubmit(one, worded)
            return
        for each in all_jobs:
            if each is not one:
                self._cancelled(each.job)
            if each.entry is not None:
                each.entry.unlink(missing_ok=True)
        kind = QueueWaitError if leaves else DeviceError
        how = "it is cancelled" if gone else "it could not be cancelled, and may be paid"
        raise kind(
            f"pilot '{self._name}': a job of its ran for {ran:.3g} s, expected at most job_s, "
            f"which is {self._rules.job_s:g}; {how}"
        )

    def _leave(self, cancelled: Sequence[_Flying], waited: float) -> None:
        for one in cancelled:
            if one.entry is not None:
                one.entry.unlink(missing_ok=True)
        raise QueueWaitError(
            f"pilot '{self._name}': its jobs were in the queue for {waited:.3g} s, expected "
            f"at most wait_s, which is {self._rules.wait_s:g}; they are cancelled"
        )

    def _resubmit(self, one: _Flying, worded: Worded) -> None:
        one.job = self._submitted(one.request, worded)
        one.since = time.monotonic()
        journal, job = current_journal(), job_id_of(one.job)
        if journal is not None and one.entry is not None and job is not None:
            journal.write(one.entry, job, self._name)

    @staticmethod
    def _cancelled(job: Any, not_yet: Set[str] = QUEUED) -> bool:
        """Cancel a job; return whether its status confirms that."""
        limit, pause = time.monotonic() + _CANCEL_S, _LOOK_S
        with suppress(Exception):  # it may have started: its status says
            job.cancel()
        while (status := status_of(job)) in not_yet and time.monotonic() < limit:
            time.sleep(pause)
            pause = min(2 * pause, _MOST_S)
        return status in {"CANCELLED", "CANCELED"}

    # -- results ------------------------------------------------------------------------

    def _result(
        self,
        one: _Flying,
        client: DeviceClient,
        worded: Worded,
        watches: Sequence[Callable[[], None]],
    ) -> Any:
        pause = _LOOK_S
        for left in reversed(range(_ASKED)):
            for watch in watches:  # also what has just been submitted again
                watch()
            try:
                raw = one.job.result()
            except (Exception, SystemExit) as error:
                if self._resubmitted(one, client, worded):
                    continue
                if not left or status_of(one.job) in FAILED or not self._refreshed(one, client):
                    raise worded(error) from error
            else:
                if _size_of(raw) in (None, one.request.results) or not left:
                    break
                # Half of it came: asking again costs nothing, running again does.
                if not self._refreshed(one, client):
                    break
            time.sleep(pause)
            pause = min(2 * pause, _MOST_S)
        # What has a result took more than no time: 0, as local jobs say, tells nothing.
        seconds = seconds_of(one.job) or 0.0
        current_meter().add(
            Usage(1, int(one.fetched), one.request.shots, seconds, int(seconds > 0))
        )
        return raw

    def _resubmitted(self, one: _Flying, client: DeviceClient, worded: Worded) -> bool:
        """Submit a job anew which the service has lost, or failed without having run it."""
        fetch, job = client.fetch, job_id_of(one.job)
        if fetch is None or job is None or one.again == _AGAIN:
            return False
        try:
            lost = status_of(fetch(job)) in FAILED and seconds_of(one.job) == 0.0
        except Exception as error:
            lost = is_unknown(error)
        if lost:
            one.again += 1
            self._resubmit(one, worded)
        return lost

    @staticmethod
    def _refreshed(one: _Flying, client: DeviceClient) -> bool:
        """Fetch a job anew where that can be; return whether asking it again makes sense."""
        fetch, job = client.fetch, job_id_of(one.job)
        if fetch is None or job is None:
            return False
        with suppress(Exception):
            one.job = fetch(job)
        return True


def _has_ended(job: Any) -> bool:
    """Return whether a job says that it has a result."""
    return status_of(job) not in QUEUED | RUNNING | FAILED | {""}


def _size_of(raw: Any) -> int | None:
    """Return how many results there are, None where that cannot be said."""
    results = getattr(raw, "results", raw)  # of a backend
    try:
        return None if isinstance(results, (dict, str)) else len(results)
    except TypeError:
        return None
