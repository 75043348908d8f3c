"""What one task does: a bundle of circuits, or some rows of the exact engine.

A call runs on any worker that has the fragment, and its result can be kept in a tensor
store under a key that names all it depends on.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pilotcut import backends
from pilotcut.backends.base import Backend, Measurement, Shots
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import Block
from pilotcut.execution.batching import Request, exact_row_s, row_bundles, seed_of, split
from pilotcut.execution.devices import DEVICE_CIRCUITS, Assignment, DevicePilot
from pilotcut.reconstruction.block_store import BlockStore


@dataclass(frozen=True, eq=False)
class Call(ABC):
    """Something to run for some rows of one request.

    Parameters
    ----------
    request, rows
        Which rows of which request it belongs to.
    number
        Tells the calls of a request apart.
    angles
        (rows, angles) of the fragment, in radians.
    cost_s
        Rough cost in seconds.
    """

    request: int
    rows: slice
    number: int
    angles: np.ndarray
    cost_s: float

    @property
    def block(self) -> str:
        """Name of its block in a store."""
        return f"{self.request}-{self.number}"

    @abstractmethod
    def run(self, fragment: Fragment) -> Any:
        """Run it in this process."""

    @abstractmethod
    def write(self, store: BlockStore, fragment: Fragment, found: Any) -> Any:
        """Put what was found into a store; return what is left to be told of it."""

    @abstractmethod
    def read(self, store: BlockStore, fragment: Fragment, told: Any = None) -> Any:
        """Return what a store holds of it, with what was told; TornBlockError if it has none."""

    @abstractmethod
    def _depends_on(self) -> tuple[object, ...]: ...

    def key(self, fragment: Fragment) -> str:
        """Return a hash of all that decides the result."""
        listed = b"" if fragment.listed is None else fragment.listed.tobytes()
        parts = (type(self).__name__, fragment.fingerprint, listed, self.angles.tobytes())
        return hashlib.sha256(repr((*parts, *self._depends_on())).encode()).hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class CircuitCall(Call):
    """Circuits with shots: a part of a fragment's subexperiments.

    Parameters
    ----------
    part, shots, seed
        As in `Backend.run`.
    backend
        Name of the backend, which a device takes the place of.
    device
        The device that the part is bound to, if there are devices.
    """

    part: slice
    shots: Shots
    seed: int
    backend: str
    device: DevicePilot | None = None

    def run(self, fragment: Fragment) -> Measurement:
        """Run the circuits on this process's backend, or on what is or plays the device."""
        backend = backend_for(self.backend, self.device)
        return backend.run(fragment, self.angles, self.part, self.shots, self.seed)

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
        self, store: BlockStore, fragment: Fragment, told: Measurement | None = None
    ) -> Measurement:
        """Return the blocks, with the times that were told."""
        arrays = store.read(self.block, key=self.key(fragment))
        about = store.about(self.block)
        blocks = tuple(
            Block(group, np.array(variants, dtype=int), means, covariances)
            for group, variants, means, covariances in zip(
                about["groups"], about["variants"], arrays[::2], arrays[1::2], strict=True
            )
        )
        return replace(told or Measurement((), 0.0, 0.0), blocks=blocks)

    def _depends_on(self) -> tuple[object, ...]:
        shots = self.shots.tobytes() if isinstance(self.shots, np.ndarray) else self.shots
        found = (self.part, shots, self.seed, self.backend)
        return found if self.device is None else (*found, self.device.key)


@dataclass(frozen=True, eq=False)
class ExactCall(Call):
    """Values of the exact engine, or with a cotangent their derivatives."""

    cotangent: np.ndarray | None = None

    def run(self, fragment: Fragment) -> np.ndarray:
        """Run the engine."""
        engine = backends.statevector_engine()
        if self.cotangent is None:
            return engine.values(fragment, self.angles)
        return engine.pull_back(fragment, self.angles, self.cotangent)

    def write(self, store: BlockStore, fragment: Fragment, found: np.ndarray) -> None:
        """Put the values into a store."""
        store.write(self.block, [found], key=self.key(fragment))

    def read(self, store: BlockStore, fragment: Fragment, told: None = None) -> np.ndarray:
        """Return the values."""
        (found,) = store.read(self.block, key=self.key(fragment))
        return found

    def _depends_on(self) -> tuple[object, ...]:
        return (None if self.cotangent is None else self.cotangent.tobytes(),)


def backend_for(name: str, device: DevicePilot | None) -> Backend:
    """Return this process's backend of a name, or the one that is or plays a device."""
    if device is None:
        return backends.backend(name)
    return backends.device_backend(device.name, device.qpu)


def circuit_calls(
    requests: Sequence[Request],
    seed: np.random.SeedSequence,
    backend: str,
    assignment: Assignment | None = None,
) -> list[Call]:
    """Return the calls of all requests; calls for the first rows come first.

    With an `assignment` every call is bound to a device.
    """
    most = None if assignment is None else DEVICE_CIRCUITS
    calls: list[Call] = [
        CircuitCall(
            request=bundle.fragment,
            rows=bundle.rows,
            number=bundle.number,
            angles=request.angles[bundle.rows],
            cost_s=bundle.predicted_s(request),
            part=bundle.part,
            shots=bundle.shots(request),
            seed=seed_of(seed, bundle),
            backend=backend,
            device=None if assignment is None else assignment.device(number, bundle.number),
        )
        for number, request in enumerate(requests)
        for bundle in split(number, request, most)
    ]
    return sorted(calls, key=lambda call: call.rows.start)


def exact_calls(
    requests: Sequence[Request], cotangents: Sequence[np.ndarray] | None = None
) -> list[Call]:
    """Return the calls of all requests for their values, or for pulling back cotangents."""
    calls: list[Call] = [
        ExactCall(
            request=k,
            rows=rows,
            number=number,
            angles=request.angles[rows],
            cost_s=(rows.stop - rows.start) * exact_row_s(request.fragment),
            cotangent=None if cotangents is None else cotangents[k][rows],
        )
        for k, request in enumerate(requests)
        for number, rows in enumerate(row_bundles(request.fragment, len(request.angles)))
    ]
    return sorted(calls, key=lambda call: call.rows.start)
