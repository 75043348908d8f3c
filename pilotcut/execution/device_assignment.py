"""Device assignment: which device runs which work unit, a pure function of predictions.

Every unit is bound to a device before anything is submitted, by predicted error and load alone.
So results depend on the seed, the plan and the fleet, and never on which worker was free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pilotcut.backends.base import DeviceFit
from pilotcut.errors import CutError
from pilotcut.execution.work_units import CircuitUnit, UnitIndex
from pilotcut.options import ERROR_TOLERANCE

#: How much later than on the fastest device, from the start of the batch, a unit may be done on a
#: cheaper one.
LATER = 1.25


@dataclass(frozen=True)
class Share:
    """What one device runs of one fragment.

    Parameters
    ----------
    fragment, pilot
        Label of the fragment, and name of the device's pilot.
    error
        Predicted error of the fragment's circuits there, see `DeviceFit`.
    circuits, shots, device_s
        Subexperiments, their shots together, and predicted seconds of the device.
    cost
        What these shots are predicted to cost, in the currency of the descriptions.
    """

    fragment: str
    pilot: str
    error: float
    circuits: int
    shots: int
    device_s: float
    cost: float = 0.0


@dataclass(frozen=True)
class DeviceAssignment:
    """Work units bound to devices.

    Parameters
    ----------
    pilots
        Name of the device's pilot for each unit, by the unit's index.
    shares
        What each device runs of each fragment, fragments in order, then devices.
    """

    pilots: Mapping[UnitIndex, str]
    shares: tuple[Share, ...]

    @property
    def makespan_s(self) -> float:
        """Predicted seconds until the last device has done its units."""
        names = {share.pilot for share in self.shares}
        seconds = (
            sum(share.device_s for share in self.shares if share.pilot == name) for name in names
        )
        return max(seconds, default=0.0)

    @property
    def errors(self) -> dict[str, float]:
        """Predicted error of each fragment, averaged over its shots on several devices."""
        labels = dict.fromkeys(share.fragment for share in self.shares)
        return {
            label: self._error([s for s in self.shares if s.fragment == label]) for label in labels
        }

    @staticmethod
    def _error(shares: Sequence[Share]) -> float:
        shots = sum(share.shots for share in shares)
        return sum(share.shots * share.error for share in shares) / shots if shots else 0.0

    @property
    def infidelity(self) -> float:
        """Probability that something goes wrong in a shot of all fragments."""
        kept = 1.0
        for error in self.errors.values():
            kept *= 1.0 - error
        return 1.0 - kept


def assign(
    units: Sequence[CircuitUnit],
    labels: Sequence[str],
    fits: Sequence[Mapping[str, DeviceFit]],
    tolerance: float = ERROR_TOLERANCE,
    waits: Mapping[str, float] | None = None,
) -> DeviceAssignment:
    """Return a device for every unit.

    A device is *good enough* for a fragment if it can run it and its predicted error there is at
    most that of the best device plus `tolerance`. Units are dealt to those, the longest first, each
    to the device that would be done with it first: the makespan is kept short within the
    tolerance. Where devices have prices, the cheapest takes a unit that would be done with it at
    most a quarter later (`LATER`). Ties go to the smaller error, then to the device that is
    described first.

    Parameters
    ----------
    units
        What is to be bound.
    labels
        Of the fragment of each request.
    fits
        For each request how well its fragment does on each device, by name of the pilot.
    tolerance
        As above; 0 takes the best device for everything.
    waits
        Predicted seconds until a device begins, by name of its pilot; of others none.

    Raises
    ------
    CutError
        If no device can run a fragment, with a line for each such fragment.

    Examples
    --------
    >>> import numpy as np
    >>> errors = {"good": 0.01, "fair": 0.02, "bad": 0.2}
    >>> fits = {pilot: DeviceFit(error, 1e-4) for pilot, error in errors.items()}
    >>> units = [
    ...     CircuitUnit(request=0, number=k, rows=slice(0, 1), angles=np.zeros((1, 0)), cost_s=0.1,
    ...                 part=slice(4 * k, 4 * k + 4), shots=1000, seed=k, backend="aer")
    ...     for k in range(4)
    ... ]
    >>> [*assign(units, ["A"], [fits]).pilots.values()]
    ['good', 'fair', 'good', 'fair']
    """
    chosen = [_good_enough(one, tolerance) for one in fits]
    lacking = [k for k in sorted({unit.request for unit in units}) if not chosen[k]]
    if lacking:
        raise CutError([*dict.fromkeys(_nowhere(labels[k], fits[k]) for k in lacking)])
    order = {name: k for k, name in enumerate(dict.fromkeys(n for one in fits for n in one))}
    shots = {unit.index: unit.size[1] for unit in units}
    ends = {name: (waits or {}).get(name, 0.0) for name in order}
    pilots: dict[UnitIndex, str] = {}
    # Longest processing time first: a long unit that came last would stand alone at the end.
    least_s = {u.index: shots[u.index] * _least_shot_s(chosen[u.request]) for u in units}
    for unit in sorted(units, key=lambda u: (-least_s[u.index], u.index)):
        some, count = chosen[unit.request], shots[unit.index]
        done = {n: ends[n] + count * some[n].shot_s for n in some}
        soon = [n for n in some if done[n] <= LATER * min(done.values())]
        least = min(some[n].shot_cost for n in soon)
        cheapest = [n for n in soon if some[n].shot_cost == least]
        name = min(
            cheapest if any(some[n].shot_cost for n in some) else some,
            key=lambda n: (done[n], some[n].error, order[n]),
        )
        ends[name] += count * some[name].shot_s
        pilots[unit.index] = name
    in_order = {unit.index: pilots[unit.index] for unit in units}
    return DeviceAssignment(in_order, _shares(units, labels, fits, in_order, order))


def _good_enough(fits: Mapping[str, DeviceFit], tolerance: float) -> dict[str, DeviceFit]:
    able = {name: fit for name, fit in fits.items() if not fit.lack}
    best = min((fit.error for fit in able.values()), default=0.0)
    return {name: fit for name, fit in able.items() if fit.error <= best + tolerance}


def _least_shot_s(fits: Mapping[str, DeviceFit]) -> float:
    return min(fit.shot_s for fit in fits.values())


def _nowhere(label: str, fits: Mapping[str, DeviceFit]) -> str:
    return (
        f"fragment {label} {lack_of(fits)}; cut it narrower (more cuts, or max_width), or describe "
        f"a pilot whose backend.qpu can run it"
    )


def lack_of(fits: Mapping[str, DeviceFit]) -> str:
    """Return why no device can run a fragment, each reason once with the first device's name."""
    first: dict[str, str] = {}
    for name, fit in fits.items():
        first.setdefault(fit.lack, name)
    some = "; ".join(f"{lack} of '{name}'" for lack, name in first.items())
    others = len(fits) - len(first)
    return f"{some}, and {others} more pilots are like it" if others else some


def _shares(
    units: Sequence[CircuitUnit],
    labels: Sequence[str],
    fits: Sequence[Mapping[str, DeviceFit]],
    pilots: Mapping[UnitIndex, str],
    order: Mapping[str, int],
) -> tuple[Share, ...]:
    found: dict[tuple[str, str], Share] = {}
    for unit in units:
        name, label = pilots[unit.index], labels[unit.request]
        circuits, shots = unit.size
        fit = fits[unit.request][name]
        old = found.get((label, name)) or Share(label, name, fit.error, 0, 0, 0.0)
        found[label, name] = Share(
            label,
            name,
            fit.error,
            old.circuits + circuits,
            old.shots + shots,
            old.device_s + shots * fit.shot_s,
            old.cost + shots * fit.shot_cost,
        )
    places = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    return tuple(sorted(found.values(), key=lambda s: (places[s.fragment], order[s.pilot])))
