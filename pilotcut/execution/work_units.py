"""Work units: what one task runs of a batch, and where its result goes in a block store.

A unit is some parameter sets of one fragment, with some of its subexperiments where there are
shots. It runs on any worker that has the fragment. Its key names all that its result depends on,
so a result that a store holds is never run again. Knows backends and stores; refuses to know tasks
and what results are for.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pilotcut import backends
from pilotcut.backends.base import Backend, Measurement, Shots
from pilotcut.backends.outcomes import StateOutcomes, Tally, outcome_wires
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import Block
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.devices import DevicePilot
from pilotcut.options import DOUBLE, USUAL_ENGINE, EngineOptions
from pilotcut.pilots.description.mitigation import Mitigation
from pilotcut.reconstruction.block_store import BlockStore

if TYPE_CHECKING:
    from pilotcut.backends.mitigated import Correction

#: A unit of a batch: the number of its request, and its own among the request's.
UnitIndex: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Request:
    """A fragment to be evaluated on a batch of angles.

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


def requests_of(
    plan: CutPlan, slots: np.ndarray, shots: int | Sequence[np.ndarray]
) -> list[Request]:
    """Return what a batch asks of each fragment; shots alike, or (rows, subexperiments) each."""
    each: Sequence[Shots] = [shots] * len(plan.fragments) if isinstance(shots, int) else shots
    return [Request(f, f.angle_values(slots), n) for f, n in zip(plan.fragments, each, strict=True)]


def about_of(requests: Sequence[Request], source: str, *, exact: bool = False) -> dict[str, Any]:
    """Return what is recorded of a batch: its sizes, and what it is run for."""
    circuits = sum(_circuits(request, exact=exact) for request in requests)
    shots = sum(request.total_shots for request in requests)
    return {
        "source": source,
        "queries": len(requests[0].angles),
        "subexperiments": circuits,
        "shots": shots / circuits if circuits else 0.0,
    }


def _circuits(request: Request, *, exact: bool) -> int:
    """Return how many circuits, or statevectors, a request runs."""
    if exact:
        return len(request.angles) * prod(site.rank for site in request.fragment.sites)
    return request.subexperiments


def size_of(rows: slice, part: slice, shots: Shots) -> tuple[int, int]:
    """Return how many circuits have shots, and the shots of all of them."""
    if isinstance(shots, np.ndarray):
        return int(np.count_nonzero(shots)), int(shots.sum())
    count = (rows.stop - rows.start) * (part.stop - part.start)
    return count, count * shots


@dataclass(frozen=True, eq=False, kw_only=True)
class WorkUnit(ABC):
    """Some rows of one request, run by one task.

    Parameters
    ----------
    request, number
        Position of the request in the batch, and of the unit among the request's.
    rows
        Rows of the request.
    angles
        (rows, angles) of the fragment, in radians.
    cost_s
        Rough cost in seconds.
    device
        The device that the unit is bound to, if there are devices.
    stays
        Whether it waits in its device's queue for as long as it takes.
    """

    request: int
    number: int
    rows: slice
    angles: np.ndarray
    cost_s: float
    device: DevicePilot | None = None
    stays: bool = False

    @property
    def index(self) -> UnitIndex:
        """What tells it from all others of a batch."""
        return self.request, self.number

    @property
    def block(self) -> str:
        """Name of its block in a store, and of the unit in records."""
        return f"{self.request}-{self.number}"

    @abstractmethod
    def run(self, fragment: Fragment) -> Any:
        """Return the result, computed in this process."""

    @abstractmethod
    def write(self, store: BlockStore, fragment: Fragment, found: Any) -> Any:
        """Put a result into a store; return what of it does not go there, such as times."""

    @abstractmethod
    def read(self, store: BlockStore, fragment: Fragment, rest: Any = None) -> Any:
        """Return the result from a store, with the `rest` that `write` returned.

        Raises
        ------
        TornBlockError
            If the store has no whole block of this key.
        """

    @abstractmethod
    def _depends_on(self) -> tuple[object, ...]: ...

    def key(self, fragment: Fragment) -> str:
        """Return a hash of all that decides the result."""
        # The kind of unit is part of it: expectation and tally of the same circuits differ.
        listed = b"" if fragment.listed is None else fragment.listed.tobytes()
        parts = (type(self).__name__, fragment.fingerprint, listed, self.angles.tobytes())
        return hashlib.sha256(repr((*parts, *self._depends_on())).encode()).hexdigest()[:24]


