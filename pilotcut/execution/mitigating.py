"""Mitigation of a batch: readouts that are measured first, and what is extrapolated and why.

Decides what is done about the errors of each fragment on each device, has the circuits run that
say how qubits read, by the devices' own pilots, and hands the result to the work units. Refuses to
know how errors are taken out, see `pilotcut.backends.mitigated`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotcut.backends.extrapolation import linear
from pilotcut.backends.job_usage import NOTHING, Usage, metered, staying
from pilotcut.errors import DeviceError, PilotError, UserError
from pilotcut.execution.devices import DevicePilot, Fleet
from pilotcut.execution.reassignment import DeviceAssigner
from pilotcut.execution.usage import UsageBudget, with_cost
from pilotcut.execution.work_units import CircuitUnit, Request
from pilotcut.pilots.description.mitigation import Mitigation, checked_mitigation
from pilotcut.pilots.worker.sessions import during
from pilotcut.tasks import Shared, TaskManager

if TYPE_CHECKING:
    from pilotcut.backends.readout import Readout
    from pilotcut.cutting.fragment import Fragment

#: What a fragment's predicted error is taken times of, and of its usual expectation, to predict a
#: bias in the noise of a subexperiment: a wrong gate turns more than it leaves, and all fragments
#: err the same way. With infinite shots it was 1.8 to 1.95 for 4 qubits on the fakes of Manila,
#: Lima, Guadalupe and Torino, and 1.2 to 1.4 for 8 qubits and for two cuts.
BIAS = 1.5

#: With noise cancelled shots grow by the square of the overhead. Beyond so many times is refused.
MOST_GROWTH = 100.0

#: A calibration by the device, the fragment, and what else decides it.
Key = tuple[str, str, str]


def check_devices(mitigation: Mitigation | None, fleet: Fleet) -> None:
    """Raise UserError if errors are to be mitigated and no pilot has any."""
    if mitigation is None or mitigation.method in ("none", "auto") or fleet.devices:
        return
    raise UserError(
        f"mitigation is '{mitigation.method}', and no pilot has a backend.qpu, expected a device "
        f"with noise; leave mitigation out, or describe such a pilot"
    )


@dataclass(frozen=True)
class Way:
    """What is done about the gates of a fragment on a device, and why.

    Parameters
    ----------
    factors
        Noise factors, (1,) without extrapolation.
    bias
        What is predicted without, of a subexperiment.
    noise
        Shot noise that is added, or would be by extrapolation.
    overhead
        How many times as large errors are with noise cancelled; None where it is not.
    """

    factors: tuple[int, ...]
    bias: float
    noise: float
    overhead: float | None = None

    @property
    def growth(self) -> float:
        """How many times as large variances are with the same shots."""
        if len(self.factors) == 1:
            return (self.overhead or 1.0) ** 2
        return float(np.abs(linear(self.factors)).sum() ** 2)


def options_of(asked: Mitigation | None, device: DevicePilot) -> Mitigation:
    """Return what is done on a device: what is asked for, or what its description says."""
    return asked or checked_mitigation(device.qpu.mitigation) or Mitigation("none")


def way_of(options: Mitigation, device: DevicePilot, fragment: Fragment, shots: float) -> Way:
    """Return what is done about the gates of a fragment on a device, and why.

    Parameters
    ----------
    options, device, fragment
        What is asked for, and where.
    shots
        Of a subexperiment, on average.

    Raises
    ------
    DeviceError
        If noise is to be cancelled that is not known, or too large.
    """
    fit = device.fit(fragment)
    bias = BIAS * usual_expectation(fragment) * (fit.gate_error if options.reads else fit.error)
    overhead = _overhead(device, fragment) if options.cancels else None
    # What the variance grows by; shots are dealt in proportion to the coefficients.
    times = overhead or float(np.abs(linear(options.factors)).sum())
    noise = sqrt((times**2 - 1) / shots) if shots else 0.0
    on = options.extrapolates or (options.method == "auto" and bias > noise)
    return Way(options.factors if on else (1,), bias, noise, overhead)


class Mitigating:
    """Mitigation of all batches of an executor, with the readouts that it has measured.

    Parameters
    ----------
    options
        What is asked for; None leaves it to the descriptions of devices.
    """

    def __init__(self, options: Mitigation | None) -> None:
        self.options = options
        self._readouts: dict[Key, Readout] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.options,)

    def knows(self, key: Key) -> bool:
        """Return whether a readout has been measured."""
        return key in self._readouts

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
    budget
        What may be used of devices, calibrations with it; None for anything.
    records
        What was done, and why, of each fragment on each device.
    usage
        What calibrations took of devices that run circuits themselves.
    """

    of_all: Mitigating
    requests: Sequence[Request]
    seed: np.random.SeedSequence
    assigner: DeviceAssigner
    tasks: TaskManager
    share: Callable[[Fragment], Shared]
    budget: UsageBudget | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = NOTHING

    def __call__(self, units: list[CircuitUnit]) -> list[CircuitUnit]:
        """Return the units with what is done about their errors."""
        keys = {unit.index: self._key(unit) for unit in units if self._options(unit).does}
        firsts = {key: unit for unit in units if (key := keys.get(unit.index)) is not None}
        # Before anything is paid: what cannot be done is refused.
        ways = {key: self._way(unit, units) for key, unit in firsts.items()}
        planned = [
            unit
            if (key := keys.get(unit.index)) is None
            else self._corrected(unit, None, ways[key])
            for unit in units
        ]
        known, ended = self._readouts(firsts, planned)
        for key, unit in firsts.items():
            if key not in ended:
                self._note(unit, known.get(key), ways[key])
        ready = [
            unit
            if (key := keys.get(unit.index)) is None
            else self._corrected(unit, known.get(key), ways[key])
            for unit in units
            if keys.get(unit.index) not in ended
        ]
        lost = [unit for unit in units if keys.get(unit.index) in ended]
        return [*ready, *self.assigner.rebind(lost)]

    def _options(self, unit: CircuitUnit) -> Mitigation:
        """Return what is asked for of a unit's device."""
        assert unit.device is not None
        return options_of(self.of_all.options, unit.device)

    def _readouts(
        self, firsts: Mapping[Key, CircuitUnit], units: Sequence[CircuitUnit]
    ) -> tuple[dict[Key, Readout], dict[Key, PilotError]]:
        """Return the readouts of all keys, or what has ended, and take note of what that took."""
        if any(self._fragment(unit).listed is not None for unit in firsts.values()):
            raise UserError(
                "mitigation is of a device's description, with num_samples, expected none: each "
                "sample of terms would have other circuits calibrated; say mitigation='none', or "
                "leave num_samples out"
            )
        reading = {key: unit for key, unit in firsts.items() if self._options(unit).reads}
        new = {key: unit for key, unit in reading.items() if not self.of_all.knows(key)}
        if self.budget is not None:
            more = (2 * self._options(unit).shots * self._shot_s(unit) for unit in new.values())
            self.budget.require(units, self.requests, sum(more))
        asked = {key: self._asking(unit, key) for key, unit in reading.items()}
        known, ended = self.of_all.readouts(asked)
        for key, unit in new.items():
            assert unit.device is not None
            if key in known and unit.device.runs_itself:
                self.usage += with_cost(known[key].usage, unit.device, self._fragment(unit))
        return known, ended

    def _shot_s(self, unit: CircuitUnit) -> float:
        """Return the seconds of a shot on a unit's device, 0 where Aer plays that."""
        assert unit.device is not None
        if not unit.device.runs_itself:
            return 0.0
        return unit.device.fit(self._fragment(unit)).shot_s

    def _key(self, unit: CircuitUnit) -> Key:
        assert unit.device is not None
        return unit.device.name, unit.device.key, self._fragment(unit).fingerprint

    def _fragment(self, unit: CircuitUnit) -> Fragment:
        return self.requests[unit.request].fragment

    def _asking(self, unit: CircuitUnit, key: Key) -> Callable[[], Any]:
        """Return what submits the calibration of a unit's fragment on its device."""
        shots, device = self._options(unit).shots, unit.device
        assert device is not None
        seed = _seed_of(self.seed, key)
        fragment = self._fragment(unit)
        return lambda: self.tasks.submit_task(
            calibrate,
            self.share(fragment),
            device,
            shots,
            seed,
            self.assigner.query_of(unit),
            name=f"{fragment.label}.calibration",
            cost_s=unit.cost_s,
            pilot=device.name,
        )

    def _way(self, unit: CircuitUnit, units: Sequence[CircuitUnit]) -> Way:
        """Return what is done about the gates of a unit's fragment, and why."""
        fragment = self._fragment(unit)
        assert unit.device is not None
        alike = [u for u in units if self._fragment(u).fingerprint == fragment.fingerprint]
        circuits, shots = (sum(some) for some in zip(*(u.size for u in alike), strict=True))
        return way_of(self._options(unit), unit.device, fragment, shots / max(1, circuits))

    def _corrected(self, unit: CircuitUnit, readout: Readout | None, way: Way) -> CircuitUnit:
        from pilotcut.backends.mitigated import Correction

        options = self._options(unit)
        samples = 0 if way.overhead is None else options.samples
        correction = Correction(readout, way.factors, samples)
        return replace(unit, mitigation=options, correction=correction)

    def _note(self, unit: CircuitUnit, readout: Readout | None, way: Way) -> None:
        assert unit.device is not None
        options = self._options(unit)
        cancelled: dict[str, Any] = {}
        if way.overhead is not None:
            cancelled = {"overhead": way.overhead, "samples": options.samples}
        self.records.append(
            {
                "fragment": self._fragment(unit).label,
                "pilot": unit.device.name,
                "readout": None if readout is None else options.calibration,
                "calibration_shots": 0 if readout is None else readout.shots,
                "factors": list(way.factors),
                "bias": way.bias,
                "noise": way.noise,
                **cancelled,
            }
        )


