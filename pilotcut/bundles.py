"""Bundles: the subexperiments of a batch, cut into tasks that are worth dispatching.

A bundle is some parameter sets of one fragment with some of its subexperiments, about
`TARGET_S` of work. How a batch is split depends on the plan and the shots alone, never
on the workers, and every bundle's seed derives from (query, fragment, bundle): results
are the same on one worker or sixteen, under any policy, and with workers dying in
between. A task carries arrays and returns the reduced tensor block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from pilotcut import backends
from pilotcut.backends.base import Measurement, Shots
from pilotcut.cutting.fragment import Fragment, FragmentTensor, SiteStep
from pilotcut.streaming import Busy, RowsReady, Spent, Stream, idle, unfinished
from pilotcut.tasks import Shared, TaskFuture, TaskManager, as_completed

if TYPE_CHECKING:
    from pilotcut.backends.branch import Linearised

#: Work of one bundle in predicted seconds. Small enough to keep many workers busy, large
#: enough that dispatching it (about 1 ms) does not matter.
TARGET_S = 0.08

# Measured on one core of a two-core machine with Aer 0.18: floor of a circuit, of a shot
# and its bits, and of a gate on one amplitude. Only the sizes of bundles depend on them.
_CIRCUIT_S, _SHOT_S, _SHOT_BIT_S, _GATE_AMPLITUDE_S = 3e-4, 5e-7, 1.5e-7, 2e-9

_EXACT_AMPLITUDE_S = 2e-9

# Small subexperiments share circuits up to this width (see `pilotcut.backends.aer`).
_SHARED_WIDTH = 8


@dataclass(frozen=True)
class Bundle:
    """Some rows of a batch, and some subexperiments of one fragment."""

    fragment: int
    number: int
    rows: slice
    part: slice

    def shots(self, request: Request) -> Shots:
        """Return the bundle's share of its request's shots."""
        if isinstance(request.shots, np.ndarray):
            return request.shots[self.rows, self.part]
        return request.shots

    def predicted_s(self, request: Request) -> float:
        """Return the rough cost in seconds."""
        shots = self.shots(request)
        count = (self.rows.stop - self.rows.start) * (self.part.stop - self.part.start)
        if isinstance(shots, np.ndarray):
            count = int(np.count_nonzero(shots))
            mean = float(shots.sum()) / max(count, 1)
        else:
            mean = float(shots)
        return count * predicted_s(request.fragment, mean)


@dataclass(frozen=True)
class Request:
    """Evaluate one fragment on a batch of angles.

    Parameters
    ----------
    fragment
        The fragment.
    angles
        (rows, angles) in radians.
    shots
        Of every subexperiment, or (rows, subexperiments); 0 in exact mode.
    """

    fragment: Fragment
    angles: np.ndarray
    shots: Shots = 0

    @property
    def subexperiments(self) -> int:
        """Number of circuits with shots."""
        if isinstance(self.shots, np.ndarray):
            return int(np.count_nonzero(self.shots))
        return len(self.angles) * self.fragment.num_subexperiments

    @property
    def total_shots(self) -> int:
        """Shots of all circuits together."""
        if isinstance(self.shots, np.ndarray):
            return int(self.shots.sum())
        return self.shots * self.subexperiments


_NOTHING = FragmentTensor(np.empty(0), ())


class Executor:
    """Evaluates fragments through a task manager, or in this process without one.

    Parameters
    ----------
    tasks
        The task manager, or None.
    backend
        Name of the backend that workers use.
    """

    def __init__(self, tasks: TaskManager | None, backend: str) -> None:
        self._tasks = tasks
        self._backend = backends.check_backend(backend)
        self._shared: dict[str, Shared] = {}

    @property
    def workers(self) -> int:
        """Number of slots that bundles can run on."""
        return self._tasks.slots if self._tasks else 1

    @property
    def policy(self) -> str:
        """Name of the dispatch policy."""
        return self._tasks.policy if self._tasks else "in-process"

    def evaluate(
        self,
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        ready: RowsReady | None = None,
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
        """
        started = perf_counter()
        tensors = [FragmentTensor.empty(r.fragment, len(r.angles)) for r in requests]
        bundles = [b for k, r in enumerate(requests) for b in split(k, r)]
        bundles.sort(key=lambda bundle: bundle.rows.start)  # so that rows are complete early
        calls = [(b, _seed_of(seed, b), requests[b.fragment]) for b in bundles]
        stream = Stream([b.rows for b in bundles], len(requests[0].angles), tensors, ready)
        spent = Spent(generate_s=perf_counter() - started, bundles=len(bundles))
        stream.begin()
        for bundle, measured, busy in self._run(calls):
            filling = perf_counter()
            for block in measured.blocks:
                tensors[bundle.fragment].fill(
                    requests[bundle.fragment].fragment, bundle.rows, block
                )
            stream.filled(perf_counter() - filling, busy)
            stream.done(bundle.rows, busy)
            spent.run_s += measured.run_s
            spent.reduce_s += measured.reduce_s
        stream.account(spent, perf_counter() - started)
        return tensors, spent

    def linearised(self, requests: Sequence[Request]) -> tuple[list[Linearised], Spent] | None:
        """Return exact tensors with what their derivatives need, if this process can keep that."""
        engine = backends.branch_engine()
        if self._tasks is not None or any(
            len(r.angles) > engine.rows_at_once(r.fragment) for r in requests
        ):
            return None
        started = perf_counter()
        kept = [engine.linearised(r.fragment, r.angles) for r in requests]
        seconds = perf_counter() - started
        return kept, Spent(execute_s=seconds, run_s=seconds, bundles=len(kept))

    def exact(
        self, requests: Sequence[Request], ready: RowsReady | None = None
    ) -> tuple[list[FragmentTensor], Spent]:
        """Return the exact tensors of all requests in the coherent basis; see `evaluate`."""
        return self._exact([(r.fragment, r.angles, None) for r in requests], ready)

    def pull_back(
        self, requests: Sequence[Request], cotangents: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], Spent]:
        """Return d outputs / d angles of each request, (rows, outputs, angles).

        `cotangents` are (rows, outputs, observables, variants) for each request.
        """
        calls = [(r.fragment, r.angles, c) for r, c in zip(requests, cotangents, strict=True)]
        tensors, spent = self._exact(calls)
        return [tensor.values for tensor in tensors], spent

    def _exact(
        self,
        calls: Sequence[tuple[Fragment, np.ndarray, np.ndarray | None]],
        ready: RowsReady | None = None,
    ) -> tuple[list[FragmentTensor], Spent]:
        started = perf_counter()
        pieces = [
            (number, rows)
            for number, (fragment, angles, _) in enumerate(calls)
            for rows in _row_bundles(fragment, len(angles))
        ]
        pieces.sort(key=lambda piece: piece[1].start)
        tensors: list[FragmentTensor] = [_NOTHING] * len(calls)
        stream = Stream([rows for _, rows in pieces], len(calls[0][1]), tensors, ready)
        spent = Spent(bundles=len(pieces))
        for number, rows, found, busy in self._run_exact(calls, pieces):
            filling = perf_counter()
            if tensors[number] is _NOTHING:  # its shape is the engine's affair
                shape = (len(calls[number][1]), *found.shape[1:])
                tensors[number] = FragmentTensor(np.empty(shape, found.dtype), ())
            tensors[number].values[rows] = found
            stream.filled(perf_counter() - filling, busy)
            stream.done(rows, busy)
        stream.account(spent, perf_counter() - started)
        spent.run_s = spent.execute_s
        return tensors, spent

    def _run_exact(
        self,
        calls: Sequence[tuple[Fragment, np.ndarray, np.ndarray | None]],
        pieces: Sequence[tuple[int, slice]],
    ) -> Iterator[tuple[int, slice, np.ndarray, Busy]]:
        futures: dict[TaskFuture, tuple[int, slice]] = {}
        for number, rows in pieces:
            fragment, angles, cotangent = calls[number]
            part = None if cotangent is None else cotangent[rows]
            if self._tasks is None:
                yield number, rows, _run_exact(fragment, angles[rows], part), idle
                continue
            future = self._tasks.submit_task(
                run_exact,
                self._share(fragment),
                angles[rows],
                part,
                name=f"{fragment.label}.{len(futures)}",
                cost_s=(rows.stop - rows.start) * _exact_row_s(fragment),
            )
            futures[future] = (number, rows)
        for future in as_completed(futures):
            yield *futures[future], future.result(), unfinished(futures)

    def _run(
        self, calls: Iterable[tuple[Bundle, int, Request]]
    ) -> Iterator[tuple[Bundle, Measurement, Busy]]:
        if self._tasks is None:
            for bundle, seed, request in calls:
                angles = request.angles[bundle.rows]
                yield (
                    bundle,
                    backends.backend(self._backend).run(
                        request.fragment, angles, bundle.part, bundle.shots(request), seed
                    ),
                    idle,
                )
            return
        futures = {
            self._tasks.submit_task(
                run_bundle,
                self._share(request.fragment),
                request.fragment.listed,
                self._backend,
                request.angles[bundle.rows],
                bundle.part,
                bundle.shots(request),
                seed,
                name=f"{request.fragment.label}.{bundle.number}",
                cost_s=bundle.predicted_s(request),
            ): bundle
            for bundle, seed, request in calls
        }
        for future in as_completed(futures):
            yield futures[future], future.result(), unfinished(futures)

    def _share(self, fragment: Fragment) -> Shared:
        assert self._tasks is not None
        key = fragment.fingerprint
        if key not in self._shared:
            self._shared[key] = self._tasks.share(fragment.listing(None), key=key)
        return self._shared[key]


