"""Forecast of a plan on devices: time and noise, modelled and not measured.

Seconds are those of the devices, shots times the seconds of a shot, with parts bound as the
estimator binds them (of very many, several at once); queues, transfer and the process that puts
values together are not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit

from pilotcut import backends
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.search import FragmentShape
from pilotcut.execution.batching import circuit_units
from pilotcut.execution.device_assignment import DeviceAssignment, assign, lack_of
from pilotcut.execution.devices import DEVICE_CIRCUITS, DevicePilot, Fleet, fits_of
from pilotcut.execution.work_units import Request
from pilotcut.options import ERROR_TOLERANCE
from pilotcut.perfmodel.costmodel import MOST_DEALT, Prediction
from pilotcut.perfmodel.forecast import Outlook
from pilotcut.perfmodel.resources import Resources
from pilotcut.perfmodel.workload import Work
from pilotcut.pilots.description import PilotDescription


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
    """

    pilots: Sequence[DeviceView]
    mode: str
    shots: int
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
        found = self._assigned(plan, work.rows, work.shots)
        seconds = batches * found.makespan_s
        # Modelled from the description: there are no measurements that could spread.
        prediction = Prediction({"execute": seconds}, seconds, seconds, seconds)
        return Outlook(prediction, (), found.infidelity, found.shares)

    def _assigned(self, plan: CutPlan, rows: int, shots: int) -> DeviceAssignment:
        requests = [
            Request(fragment, np.zeros((rows, len(fragment.angles))), shots)
            for fragment in plan.fragments
        ]
        circuits = sum(request.subexperiments for request in requests)
        # Very many circuits are dealt several at once, so that the answer does not wait for the
        # dealing.
        most = max(DEVICE_CIRCUITS, circuits // MOST_DEALT)
        units = circuit_units(requests, np.random.SeedSequence(0), "aer", most)
        units.sort(key=lambda unit: unit.index)
        fits = [fits_of(fragment, self.fleet.devices) for fragment in plan.fragments]
        labels = [fragment.label for fragment in plan.fragments]
        return assign(units, labels, fits, ERROR_TOLERANCE)

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
