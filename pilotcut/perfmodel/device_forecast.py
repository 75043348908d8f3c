"""Forecast of a plan on devices: time and noise, modelled and not measured.

Seconds are those of the devices, shots times the seconds of a shot, with parts bound as the
estimator binds them (of very many, several at once); queues, transfer and the process that puts
values together are not in them. Mitigation makes circuits longer, variances larger and noise less.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import log1p, prod
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit

from pilotcut import backends
from pilotcut.backends.base import DeviceFit
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.search import FragmentShape
from pilotcut.cutting.shift_rules import shifts_of
from pilotcut.errors import DeviceError
from pilotcut.execution.batching import circuit_units
from pilotcut.execution.device_assignment import DeviceAssignment, Share, assign, lack_of
from pilotcut.execution.devices import DEVICE_CIRCUITS, DevicePilot, Fleet, fits_of
from pilotcut.execution.mitigating import Way, options_of, way_of
from pilotcut.execution.work_units import Request
from pilotcut.options import ERROR_TOLERANCE
from pilotcut.perfmodel.costmodel import MOST_DEALT, Prediction
from pilotcut.perfmodel.forecast import Outlook
from pilotcut.perfmodel.resources import Resources
from pilotcut.perfmodel.workload import Work
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.mitigation import Mitigation


@dataclass(frozen=True)
class DeviceView:
    """Pilot with a device; its description says all, and no calibration says more.

    Parameters
    ----------
    description
        Of the pilot.
    resources
        Of the workers that play the device, or talk to it.
    """

    description: PilotDescription
    resources: Resources

    @property
    def name(self) -> str:
        """The pilot's name."""
        return self.description.name

    @property
    def device(self) -> DevicePilot:
        """Its device."""
        assert self.description.backend.qpu is not None
        return DevicePilot(self.name, self.description.backend.qpu)