def run_bundle(
    fragment: Shared,
    listed: np.ndarray | None,
    backend: str,
    angles: np.ndarray,
    part: slice,
    shots: Shots,
    seed: int,
) -> Measurement:
    """Run one bundle on a worker."""
    whole: Fragment = fragment.get()
    some = whole if listed is None else whole.listing(listed)
    return backends.backend(backend).run(some, angles, part, shots, seed)


def run_exact(fragment: Shared, angles: np.ndarray, cotangent: np.ndarray | None) -> np.ndarray:
    """Run one bundle of the exact engine on a worker."""
    return _run_exact(fragment.get(), angles, cotangent)


def _run_exact(fragment: Fragment, angles: np.ndarray, cotangent: np.ndarray | None) -> np.ndarray:
    engine = backends.branch_engine()
    if cotangent is None:
        return engine.values(fragment, angles)
    return engine.pull_back(fragment, angles, cotangent)


def _row_bundles(fragment: Fragment, rows: int) -> list[slice]:
    """Return the rows of each bundle of the exact engine."""
    most = max(1, int(min(TARGET_S / _exact_row_s(fragment), rows)))
    return [slice(first, last) for first, last in _even(rows, most)]


def _exact_row_s(fragment: Fragment) -> float:
    """Return the rough cost of one parameter set in the exact engine, in seconds."""
    branches = prod(site.rank for site in fragment.sites)
    amplitudes = branches * 2.0 ** min(fragment.width, 60)
    return len(fragment.steps) * amplitudes * _EXACT_AMPLITUDE_S


