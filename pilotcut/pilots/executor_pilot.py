"""Executor pilots: their workers are those of an executor, whoever has made it.

Anything with the interface of `concurrent.futures.Executor` will do: a process pool, or Parsl's,
Ray's, mpi4py's, executorlib's. A call is packed here and unpacked by a function of ours there, so
whatever a task does comes back as an outcome, and an exception of the executor's future is the
executor's own. Refuses to know which executor it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError

from pilotcut.errors import PilotError, UserError
from pilotcut.options import check, whole_fault
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.faults import EXPECTED
from pilotcut.pilots.description.field_types import MOST_SLOTS
from pilotcut.pilots.description.kinds import ANY_KIND, EXECUTOR
from pilotcut.pilots.pilot import DirectPilot, Pilot, PilotState
from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.pilots.worker.executor_calls import (
    Behind,
    Greeting,
    SharedWithExecutor,
    Surroundings,
    greet,
    own_process,
    run_here,
    run_there,
)
from pilotcut.pilots.worker.node_config import node_config
from pilotcut.pilots.worker.payload import Call, Loss, Outcome, Report, pack_call, unpack_outcome
from pilotcut.pilots.worker.versions import differences, installed

#: Where executors say how many calls they run at the same time.
_SLOTS = ("_max_workers", "max_workers", "num_workers")
#: What an executor can do, the second where it is a pilot's own.
_NEEDED = ("submit", "shutdown")
#: How often in a row it must lose a call that does nothing before it is given up.
_PROBES = 3
_NEXT = "make another executor, and pilots of that"


def described_executor(
    executor: Executor, slots: int | None, name: str, threads: int
) -> PilotDescription:
    """Return the description of a pilot on an executor.

    Raises
    ------
    UserError
        If it is no executor, or does not say how many calls it runs at the same time.
    """
    if not callable(getattr(executor, "submit", None)):
        raise UserError(
            f"executor is {executor!r}, expected an object with the interface of "
            f"concurrent.futures.Executor"
        )
    if slots is None and (slots := _slots_of(executor)) is None:
        raise UserError(
            f"slots is None, and a {type(executor).__name__} does not say how many calls it runs "
            f"at the same time, expected that number; say it, as in slots=4"
        )
    check(whole_fault("slots", slots, 1, MOST_SLOTS))
    check(whole_fault("threads", threads, 1, MOST_SLOTS // slots))
    fields = {"name": name, "workers_per_node": slots, "threads_per_worker": threads}
    try:
        return PilotDescription.model_validate(
            fields | {"resource": EXECUTOR}, context={ANY_KIND: True}
        )
    except ValidationError:
        raise UserError(f"name is {name!r}, expected {EXPECTED['name']}") from None


def _slots_of(executor: Executor) -> int | None:
    for name in _SLOTS:
        said = getattr(executor, name, None)
        if isinstance(said, int) and not isinstance(said, bool) and said > 0:
            return said
    return None


@dataclass(eq=False)
class _Parcel:
    """Calls that were launched together, until they are reported."""

    calls: Sequence[Call]
    report: Callable[[Report], None]
    blobs: Sequence[bytes] = ()
    future: Future[Any] | None = None
    trips: int = 0


class ExecutorPilot(DirectPilot):
    """Workers that an executor has.

    Parameters
    ----------
    description
        What there is, or is asked for.
    make
        Returns the executor: the one that somebody has, or a new one.
    is_own
        Whether it is the pilot's to shut it down.
    """

    prefetch = 1
    starts_ranks = False

    def __init__(
        self,
        description: PilotDescription,
        make: Callable[[PilotDescription], Executor],
        *,
        is_own: bool,
    ) -> None:
        super().__init__(description)
        self._make = make
        self._is_own = is_own
        self._executor: Executor | None = None
        self._is_here = False
        self._shared = SharedWithExecutor()
        self._parcels: dict[int, _Parcel] = {}
        self._numbers = itertools.count()
        variables: dict[str, str] = node_config(description, self.name)["env"]
        self._around = Surroundings(self.name, description.threads_per_worker, variables)
        self.watch(self._lose_all_if_ended)

    def start(self) -> None:
        """Send a first call; the pilot is active once that has come back."""
        self._executor = self._made()
        try:
            first = self._executor.submit(greet)
        except Exception as error:
            raise PilotError(self._refused(error)) from error
        self.move(PilotState.STARTING, "waits for the first answer of its executor")
        first.add_done_callback(self._on_greeting)

    def _made(self) -> Executor:
        """Return the executor; what of a package is none is not for its user to mend."""
        where = f"pilot '{self.name}': resource '{self.description.resource}'"
        try:
            made = self._make(self.description)
        except UserError:
            raise
        except Exception as error:
            raise PilotError(f"{where} has made no executor of it: {words_of(error)}") from error
        if not all(callable(getattr(made, name, None)) for name in _NEEDED[: 1 + self._is_own]):
            raise PilotError(
                f"{where} has made {made!r:.80} of it, expected an object with the interface of "
                f"concurrent.futures.Executor; mend the package that declares it"
            )
        return made

    def share(self, key: str, pack: Callable[[], bytes]) -> None:
        """Have it travel with the next call to each process of the executor."""
        self._shared.share(key, pack)

    def unshare(self, key: str) -> None:
        """Have each process forget it at its next call."""
        self._shared.unshare(key)

    def launch(self, calls: Sequence[Call], report: Callable[[Report], None]) -> None:
        """Hand calls to the executor, as one."""
        number, parcel = next(self._numbers), _Parcel(calls, report)
        with self._lock:
            # Before the state is looked at: a pilot that ends in between reports it, then.
            self._parcels[number] = parcel
        if self.state is not PilotState.ACTIVE:
            self._report(number, Loss(self._why_gone(), preempted=True))
            return
        if self._is_here:
            around = self._around
            self._submit(number, parcel, run_here, calls, around.pilot, around.threads)
        else:
            parcel.blobs = [pack_call(call) for call in calls]
            self._submit(
                number, parcel, run_there, parcel.blobs, self._around, self._shared.state()
            )

    def _submit(self, number: int, parcel: _Parcel, fn: Callable[..., Any], *args: Any) -> None:
        assert self._executor is not None
        parcel.trips += 1
        try:
            # Without our lock: an executor that breaks calls us back under a lock of its own.
            future = self._executor.submit(fn, *args)
        except Exception as error:
            self._on_refusal(number, error)
            return
        parcel.future = future
        future.add_done_callback(partial(self._on_end, number, parcel))

    # -- called by the executor, on threads of its own --------------------------------------

    def _on_greeting(self, first: Future[Greeting]) -> None:
        try:
            greeting = first.result()
        except (CancelledError, Exception) as error:
            self.move(
                PilotState.FAILED,
                f"pilot '{self.name}': the first call of its executor came to nothing: "
                f"{words_of(error)}; let its workers import pilotcut, and {_NEXT}",
            )
            return
        different = differences(installed(), greeting.versions)
        if different and not self.description.allow_version_mismatch:
            self.move(
                PilotState.FAILED,
                f"pilot '{self.name}': at the workers of its executor {', '.join(different)}; "
                f"install the same versions there",
            )
            return
        self._is_here = greeting.process == own_process()
        if self.state is PilotState.STARTING:
            self.move(PilotState.ACTIVE)

    def _on_end(self, number: int, parcel: _Parcel, future: Future[Any]) -> None:
        try:
            answer: Behind | list[bytes] | list[Outcome] = future.result()
        except (CancelledError, Exception) as error:
            self._on_error(number, error)
            return
        if isinstance(answer, Behind):
            shared = self._shared.update(answer, whole=parcel.trips > 1)
            self._submit(number, parcel, run_there, parcel.blobs, self._around, shared)
            return
        outcomes = [unpack_outcome(a) if isinstance(a, bytes) else a for a in answer]
        self._report(number, outcomes)

    def _on_refusal(self, number: int, error: Exception) -> None:
        """End the pilot of an executor that is shut down, or else report a loss."""
        if isinstance(error, RuntimeError):  # which a broken one raises too
            self.move(PilotState.FAILED, self._refused(error))
        else:
            self._report(number, _lost(error))

    def _on_error(self, number: int, error: BaseException) -> None:
        """Report what the executor has lost; one that is broken ends the pilot."""
        if isinstance(error, CancelledError):
            self._report(number, Loss("the executor has canceled the call", preempted=True))
        elif isinstance(error, BrokenExecutor):
            self.move(PilotState.FAILED, self._refused(error))
        else:
            self._probe(number, error, _PROBES)

    def _probe(self, number: int, error: BaseException, probes: int) -> None:
        """Report a loss if the executor still runs calls; some are broken and do not say so."""

        def hear(future: Future[Greeting]) -> None:
            try:
                future.result()
            except (CancelledError, Exception) as reason:
                if probes > 1 and not isinstance(reason, BrokenExecutor):
                    self._probe(number, error, probes - 1)
                else:
                    self.move(PilotState.FAILED, self._refused(reason))
            else:
                self._report(number, _lost(error))

        assert self._executor is not None
        try:
            probe = self._executor.submit(greet)
        except Exception as reason:
            self.move(PilotState.FAILED, self._refused(reason))
        else:
            probe.add_done_callback(hear)

    def _refused(self, error: BaseException) -> str:
        why, hint = "takes no calls", ""
        if PilotState.ACTIVE in self.since and type(error) is not RuntimeError:
            why, hint = "is broken", "look for what has ended a process of it, and "
        words = words_of(error).rstrip(".")
        return f"pilot '{self.name}': its executor {why}: {words}; {hint}{_NEXT}"

    # -- the end ----------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the executor: calls that have not begun are canceled, others are lost.

        An executor that was made for this pilot is shut down, which waits for what runs in it.
        """
        was_active = PilotState.ACTIVE in self.since
        self.move(PilotState.DRAINING)
        with self._lock:
            futures = [parcel.future for parcel in self._parcels.values() if parcel.future]
        # One that cannot be canceled runs; on a thread of this process, with what is closed next.
        running = [future for future in futures if not _cancel(future)]
        if self._is_here:
            wait(running)
        executor, self._executor = self._executor, None
        if executor is not None and self._is_own:
            executor.shutdown(wait=True)
        self.move(PilotState.DONE if was_active else PilotState.CANCELED)

    def _report(self, number: int, report: Report) -> None:
        with self._lock:
            parcel = self._parcels.pop(number, None)
        if parcel is not None:  # otherwise the end of the pilot was quicker
            parcel.report(report)

    def _lose_all_if_ended(self, _: Pilot) -> None:
        if self.state.final:
            with self._lock:
                numbers = list(self._parcels)
            for number in numbers:
                self._report(number, Loss(self._why_gone(), preempted=True))

    def _why_gone(self) -> str:
        return self.reason or f"pilot '{self.name}' is {self.state.value}"


def _lost(error: BaseException) -> Loss:
    return Loss(f"the executor lost the call: {words_of(error)}".rstrip("."))


def _cancel(future: Future[Any]) -> bool:
    try:
        return future.cancel()
    except Exception:  # Parsl's: "Cancel not implemented"
        return False
