"""Records of devices in batches: which ran what, and what moved to another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pilotcut.report.numbers import number_in


@dataclass(frozen=True)
class DeviceShare:
    """Share of one device in one fragment, over all batches.

    Parameters
    ----------
    fragment, pilot
        Label of the fragment, and name of the device's pilot.
    error
        Predicted error of the fragment's circuits there, of its last batch; NaN if unknown.
    circuits, shots, device_s
        How many, and predicted seconds of the device.
    """

    fragment: str
    pilot: str
    error: float
    circuits: float
    shots: float
    device_s: float


@dataclass(frozen=True)
class MovedParts:
    """Parts of a fragment that went to another device, for theirs had ended."""

    fragment: str
    start: str
    end: str
    parts: int


class DeviceRecords:
    """Collector of the devices in records of batches."""

    def __init__(self) -> None:
        self._shares: dict[tuple[str, str], DeviceShare] = {}
        self._moved: Counter[tuple[str, str, str]] = Counter()
        self._usage: Counter[str] = Counter()

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in the record of a batch, whatever it holds."""
        for share in _records(record.get("devices")):
            where = str(share.get("fragment", "?")), str(share.get("pilot", "?"))
            old = self._shares.get(where) or DeviceShare(*where, math.nan, 0.0, 0.0, 0.0)
            circuits, shots, device_s = (
                _or_0(share, name) for name in ("circuits", "shots", "device_s")
            )
            self._shares[where] = DeviceShare(
                *where,
                number_in(share, "error"),
                old.circuits + circuits,
                old.shots + shots,
                old.device_s + device_s,
            )
        for move in _records(record.get("moved")):
            fragment, start, end = (str(move.get(k, "?")) for k in ("fragment", "from", "to"))
            self._moved[fragment, start, end] += 1

        if isinstance(used := record.get("usage"), dict):
            for name in ("jobs", "shots", "device_s", "predicted_s", "cost"):
                self._usage[name] += _or_0(used, name)  # type: ignore[assignment]

    @property
    def usage(self) -> str:
        """What was used of devices that run circuits themselves, in words; "" without them."""
        used = self._usage
        if not used["shots"]:
            return ""
        told, predicted = float(used["device_s"]), float(used["predicted_s"])
        seconds = f"{told + predicted:.3g} s" + " (predicted)" * (predicted > told)
        price = f", cost {float(used['cost']):.4g}" if used["cost"] else ""
        return f"{seconds} in {int(used['jobs']):,} jobs of {int(used['shots']):,} shots{price}"

    @property
    def shares(self) -> tuple[DeviceShare, ...]:
        """What each device ran of each fragment, the fragments in order."""
        return tuple(self._shares[where] for where in sorted(self._shares))

    @property
    def moved(self) -> tuple[MovedParts, ...]:
        """What went elsewhere, the most first."""
        return tuple(MovedParts(*where, parts) for where, parts in self._moved.most_common())


def _records(found: object) -> Iterator[Mapping[str, Any]]:
    """Yield what are records in a list that may be anything."""
    yield from (one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def _or_0(record: Mapping[str, Any], name: str) -> float:
    value = number_in(record, name)
    return 0.0 if math.isnan(value) else value