def _overhead(device: DevicePilot, fragment: Fragment) -> float:
    """Return how many times as large errors are with noise cancelled.

    Raises
    ------
    DeviceError
        If the noise is not known, or shots would have to be too many times as many.
    """
    found = device.overhead(fragment)
    if not found**2 <= MOST_GROWTH:
        raise DeviceError(
            f"pilot '{device.name}': mitigation 'pec' of fragment {fragment.label} takes "
            f"{found**2:.3g} times as many shots for the same error, expected at most "
            f"{MOST_GROWTH:.0f}; cut it smaller, or take mitigation 'readout+zne'"
        )
    return found


def growth_of(
    mitigation: Mitigation | None, records: Sequence[Mapping[str, Any]], shots: float
) -> float:
    """Return how many times as many shots "auto" takes for the same error, if it extrapolates then.

    Parameters
    ----------
    mitigation
        What is asked for.
    records
        What was done with few shots.
    shots
        Of a subexperiment, for what is wanted.
    """
    if mitigation is None or mitigation.method != "auto":
        return 1.0
    growth = float(np.abs(linear(mitigation.factors)).sum() ** 2)
    few = [one["bias"] for one in records if len(one["factors"]) == 1]
    return growth if max(few, default=0.0) > sqrt((growth - 1) / shots) else 1.0


def usual_expectation(fragment: Fragment) -> float:
    """Return the root mean square of a fragment's expectations in a circuit without structure."""
    letters = (fragment.observables.x | fragment.observables.z).sum(axis=1)
    return float(np.mean(0.5 ** (letters / 2)))


def calibrate(
    fragment: Shared, device: DevicePilot, shots: int, seed: int, query: str = ""
) -> Readout:
    """Return how the qubits read that a fragment measures on a device; run by its pilot."""
    backend = device.backend()
    whole: Fragment = fragment.get()
    if not shots:
        return backend.reported(whole)
    # What all units of a device wait for does not leave its queue.
    with during(query), staying(True), metered() as meter:
        found = backend.calibrated(whole, shots, seed)
    return replace(found, usage=meter.usage)


def _seed_of(seed: np.random.SeedSequence, key: Key) -> int:
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    child = np.random.SeedSequence(seed.entropy, spawn_key=(number % 2**32, number >> 32))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