@dataclass
class DeviceForecaster:
    """Forecasts of plans on devices, their noise included; see `Forecaster`.

    Parameters
    ----------
    pilots
        At least one.
    mode, shots
        As in `CutEstimator`.
    mitigation
        What is done about errors; None leaves it to the descriptions of the devices.
    wanted
        Slots by which derivatives are wanted with each value.
    """

    pilots: Sequence[DeviceView]
    mode: str
    shots: int
    mitigation: Mitigation | None = None
    wanted: Collection[int] = ()
    _records: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """Number of devices."""
        return len(self.pilots)

    @property
    def fleet(self) -> Fleet:
        """All devices."""
        return Fleet(tuple(view.device for view in self.pilots))

    def outlook(self, plan: CutPlan, work: Work, batches: float) -> Outlook:
        """Return what so many batches of a plan take, and how far noise moves its values."""
        devices = self.fleet.devices
        fits = [fits_of(fragment, devices) for fragment in plan.fragments]
        lacks = tuple(
            f"has a fragment {fragment.label} that {lack_of(some)}"
            if len(fits) > 1
            else lack_of(some)
            for fragment, some in zip(plan.fragments, fits, strict=True)
            if all(fit.lack for fit in some.values())
        )
        if lacks:
            return Outlook(None, lacks)
        try:
            found = self._assigned(plan, work.rows, work.shots)
        except DeviceError as error:  # what is to mitigate cannot be done there
            return Outlook(None, (f"cannot be run: {error}",))
        seconds = batches * found.makespan_s
        # Modelled from the description: there are no measurements that could spread.
        prediction = Prediction({"execute": seconds}, seconds, seconds, seconds)
        return Outlook(prediction, (), found.infidelity, found.shares)

    def growths(self, plan: CutPlan, shots: int) -> list[float]:
        """Return how many times as large variances of each fragment are, on the worst device."""
        found = []
        for fragment in plan.fragments:
            able = [one for one in self.fleet.devices if not one.fit(fragment).lack]
            with suppress(DeviceError):
                found.append(
                    max((self._way(one, fragment, shots).growth for one in able), default=1.0)
                )
                continue
            found.append(1.0)  # then it cannot be run, which the outlook says
        return found

    def calibration(self, plan: CutPlan, shares: Sequence[Share]) -> tuple[float, int, float]:
        """Return seconds of devices, shots and cost of what calibrates once for these shares."""
        labels = {fragment.label: fragment for fragment in plan.fragments}
        seconds, shots, cost = 0.0, 0, 0.0
        for share in shares:
            device = self._device(share)
            options = options_of(self.mitigation, device)
            if options.reads:
                fit, number = device.fit(labels[share.fragment]), 2 * options.shots
                seconds, shots = seconds + number * fit.shot_s, shots + number
                cost += number * fit.shot_cost
        return seconds, shots, cost

    def _device(self, share: Share) -> DevicePilot:
        return next(one for one in self.fleet.devices if one.name == share.pilot)

    def _way(self, device: DevicePilot, fragment: Fragment, shots: float) -> Way:
        return way_of(options_of(self.mitigation, device), device, fragment, shots)

    def _mitigated(self, share: Share, fragment: Fragment, shots: int) -> Share:
        """Return a share with what mitigation changes of its time, its cost and its error."""
        device = self._device(share)
        options = options_of(self.mitigation, device)
        if not options.does:
            return share
        fit, way = device.fit(fragment), self._way(device, fragment, shots)
        longer = device.shot_s(fragment, way.factors) / fit.shot_s if fit.shot_s else 1.0
        price = device.qpu.price
        shot_cost = fit.shot_cost and price.shot + price.second * longer * fit.shot_s
        return replace(
            share,
            error=_left(fit, options, way),
            device_s=longer * share.device_s,
            cost=share.shots * shot_cost,
        )

    def _assigned(self, plan: CutPlan, rows: int, shots: int) -> DeviceAssignment:
        wanted = frozenset(self.wanted)
        requests = [
            # Values, and as many again for each shift of a derivative.
            Request(f, np.zeros((rows * times, len(f.angles))), shots)
            for f in plan.fragments
            for times in [1 + (shifts_of(f, wanted) if wanted else 0)]
        ]
        circuits = sum(request.subexperiments for request in requests)
        # Very many circuits are dealt several at once, so that the answer does not wait for the
        # dealing.
        most = max(DEVICE_CIRCUITS, circuits // MOST_DEALT)
        units = circuit_units(requests, np.random.SeedSequence(0), "aer", most)
        units.sort(key=lambda unit: unit.index)
        fits = [fits_of(fragment, self.fleet.devices) for fragment in plan.fragments]
        labels = [fragment.label for fragment in plan.fragments]
        found = assign(units, labels, fits, ERROR_TOLERANCE)
        by_label = dict(zip(labels, plan.fragments, strict=True))
        shares = tuple(self._mitigated(one, by_label[one.fragment], shots) for one in found.shares)
        return replace(found, shares=shares)

    def record(self, plan: CutPlan, rows: int) -> dict[str, Any]:
        """Return what is modelled of a batch, for its record."""
        key = (plan.fingerprint, rows)
        if key not in self._records:
            seconds = self._assigned(plan, rows, self.shots).makespan_s
            self._records[key] = {"predicted_device_s": seconds}
        return self._records[key]

    def shape_s(self, shape: FragmentShape, rows: int) -> float:
        """Return roughly what one fragment of a batch takes, from its shape alone."""
        known = [backends.compiler(one.name, one.qpu).device for one in self.fleet.devices]
        able = [device for device in known if device.qubits >= shape.width]
        if not able:
            return 1e300
        shot_s = min(device.shot_s(QuantumCircuit(device.qubits)) for device in able)
        runs = float(rows) * shape.variants * self.shots
        return 1e-6 + runs * shot_s / len(able) + 1e-9 * runs * shape.gates

    @property
    def most_qubits(self) -> int:
        """Qubits of the largest device."""
        known = [backends.compiler(one.name, one.qpu).device for one in self.fleet.devices]
        return max(device.qubits for device in known)


def _left(fit: DeviceFit, options: Mitigation, way: Way) -> float:
    """Return the share of shots that still goes wrong, in its effect on a value."""
    gates = fit.gate_error
    reads = 0.0 if options.reads else 1.0 - (1.0 - fit.error) / max(1.0 - gates, 1e-12)
    if way.overhead is not None:
        gates = 0.0
    elif len(way.factors) > 1:
        # A value that falls as exp(-noise) is off by noise^2 / 2 times the factors' product.
        gates = min(gates, log1p(-min(gates, 0.99)) ** 2 / 2 * prod(way.factors))
    return 1.0 - (1.0 - gates) * (1.0 - reads)