def split(index: int, request: Request) -> Iterator[Bundle]:
    """Yield the bundles of one request, each about `TARGET_S` of work."""
    circuits = request.fragment.num_subexperiments
    rows = len(request.angles)
    run = request.subexperiments
    if not run:
        return
    shots = request.total_shots / run
    # Of a batch's grid of parameter sets and subexperiments only those with shots take time.
    cell_s = predicted_s(request.fragment, shots) * run / (rows * circuits)
    most = max(1, round(TARGET_S / cell_s))
    # Even pieces: a small last bundle would only wait for its dispatch.
    row_blocks = _even(rows, max(1, most // circuits))
    part_blocks = _even(circuits, most)
    number = 0
    for first_row, last_row in row_blocks:
        for first, last in part_blocks:
            yield Bundle(index, number, slice(first_row, last_row), slice(first, last))
            number += 1


def _even(size: int, most: int) -> list[tuple[int, int]]:
    pieces = ceil(size / most)
    edges = [size * k // pieces for k in range(pieces + 1)]
    return list(pairwise(edges))


def predicted_s(fragment: Fragment, shots: float) -> float:
    """Return the rough cost of one of the fragment's subexperiments, in seconds."""
    gates = sum(not isinstance(step, SiteStep) for step in fragment.steps)
    width = fragment.width + len(fragment.sites) / 2  # with the ancillas of half the sites
    copies = max(1.0, _SHARED_WIDTH / width)
    shot_s = _SHOT_S + _SHOT_BIT_S * width * copies
    amplitudes = 2.0 ** min(width * copies, 60.0)
    circuit_s = _CIRCUIT_S + shots * shot_s + gates * copies * amplitudes * _GATE_AMPLITUDE_S
    return circuit_s / copies


def _seed_of(seed: np.random.SeedSequence, bundle: Bundle) -> int:
    """Spawn a bundle's seed; Aer counts circuits up from it, so seeds must be far apart."""
    key = (*seed.spawn_key, bundle.fragment, bundle.number)
    child = np.random.SeedSequence(seed.entropy, spawn_key=key)
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