@dataclass(frozen=True, eq=False, kw_only=True)
class CircuitUnit(WorkUnit):
    """Circuits with shots: a part of a fragment's subexperiments, for their expectations.

    Parameters
    ----------
    part, shots, seed
        As in `Backend.run`.
    backend
        Name of the backend, which a device takes the place of.
    mitigation, correction
        What was asked to be done about the device's errors, and what that comes to here.
    """

    part: slice
    shots: Shots
    seed: int
    backend: str
    mitigation: Mitigation | None = None
    correction: Correction | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Number of circuits that have shots, and the shots of all of them."""
        return size_of(self.rows, self.part, self.shots)

    def run(self, fragment: Fragment) -> Any:
        """Return a `Measurement` by this process's backend, or what is or plays the device."""
        if self.correction is not None and self.device is not None:
            factors = self.correction.factors
            devices = [self.device.backend(k) for k in factors]
            asked = (fragment, self.angles, self.part, self.shots, self.seed)
            return self.correction.run(devices, *asked)
        return self._backend().run(fragment, self.angles, self.part, self.shots, self.seed)

    def _backend(self) -> Backend:
        # Looked up where the unit runs: backends cache what they compile, and do not travel.
        if self.device is None:
            return backends.backend(self.backend)
        return self.device.backend()

    def write(self, store: BlockStore, fragment: Fragment, found: Measurement) -> Measurement:
        """Put the blocks into a store; return the times."""
        arrays = [array for block in found.blocks for array in (block.means, block.covariances)]
        store.write(
            self.block,
            arrays,
            key=self.key(fragment),
            groups=[block.group for block in found.blocks],
            variants=[block.variants.tolist() for block in found.blocks],
        )
        return replace(found, blocks=())

    def read(
        self, store: BlockStore, fragment: Fragment, rest: Measurement | None = None
    ) -> Measurement:
        """Return the blocks, with the times in `rest`."""
        arrays = store.read(self.block, key=self.key(fragment))
        about = store.about(self.block)
        blocks = tuple(
            Block(group, np.array(variants, dtype=int), means, covariances)
            for group, variants, means, covariances in zip(
                about["groups"], about["variants"], arrays[::2], arrays[1::2], strict=True
            )
        )
        return replace(rest or Measurement((), 0.0, 0.0), blocks=blocks)

    def _depends_on(self) -> tuple[object, ...]:
        shots = self.shots.tobytes() if isinstance(self.shots, np.ndarray) else self.shots
        found = (self.part, shots, self.seed, self.backend)
        if self.device is None:
            return found
        if self.correction is None:
            return (*found, self.device.key)
        # Not what a calibration found: a device's is never the same twice, and what was paid for
        # with another one is not paid again.
        return (*found, self.device.key, self.mitigation, self.correction.factors)


@dataclass(frozen=True, eq=False, kw_only=True)
class OutcomeUnit(CircuitUnit):
    """Circuits with shots, for the bits they end in; no store keeps them."""

    def run(self, fragment: Fragment) -> Tally:
        """Return the tally of a part, of one row."""
        return self._backend().tally(fragment, self.angles, self.part, self.shots, self.seed)


@dataclass(frozen=True, eq=False, kw_only=True)
class ExactUnit(WorkUnit):
    """Values of the exact engine, with a cotangent their derivatives, or the final states.

    Parameters
    ----------
    cotangent
        (rows, outputs, observables, variants) to pull back; None for the values.
    wanted
        Boolean (angles,), by which angles; None for all.
    outcomes
        Whether the final states of all branches are wanted, of one row; no store keeps them.
    engine
        How the engine computes.
    """

    cotangent: np.ndarray | None = None
    wanted: np.ndarray | None = None
    outcomes: bool = False
    engine: EngineOptions = USUAL_ENGINE

    def run(self, fragment: Fragment) -> np.ndarray | list[StateOutcomes]:
        """Return values, derivatives by the angles (rows, outputs, angles), or states."""
        engine = backends.exact_engine(self.engine)
        if self.outcomes:
            return engine.outcomes(fragment, self.angles, outcome_wires(fragment))
        if self.cotangent is None:
            return engine.values(fragment, self.angles)
        return engine.pull_back(fragment, self.angles, self.cotangent, self.wanted)

    def write(self, store: BlockStore, fragment: Fragment, found: np.ndarray) -> None:
        """Put the values into a store."""
        store.write(self.block, [found], key=self.key(fragment))

    def read(self, store: BlockStore, fragment: Fragment, rest: None = None) -> np.ndarray:
        """Return the values."""
        (found,) = store.read(self.block, key=self.key(fragment))
        return found

    def _depends_on(self) -> tuple[object, ...]:
        asked = (self.cotangent, self.wanted)
        found = tuple(None if array is None else array.tobytes() for array in asked)
        # All ways agree to the last digits, dtypes do not.
        return found if self.engine.dtype == DOUBLE else (*found, self.engine.dtype)
