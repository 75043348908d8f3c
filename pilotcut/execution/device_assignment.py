"""Which device gets which part of which fragment: a pure function of predictions.

Every part is bound to a device before anything is submitted, by predicted error and load alone.
So results depend on the seed, the plan and the fleet, and never on which worker was free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pilotcut.backends.base import DeviceFit
from pilotcut.errors import CutError
from pilotcut.options import ERROR_TOLERANCE

#: A fragment's parts, by the number of its request and its own.
Place = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """What one task runs of a fragment.

    Parameters
    ----------
    request, number
        Which part of which request.
    circuits, shots
        How many subexperiments, and the shots of all of them together.
    """

    request: int
    number: int
    circuits: int
    shots: int

    @property
    def place(self) -> Place:
        """What tells it from all others."""
        return self.request, self.number


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
    """

    fragment: str
    pilot: str
    error: float
    circuits: int
    shots: int
    device_s: float


@dataclass(frozen=True)
class Binding:
    """Parts of fragments bound to devices.

    Parameters
    ----------
    pilots
        Name of the device's pilot for each part.
    shares
        What each device runs of each fragment, fragments in order, then devices.
    """

    pilots: Mapping[Place, str]
    shares: tuple[Share, ...]

    @property
    def makespan_s(self) -> float:
        """Predicted seconds until the last device has done its parts."""
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


def bind(
    parts: Sequence[Part],
    labels: Sequence[str],
    fits: Sequence[Mapping[str, DeviceFit]],
    tolerance: float = ERROR_TOLERANCE,
) -> Binding:
    """Return a device for every part.

    A device is *good enough* for a fragment if it can run it and its predicted error there is at
    most that of the best device plus `tolerance`. Parts are dealt to those, the longest first, each
    to the device that would be done with it first: the makespan is kept short within the
    tolerance. Ties go to the smaller error, then to the device that is described first.

    Parameters
    ----------
    parts
        What is to be bound.
    labels
        Of the fragment of each request.
    fits
        For each request how well its fragment does on each device, by name of the pilot.
    tolerance
        As above; 0 takes the best device for everything.

    Raises
    ------
    CutError
        If no device can run a fragment, with a line for each such fragment.

    Examples
    --------
    >>> errors = {"good": 0.01, "fair": 0.02, "bad": 0.2}
    >>> fits = {pilot: DeviceFit(error, 1e-4) for pilot, error in errors.items()}
    >>> parts = [Part(0, number, circuits=4, shots=4000) for number in range(4)]
    >>> [*bind(parts, ["A"], [fits]).pilots.values()]
    ['good', 'fair', 'good', 'fair']
    """
    chosen = [_good_enough(one, tolerance) for one in fits]
    lacking = [k for k in sorted({part.request for part in parts}) if not chosen[k]]
    if lacking:
        raise CutError([*dict.fromkeys(_nowhere(labels[k], fits[k]) for k in lacking)])
    order = {name: k for k, name in enumerate(dict.fromkeys(n for one in fits for n in one))}
    ends = dict.fromkeys(order, 0.0)
    pilots: dict[Place, str] = {}
    for part in sorted(parts, key=lambda p: (-_least_s(p, chosen[p.request]), p.place)):
        some = chosen[part.request]
        name = min(
            some,
            key=lambda n: (ends[n] + part.shots * some[n].shot_s, some[n].error, order[n]),
        )
        ends[name] += part.shots * some[name].shot_s
        pilots[part.place] = name
    in_order = {part.place: pilots[part.place] for part in parts}
    return Binding(in_order, _shares(parts, labels, fits, in_order, order))


def _good_enough(fits: Mapping[str, DeviceFit], tolerance: float) -> dict[str, DeviceFit]:
    able = {name: fit for name, fit in fits.items() if not fit.lack}
    best = min((fit.error for fit in able.values()), default=0.0)
    return {name: fit for name, fit in able.items() if fit.error <= best + tolerance}


def _least_s(part: Part, fits: Mapping[str, DeviceFit]) -> float:
    return part.shots * min(fit.shot_s for fit in fits.values())


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
    parts: Sequence[Part],
    labels: Sequence[str],
    fits: Sequence[Mapping[str, DeviceFit]],
    pilots: Mapping[Place, str],
    order: Mapping[str, int],
) -> tuple[Share, ...]:
    found: dict[tuple[str, str], Share] = {}
    for part in parts:
        name, label = pilots[part.place], labels[part.request]
        fit = fits[part.request][name]
        old = found.get((label, name)) or Share(label, name, fit.error, 0, 0, 0.0)
        found[label, name] = Share(
            label,
            name,
            fit.error,
            old.circuits + part.circuits,
            old.shots + part.shots,
            old.device_s + part.shots * fit.shot_s,
        )
    places = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    return tuple(sorted(found.values(), key=lambda s: (places[s.fragment], order[s.pilot])))
