"""Execution: bundles become calls, which run here or as tasks, and their results tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pilotcut import backends
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import TaskError
from pilotcut.execution.batching import Request
from pilotcut.execution.devices import Assignment, DevicePilot, fleet_of, mode_of
from pilotcut.execution.reassignment import Whereabouts, device_ended
from pilotcut.execution.streaming import Busy, RowsReady, Spent, Stream, idle, unfinished
from pilotcut.execution.work_units import Call, CircuitCall, circuit_calls, exact_calls
from pilotcut.options import ERROR_TOLERANCE
from pilotcut.reconstruction.block_store import BlockStore, TornBlockError
from pilotcut.tasks import Shared, TaskFuture, TaskManager, as_completed

if TYPE_CHECKING:
    from pilotcut.backends.statevector import Linearised

#: How often a bundle is run again because its block in a store was torn.
MOST_TORN = 3

Measured = TypeVar("Measured")

_NOTHING = FragmentTensor(np.empty(0), ())


class Executor:
    """Evaluates fragments through a task manager, or in this process without one.

    Parameters
    ----------
    tasks
        The task manager, or None.
    backend
        Name of the backend that workers use, where pilots have no devices of their own.
    error_tolerance
        See `pilotcut.execution.device_assignment.bind`.
    """

    def __init__(
        self,
        tasks: TaskManager | None,
        backend: str,
        error_tolerance: float = ERROR_TOLERANCE,
    ) -> None:
        self._tasks = tasks
        self._backend = backends.check_backend(backend)
        self._tolerance = error_tolerance
        self._shared: dict[str, Shared] = {}

    @property
    def workers(self) -> int:
        """Number of slots that bundles can run on."""
        return self._tasks.slots if self._tasks else 1

    @property
    def policy(self) -> str:
        """Name of the dispatch policy."""
        return self._tasks.policy if self._tasks else "in-process"

    def assign(self, requests: Sequence[Request]) -> Assignment | None:
        """Return the devices that the parts of requests are bound to, None without devices.

        Raises
        ------
        UserError
            If no device can run a fragment, or the pilots' kinds do not go together.
        """
        return Assignment.of(requests, fleet_of(self._tasks, self._mode), self._tolerance)

    def evaluate(
        self,
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        ready: RowsReady | None = None,
        store: BlockStore | None = None,
        assignment: Assignment | None = None,
    ) -> tuple[list[FragmentTensor], Spent]:
        """Return the tensors of all requests, and where the time went.

        Parameters
        ----------
        requests
            What to evaluate; with `ready` all of the same rows.
        seed
            The same seed gives the same numbers on any worker.
        ready
            Called for chunks of rows as soon as they are complete.
        store
            Where workers put what they measure; what is there already is not run again.
        assignment
            What `assign` returned, if somebody has asked already.
        """
        started = perf_counter()
        tensors = [FragmentTensor.empty(r.fragment, len(r.angles)) for r in requests]
        where = self._where(requests, self._mode, assignment)
        calls = circuit_calls(requests, seed, self._backend, where.assignment)
        stream = Stream([call.rows for call in calls], len(requests[0].angles), tensors, ready)
        spent = Spent(generate_s=perf_counter() - started, bundles=len(calls))
        stream.begin()
        for call, measured, busy in self._run(calls, store, where):
            filling = perf_counter()
            for block in measured.blocks:
                tensors[call.request].fill(requests[call.request].fragment, call.rows, block)
            stream.filled(perf_counter() - filling, busy)
            stream.done(call.rows, busy)
            spent.run_s += measured.run_s
            spent.reduce_s += measured.reduce_s
        stream.account(spent, perf_counter() - started)
        if where.assignment is not None:
            spent.devices = [asdict(share) for share in where.assignment.binding.shares]
            spent.moved = where.moved
        return tensors, spent

    @property
    def _mode(self) -> str:
        """What circuits with shots are run in."""
        return mode_of(self._backend)

    def _where(
        self, requests: Sequence[Request], mode: str, assignment: Assignment | None = None
    ) -> Whereabouts:
        return Whereabouts.of(requests, self._tasks, mode, self._tolerance, assignment)

    def linearised(self, requests: Sequence[Request]) -> tuple[list[Linearised], Spent] | None:
        """Return exact tensors with what their derivatives need, if this process can keep that."""
        engine = backends.statevector_engine()
        if self._tasks is not None or any(
            len(r.angles) > engine.rows_at_once(r.fragment) for r in requests
        ):
            return None
        started = perf_counter()
        kept = [engine.linearised(r.fragment, r.angles) for r in requests]
        seconds = perf_counter() - started
        return kept, Spent(execute_s=seconds, run_s=seconds, bundles=len(kept))

    def exact(
        self,
        requests: Sequence[Request],
        ready: RowsReady | None = None,
        store: BlockStore | None = None,
    ) -> tuple[list[FragmentTensor], Spent]:
        """Return the exact tensors of all requests in the coherent basis; see `evaluate`."""
        return self._exact(requests, exact_calls(requests), ready, store)

    def pull_back(
        self, requests: Sequence[Request], cotangents: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], Spent]:
        """Return d outputs / d angles of each request, (rows, outputs, angles).

        `cotangents` are (rows, outputs, observables, variants) for each request.
        """
        tensors, spent = self._exact(requests, exact_calls(requests, cotangents))
        return [tensor.values for tensor in tensors], spent

    def each(
        self, fn: Callable[[Any, Any], Measured], common: Any, key: str, items: Sequence[Any]
    ) -> tuple[list[Measured], Spent]:
        """Return ``fn(common, item)`` of all items, run where exact calls run.

        `common` travels once to each worker; `key` is its identity.
        """
        started = perf_counter()
        if self._tasks is None:
            found = [fn(common, item) for item in items]
        else:
            pilots = fleet_of(self._tasks, "exact").ideal
            handle = self._tasks.share(common, key=key)
            futures = [
                self._tasks.submit_task(run_shared, fn, handle, item, pilot=pilots)
                for item in items
            ]
            found = [future.result() for future in futures]
        seconds = perf_counter() - started
        return found, Spent(execute_s=seconds, run_s=seconds, bundles=len(items))

    def _exact(
        self,
        requests: Sequence[Request],
        calls: Sequence[Call],
        ready: RowsReady | None = None,
        store: BlockStore | None = None,
    ) -> tuple[list[FragmentTensor], Spent]:
        started = perf_counter()
        tensors = [_NOTHING] * len(requests)
        stream = Stream([call.rows for call in calls], len(requests[0].angles), tensors, ready)
        spent = Spent(bundles=len(calls))
        where = self._where(requests, "exact")
        for call, found, busy in self._run(calls, store, where):
            filling = perf_counter()
            if tensors[call.request] is _NOTHING:  # its shape is the engine's affair
                values = np.empty(
                    (len(requests[call.request].angles), *found.shape[1:]), found.dtype
                )
                tensors[call.request] = FragmentTensor(values, ())
            tensors[call.request].values[call.rows] = found
            stream.filled(perf_counter() - filling, busy)
            stream.done(call.rows, busy)
        stream.account(spent, perf_counter() - started)
        spent.run_s = spent.execute_s
        return tensors, spent

    def _run(
        self,
        calls: Sequence[Call],
        store: BlockStore | None,
        where: Whereabouts,
    ) -> Iterator[tuple[Call, Any, Busy]]:
        """Yield every call with its result, in any order, and what tells if others still run."""
        fragments = [request.fragment for request in where.requests]
        if self._tasks is None:
            for call in calls:
                yield call, _run_here(call, fragments[call.request], store), idle
            return
        stored = {call: _stored(call, fragments[call.request], store) for call in calls}
        missing = [call for call in calls if stored[call] is None]
        futures = self._submit_all(missing, fragments, store, where)
        for call, found in stored.items():
            if found is not None:
                yield call, found, unfinished(futures)
        rounds = 0
        while futures:
            torn: list[Call] = []
            lost: list[Call] = []
            for future in as_completed(futures):
                call = futures[future]
                if _device_of(call) is not None and device_ended(future):
                    lost.append(call)
                    continue
                found = future.result()
                if store is not None:
                    found = _stored(call, fragments[call.request], store, found)
                if found is None:
                    torn.append(call)
                else:
                    yield call, found, unfinished(futures)
            rounds += bool(torn)
            if rounds == MOST_TORN:
                assert store is not None
                raise TaskError(
                    f"block {torn[0].block} was torn all {MOST_TORN} times that a worker wrote it "
                    f"to {store.directory}; expected a file system that workers and this process "
                    f"share, with space left"
                )
            again = [*torn, *_elsewhere(lost, where)]
            futures = self._submit_all(again, fragments, store, where)

    def _submit_all(
        self,
        calls: Sequence[Call],
        fragments: Sequence[Fragment],
        store: BlockStore | None,
        where: Whereabouts,
    ) -> Mapping[TaskFuture, Call]:
        return {
            self._submit(call, fragments[call.request], store, where.pilot(_device_of(call))): call
            for call in calls
        }

    def _submit(
        self,
        call: Call,
        fragment: Fragment,
        store: BlockStore | None,
        pilot: str | tuple[str, ...] | None,
    ) -> TaskFuture:
        assert self._tasks is not None
        return self._tasks.submit_task(
            run_call,
            self._share(fragment),
            fragment.listed,
            call,
            store,
            name=f"{fragment.label}.{call.number}",
            cost_s=call.cost_s,
            pilot=pilot,
        )

    def _share(self, fragment: Fragment) -> Shared:
        assert self._tasks is not None
        key = fragment.fingerprint
        if key not in self._shared:
            self._shared[key] = self._tasks.share(fragment.listing(None), key=key)
        return self._shared[key]


def _device_of(call: Call) -> DevicePilot | None:
    return call.device if isinstance(call, CircuitCall) else None


def _elsewhere(lost: Sequence[Call], where: Whereabouts) -> list[Call]:
    """Return calls whose devices have ended, bound to others."""
    calls = {(c.request, c.number): c for c in lost if isinstance(c, CircuitCall)}
    if not calls:
        return []
    now = where.elsewhere({p: c.device for p, c in calls.items() if c.device is not None})
    return [replace(calls[place], device=device) for place, device in now.items()]


def run_call(
    fragment: Shared, listed: np.ndarray | None, call: Call, store: BlockStore | None
) -> Any:
    """Run a call on a worker; what goes into a store does not travel back."""
    whole: Fragment = fragment.get()
    some = whole if listed is None else whole.listing(listed)
    found = call.run(some)
    return found if store is None else _write(call, store, some, found)


def run_shared(fn: Callable[[Any, Any], Any], common: Shared, item: Any) -> Any:
    """Run a function of something shared on a worker."""
    return fn(common.get(), item)


def _run_here(call: Call, fragment: Fragment, store: BlockStore | None) -> Any:
    found = _stored(call, fragment, store)
    if found is None:
        found = call.run(fragment)
        if store is not None:
            _write(call, store, fragment, found)
    return found


def _write(call: Call, store: BlockStore, fragment: Fragment, found: Any) -> Any:
    try:
        return call.write(store, fragment, found)
    except OSError as error:
        raise store.unwritten(call.block, error) from error


def _stored(call: Call, fragment: Fragment, store: BlockStore | None, told: Any = None) -> Any:
    """Return what a store holds of a call, None if it holds nothing that is whole."""
    if store is None:
        return None
    try:
        return call.read(store, fragment, told)
    except TornBlockError:
        return None
