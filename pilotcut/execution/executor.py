"""Execution: work units run here or as tasks, and their results become tensors.

Owns submission, results that are torn in a store, and devices that end meanwhile. Refuses to know
plans, observables and what the tensors are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pilotcut import backends
from pilotcut.backends.base import Measurement
from pilotcut.backends.job_usage import NOTHING as NO_USAGE
from pilotcut.backends.job_usage import Usage
from pilotcut.backends.outcomes import StateOutcomes, Tally
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import TaskError
from pilotcut.execution.batching import circuit_units, exact_units
from pilotcut.execution.devices import fleet_of, mode_of
from pilotcut.execution.mitigating import BatchMitigation, Mitigating
from pilotcut.execution.progress import shown
from pilotcut.execution.reassignment import DeviceAssigner, device_ended, ending, queue_left
from pilotcut.execution.running import run_here, run_shared, run_unit, stored_result
from pilotcut.execution.streaming import (
    BatchTimes,
    Busy,
    RowsReady,
    complete_chunks,
    idle,
    unfinished,
)
from pilotcut.execution.usage import UsageBudget, usage_of
from pilotcut.execution.work_units import CircuitUnit, OutcomeUnit, Request, WorkUnit
from pilotcut.options import ERROR_TOLERANCE, USUAL_ENGINE, EngineOptions
from pilotcut.pilots.description.mitigation import Mitigation
from pilotcut.reconstruction.block_store import BlockStore
from pilotcut.tasks import Shared, TaskFuture, TaskManager, as_completed

if TYPE_CHECKING:
    from pilotcut.backends.statevector import Linearised

#: How often a unit is run again because its block in a store was torn.
MOST_TORN = 3

Measured = TypeVar("Measured")

#: Takes the units of a batch before any runs, and returns where their results are kept.
Keep = Callable[[Sequence[WorkUnit]], BlockStore | None]

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
        See `pilotcut.execution.device_assignment.assign`.
    engine
        How the exact mode computes.
    budget
        What may be used of devices; None for anything.
    mitigation
        What is done about the errors of devices in `evaluate`.
    """

    def __init__(
        self,
        tasks: TaskManager | None,
        backend: str,
        error_tolerance: float = ERROR_TOLERANCE,
        engine: EngineOptions = USUAL_ENGINE,
        budget: UsageBudget | None = None,
        mitigation: Mitigation | None = None,
    ) -> None:
        self.budget = budget
        self.tasks, self.engine = tasks, engine
        self._mitigating = Mitigating(mitigation)
        self._backend = backends.check_backend(backend)
        self._tolerance = error_tolerance
        self._shared: dict[str, Shared] = {}

    @property
    def workers(self) -> int:
        """Number of slots that units can run on."""
        return self.tasks.slots if self.tasks else 1

    @property
    def policy(self) -> str:
        """Name of the dispatch policy."""
        return self.tasks.policy if self.tasks else "in-process"

    # -- what a batch may ask for --------------------------------------------------------

    def evaluate(
        self,
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        ready: RowsReady | None = None,
        keep: Keep | None = None,
    ) -> tuple[list[FragmentTensor], BatchTimes]:
        """Return the tensors of all requests, and where the time went.

        Parameters
        ----------
        requests
            What to evaluate; with `ready` all of the same rows.
        seed
            The same seed gives the same numbers on any worker.
        ready
            Called for chunks of rows as soon as they are complete.
        keep
            Says where workers put what they measure; what is there already is not run again.

        Raises
        ------
        UserError
            If no device can run a fragment, or the pilots' kinds do not go together.
        """
        started = perf_counter()
        rows = len(requests[0].angles)
        tensors = [FragmentTensor.empty(r.fragment, len(r.angles)) for r in requests]
        assigner = self._assigner(requests, mode_of(self._backend))
        with ending(assigner):
            mitigation = self._mitigation(requests, seed, assigner)
            units = self._circuit_units(requests, seed, assigner)
            if self.budget is not None:
                self.budget.require(units, requests)
            times = BatchTimes(generate_s=perf_counter() - started, units=len(units))
            store = None if keep is None else keep(units)
            if keep is not None and store is not None and assigner is not None:
                before = assigner.as_before(units, store)
                if any(old is not new for old, new in zip(units, before, strict=True)):
                    units, store = before, keep(before)

            def fill(unit: WorkUnit, measured: Measurement) -> None:
                for block in measured.blocks:
                    tensors[unit.request].fill(requests[unit.request].fragment, unit.rows, block)
                times.run_s += measured.run_s
                times.reduce_s += measured.reduce_s
                times.usage += usage_of(unit, requests[unit.request], measured)

            results = self._run(units, requests, assigner, store)
            self._fill(tensors, fill, results, units, rows, ready, times)
            if assigner is not None:
                times.devices = [asdict(share) for share in assigner.shares]
                times.moved, times.queues = assigner.moved, assigner.queues.in_record()
                if mitigation is not None:
                    times.mitigation = mitigation.records
                    times.usage += mitigation.usage
                if keep is not None and times.moved:  # where each has run is part of its key
                    keep([assigner.units[unit.index] for unit in units])
            return tensors, times

    def exact(
        self,
        requests: Sequence[Request],
        ready: RowsReady | None = None,
        keep: Keep | None = None,
    ) -> tuple[list[FragmentTensor], BatchTimes]:
        """Return the exact tensors of all requests in the coherent basis; see `evaluate`."""
        units = exact_units(requests, engine=self.engine)
        return self._exact(requests, units, ready, None if keep is None else keep(units))

    def pull_back(
        self,
        requests: Sequence[Request],
        cotangents: Sequence[np.ndarray],
        wanted: Sequence[np.ndarray] | None = None,
    ) -> tuple[list[np.ndarray], BatchTimes]:
        """Return d outputs / d angles of each request, (rows, outputs, angles).

        `cotangents` are (rows, outputs, observables, variants) for each request, and `wanted` its
        angles whose derivatives are needed, boolean (angles,).
        """
        units = exact_units(requests, cotangents, wanted, engine=self.engine)
        tensors, times = self._exact(requests, units)
        return [tensor.values for tensor in tensors], times

    def linearised(self, requests: Sequence[Request]) -> tuple[list[Linearised], BatchTimes] | None:
        """Return exact tensors with what their derivatives need, if this process can keep that."""
        engine = backends.exact_engine(self.engine)
        if self.tasks is not None or any(
            len(r.angles) > engine.rows_at_once(r.fragment) for r in requests
        ):
            return None
        started = perf_counter()
        kept = [engine.linearised(r.fragment, r.angles) for r in requests]
        return kept, BatchTimes.since(started, len(kept))

    def tallies(
        self, requests: Sequence[Request], seed: np.random.SeedSequence
    ) -> tuple[list[list[Tally]], Usage]:
        """Return what the shots of each request's parts ended in, parts in order, and the usage.

        Parameters
        ----------
        requests
            Of one row each.
        seed
            The same seed gives the same numbers on any worker.
        """
        assigner = self._assigner(requests, mode_of(self._backend))
        with ending(assigner):
            units = self._circuit_units(requests, seed, assigner, OutcomeUnit)
            if self.budget is not None:
                self.budget.require(units, requests)
            usage, found = NO_USAGE, {}
            for unit, tally, _ in self._run(units, requests, assigner):
                found[unit.index] = tally
                usage += usage_of(unit, requests[unit.request], tally)
        by_request: list[list[Tally]] = [[] for _ in requests]
        # As units are numbered and not as tasks end, on which no number may depend.
        for index in sorted(found):
            by_request[index[0]].append(found[index])
        return by_request, usage

    def states(self, requests: Sequence[Request]) -> list[list[StateOutcomes]]:
        """Return the final states of each request, of one row each: one a group of wires."""
        assigner = self._assigner(requests, "exact")
        units = exact_units(requests, outcomes=True)
        found = {unit.request: states for unit, states, _ in self._run(units, requests, assigner)}
        return [found[index] for index in range(len(requests))]

    def each(
        self, fn: Callable[[Any, Any], Measured], common: Any, key: str, items: Sequence[Any]
    ) -> tuple[list[Measured], BatchTimes]:
        """Return ``fn(common, item)`` of all items, run where exact units run.

        `common` travels once to each worker; `key` is its identity.
        """
        started = perf_counter()
        if self.tasks is None:
            found = [fn(common, item) for item in items]
        else:
            pilots = fleet_of(self.tasks, "exact").ideal
            handle = self.tasks.share(common, key=key)
            futures = [
                self.tasks.submit_task(run_shared, fn, handle, item, pilot=pilots) for item in items
            ]
            found = [future.result() for future in futures]
        return found, BatchTimes.since(started, len(items))

    # -- how ------------------------------------------------------------------------------

    def _assigner(self, requests: Sequence[Request], mode: str) -> DeviceAssigner | None:
        """Return what says where units run; None in this process, which has no devices."""
        if self.tasks is None:
            return None
        return DeviceAssigner(requests, self.tasks, mode, self._tolerance)

    def _mitigation(
        self,
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        assigner: DeviceAssigner | None,
    ) -> BatchMitigation | None:
        """Have units corrected as they are bound to devices; return what takes note of it."""
        if self.tasks is None or assigner is None:
            return None
        whole = (self._mitigating, requests, seed, assigner, self.tasks, self._share, self.budget)
        assigner.finish = found = BatchMitigation(*whole)
        return found

    def _circuit_units(
        self,
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        assigner: DeviceAssigner | None,
        kind: type[CircuitUnit] = CircuitUnit,
    ) -> list[CircuitUnit]:
        most = None if assigner is None else assigner.most_circuits
        units = circuit_units(requests, seed, self._backend, most, kind)
        return units if assigner is None else assigner.bind(units)

    def _exact(
        self,
        requests: Sequence[Request],
        units: Sequence[WorkUnit],
        ready: RowsReady | None = None,
        store: BlockStore | None = None,
    ) -> tuple[list[FragmentTensor], BatchTimes]:
        tensors = [_NOTHING] * len(requests)
        rows = len(requests[0].angles)
        times = BatchTimes(units=len(units))

        def fill(unit: WorkUnit, found: np.ndarray) -> None:
            # The shape is the engine's affair: values, or derivatives with an axis of angles.
            if tensors[unit.request] is _NOTHING:
                shape = (len(requests[unit.request].angles), *found.shape[1:])
                tensors[unit.request] = FragmentTensor(np.empty(shape, found.dtype), ())
            tensors[unit.request].values[unit.rows] = found

        results = self._run(units, requests, self._assigner(requests, "exact"), store)
        self._fill(tensors, fill, results, units, rows, ready, times)
        times.run_s = times.execute_s
        return tensors, times

    @staticmethod
    def _fill(
        tensors: Sequence[FragmentTensor],
        fill: Callable[[WorkUnit, Any], None],
        results: Iterator[tuple[WorkUnit, Any, Busy]],
        units: Sequence[WorkUnit],
        rows: int,
        ready: RowsReady | None,
        times: BatchTimes,
    ) -> None:
        """Fill tensors with the results of units, hand complete rows on, and take the time."""

        def filled() -> Iterator[tuple[slice, Busy]]:
            for unit, found, busy in results:
                filling = perf_counter()
                fill(unit, found)
                times.filled(perf_counter() - filling, busy)
                yield unit.rows, busy

        started = perf_counter()
        for chunk, busy in complete_chunks([unit.rows for unit in units], rows, filled()):
            if ready is not None:
                contracting = perf_counter()
                ready(chunk, tensors)
                times.streamed(perf_counter() - contracting, busy)
        # Workers ran for what is left of it.
        times.execute_s = perf_counter() - started - times.fill_s - times.stream_s

    def _run(
        self,
        units: Sequence[WorkUnit],
        requests: Sequence[Request],
        assigner: DeviceAssigner | None,
        store: BlockStore | None = None,
    ) -> Iterator[tuple[WorkUnit, Any, Busy]]:
        """Yield every unit with its result, in any order, and what tells if others still run."""
        return shown(self._results(units, requests, assigner, store), len(units))

    def _results(
        self,
        units: Sequence[WorkUnit],
        requests: Sequence[Request],
        assigner: DeviceAssigner | None,
        store: BlockStore | None,
    ) -> Iterator[tuple[WorkUnit, Any, Busy]]:
        fragments = [request.fragment for request in requests]
        if assigner is None:
            for unit in units:
                yield unit, run_here(unit, fragments[unit.request], store), idle
            return
        # What a run that was killed has left in the store is not run again.
        stored = {unit: stored_result(unit, fragments[unit.request], store) for unit in units}
        missing = [unit for unit in units if stored[unit] is None]
        futures = self._submit_all(missing, fragments, store, assigner)
        for unit, found in stored.items():
            if found is not None:
                yield unit, found, unfinished(futures)
        rounds = 0
        while futures:
            torn: list[WorkUnit] = []
            lost: list[CircuitUnit] = []
            waited: dict[CircuitUnit, str] = {}
            for future in as_completed(futures):
                unit = futures[future]
                if isinstance(unit, CircuitUnit) and device_ended(unit, future):
                    lost.append(unit)
                    continue
                if isinstance(unit, CircuitUnit) and (reason := queue_left(future)):
                    waited[unit] = reason
                    continue
                found = future.result()
                if store is not None:
                    found = stored_result(unit, fragments[unit.request], store, found)
                if found is None:
                    torn.append(unit)
                else:
                    yield unit, found, unfinished(futures)
            rounds += bool(torn)
            if rounds == MOST_TORN:
                assert store is not None
                raise TaskError(
                    f"block {torn[0].block} was torn all {MOST_TORN} times that a worker wrote it "
                    f"to {store.directory}; expected a file system that workers and this process "
                    f"share, with space left"
                )
            again = [*torn, *assigner.rebind(lost), *assigner.elsewhere(waited)]
            futures = self._submit_all(again, fragments, store, assigner)

    def _submit_all(
        self,
        units: Sequence[WorkUnit],
        fragments: Sequence[Fragment],
        store: BlockStore | None,
        assigner: DeviceAssigner,
    ) -> Mapping[TaskFuture, WorkUnit]:
        return {
            self._submit(
                unit,
                fragments[unit.request],
                store,
                assigner.pilot(unit),
                assigner.query_of(unit),
            ): unit
            for unit in units
        }

    def _submit(
        self,
        unit: WorkUnit,
        fragment: Fragment,
        store: BlockStore | None,
        pilot: str | tuple[str, ...] | None,
        query: str,
    ) -> TaskFuture:
        assert self.tasks is not None
        return self.tasks.submit_task(
            run_unit,
            self._share(fragment),
            fragment.listed,
            unit,
            store,
            query,
            # GROUP.NUMBER, for policies that keep the units of a fragment together.
            name=f"{fragment.label}.{unit.number}",
            cost_s=unit.cost_s,
            pilot=pilot,
            # What a device runs is paid each time.
            duplicated=unit.device is None or not unit.device.runs_itself,
        )

    def _share(self, fragment: Fragment) -> Shared:
        # Samples of terms list other variants of a fragment for every row: what travels once is
        # the fragment that lists all, and the list goes with each unit.
        assert self.tasks is not None
        key = fragment.fingerprint
        if key not in self._shared:
            self._shared[key] = self.tasks.share(fragment.listing(None), key=key)
        return self._shared[key]
