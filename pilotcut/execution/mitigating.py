"""Mitigation of a batch: readouts that are measured first, and what is extrapolated and why.

Decides what is done about the errors of each fragment on each device, has the circuits run that
say how qubits read, by the devices' own pilots, and hands the result to the work units. Refuses to
know how errors are taken out, see `pilotcut.backends.mitigated`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotcut.backends.extrapolation import linear
from pilotcut.backends.job_usage import staying
from pilotcut.errors import PilotError, UserError
from pilotcut.execution.devices import DevicePilot, Fleet
from pilotcut.execution.reassignment import DeviceAssigner
from pilotcut.execution.work_units import CircuitUnit, Request
from pilotcut.options import Mitigation
from pilotcut.tasks import Shared, TaskManager

if TYPE_CHECKING:
    from pilotcut.backends.readout import Readout
    from pilotcut.cutting.fragment import Fragment

#: What a fragment's predicted error is taken times of, and of its usual expectation, to predict a
#: bias in the noise of a subexperiment: a wrong gate turns more than it leaves, and all fragments
#: err the same way. With infinite shots it was 1.8 to 1.95 for 4 qubits on the fakes of Manila,
#: Lima, Guadalupe and Torino, and 1.2 to 1.4 for 8 qubits and for two cuts.
BIAS = 1.5

#: A calibration by the device, the fragment, and what else decides it.
Key = tuple[str, str, str]


def check_devices(mitigation: Mitigation | None, fleet: Fleet) -> None:
    """Raise UserError if errors are to be mitigated and no pilot has any."""
    if mitigation is None or mitigation.method == "auto" or fleet.devices:
        return
    raise UserError(
        f"mitigation is '{mitigation.method}', and no pilot has a backend.qpu, expected a device "
        f"with noise; leave mitigation out, or describe such a pilot"
    )


class Mitigating:
    """Mitigation of all batches of an executor, with the readouts that it has measured.

    Parameters
    ----------
    options
        What is asked for.
    """

    def __init__(self, options: Mitigation) -> None:
        self.options = options
        self._readouts: dict[Key, Readout] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.options,)

    def readouts(
        self, wanted: dict[Key, Callable[[], Any]]
    ) -> tuple[dict[Key, Readout], dict[Key, PilotError]]:
        """Return readouts by key, those that are not known as measured now, or what has ended."""
        with self._lock:
            futures = {k: ask() for k, ask in wanted.items() if k not in self._readouts}
            ended: dict[Key, PilotError] = {}
            for key, future in futures.items():
                try:
                    self._readouts[key] = future.result()
                except PilotError as error:
                    ended[key] = error
            return {k: r for k in wanted if (r := self._readouts.get(k)) is not None}, ended


@dataclass
class BatchMitigation:
    """Mitigation of one batch: takes units that are bound to devices, returns them corrected.

    Parameters
    ----------
    of_all
        Mitigation of all batches.
    requests
        The batch.
    seed
        Of the batch; calibrations take the estimator's behind it, and are the same in any batch.
    assigner
        Binds units again whose devices end before they are calibrated.
    tasks
        Runs calibrations.
    share
        Makes a fragment travel once.
    records
        What was done, and why, of each fragment on each device.
    """

    of_all: Mitigating
    requests: Sequence[Request]
    seed: np.random.SeedSequence
    assigner: DeviceAssigner
    tasks: TaskManager
    share: Callable[[Fragment], Shared]
    records: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, units: list[CircuitUnit]) -> list[CircuitUnit]:
        """Return the units with what is done about their errors."""
        keys = {unit.index: self._key(unit) for unit in units if unit.device is not None}
        firsts = {key: unit for unit in units if (key := keys.get(unit.index)) is not None}
        known: dict[Key, Readout] = {}
        ended: dict[Key, PilotError] = {}
        if self.of_all.options.reads:
            asked = {key: self._asking(unit, key) for key, unit in firsts.items()}
            known, ended = self.of_all.readouts(asked)
        factors = {key: self._factors(unit, units) for key, unit in firsts.items()}
        for key, unit in firsts.items():
            if key not in ended:
                self._note(unit, known.get(key), *factors[key])
        ready = [
            self._corrected(unit, known.get(key), factors[key][0])
            for unit in units
            if (key := keys[unit.index]) not in ended
        ]
        lost = [unit for unit in units if keys[unit.index] in ended]
        return [*ready, *self.assigner.rebind(lost)]

    def _key(self, unit: CircuitUnit) -> Key:
        assert unit.device is not None
        return unit.device.name, unit.device.key, self._fragment(unit).fingerprint

    def _fragment(self, unit: CircuitUnit) -> Fragment:
        return self.requests[unit.request].fragment

    def _asking(self, unit: CircuitUnit, key: Key) -> Callable[[], Any]:
        """Return what submits the calibration of a unit's fragment on its device."""
        options, device = self.of_all.options, unit.device
        assert device is not None
        measured = options.calibration == "measured"
        shots = options.calibration_shots if measured else 0
        seed = _seed_of(self.seed, key)
        fragment = self._fragment(unit)
        return lambda: self.tasks.submit_task(
            calibrate,
            self.share(fragment),
            device,
            shots,
            seed,
            name=f"{fragment.label}.calibration",
            cost_s=unit.cost_s,
            pilot=device.name,
        )

    def _factors(
        self, unit: CircuitUnit, units: Sequence[CircuitUnit]
    ) -> tuple[tuple[int, ...], float, float]:
        """Return noise factors, the predicted bias without, and the shot noise that they add.

        Both are those of a subexperiment.
        """
        options = self.of_all.options
        fragment, device = self._fragment(unit), unit.device
        assert device is not None
        fit = device.fit(fragment)
        bias = BIAS * usual_expectation(fragment) * (fit.gate_error if options.reads else fit.error)
        alike = [u for u in units if self._fragment(u).fingerprint == fragment.fingerprint]
        circuits, shots = (sum(some) for some in zip(*(u.size for u in alike), strict=True))
        # What the variance grows by; shots are dealt in proportion to the coefficients.
        growth = np.abs(linear(options.factors)).sum() ** 2 - 1
        noise = sqrt(growth * circuits / shots) if shots else 0.0
        on = options.extrapolates or (options.method == "auto" and bias > noise)
        return (options.factors if on else (1,)), bias, noise

    def _corrected(
        self, unit: CircuitUnit, readout: Readout | None, factors: tuple[int, ...]
    ) -> CircuitUnit:
        from pilotcut.backends.mitigated import Correction

        correction = Correction(readout, factors)
        return replace(unit, mitigation=self.of_all.options, correction=correction)

    def _note(
        self,
        unit: CircuitUnit,
        readout: Readout | None,
        factors: tuple[int, ...],
        bias: float,
        noise: float,
    ) -> None:
        assert unit.device is not None
        self.records.append(
            {
                "fragment": self._fragment(unit).label,
                "pilot": unit.device.name,
                "readout": None if readout is None else self.of_all.options.calibration,
                "calibration_shots": 0 if readout is None else readout.shots,
                "factors": list(factors),
                "bias": bias,
                "noise": noise,
            }
        )


def usual_expectation(fragment: Fragment) -> float:
    """Return the root mean square of a fragment's expectations in a circuit without structure."""
    letters = (fragment.observables.x | fragment.observables.z).sum(axis=1)
    return float(np.mean(0.5 ** (letters / 2)))


def calibrate(fragment: Shared, device: DevicePilot, shots: int, seed: int) -> Readout:
    """Return how the qubits read that a fragment measures on a device; run by its pilot."""
    backend = device.backend()
    whole: Fragment = fragment.get()
    if not shots:
        return backend.reported(whole)
    with staying(True):  # what all units of a device wait for does not leave its queue
        return backend.calibrated(whole, shots, seed)


def _seed_of(seed: np.random.SeedSequence, key: Key) -> int:
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    child = np.random.SeedSequence(seed.entropy, spawn_key=(number % 2**32, number >> 32))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
