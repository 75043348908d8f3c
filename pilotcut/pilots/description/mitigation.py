"""Mitigation: what is asked to be done about the errors of devices, and what is a fault in that.

Owns the options and their texts. How errors are taken out is known to
`pilotcut.backends.mitigated`, and when to `pilotcut.execution.mitigating`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pilotcut.errors import UserError
from pilotcut.options import AUTO, MOST_SHOTS, check, check_kind, choice_fault, whole_fault

#: What is done about the errors of devices, see `Mitigation`.
MITIGATIONS = ("none", "readout", "zne", "readout+zne", "pec", "pec+readout", AUTO)


@dataclass(frozen=True)
class Mitigation:
    """What is done about the errors of devices, fragment by fragment.

    Parameters
    ----------
    method
        One of `MITIGATIONS`: readout errors, extrapolation to gates without noise, both,
        probabilistic cancellation of gates' noise that is known, that with readout errors, or
        "auto": readout, and extrapolation where the predicted bias exceeds what that adds to the
        shot noise.
    factors
        Noise factors of the extrapolation: odd, ascending from 1. Of two, the further the second
        the less shots it takes, and the less a straight line fits.
    calibration
        "measured": circuits find out how each qubit reads. "target": what the device reports.
    calibration_shots
        Of each of the two circuits that do, for each fragment on each device.
    samples
        Circuits that cancellation draws for a subexperiment, at most.
    """

    method: str = AUTO
    factors: tuple[int, ...] = (1, 5)
    calibration: str = "measured"
    calibration_shots: int = 10_000
    samples: int = 100

    @property
    def does(self) -> bool:
        """Whether it does anything."""
        return self.method != "none"

    @property
    def reads(self) -> bool:
        """Whether readout errors are taken out."""
        return "readout" in self.method or self.method == AUTO

    @property
    def shots(self) -> int:
        """Shots of each circuit that calibrates, 0 where none does."""
        return self.calibration_shots if self.calibration == "measured" else 0

    @property
    def extrapolates(self) -> bool:
        """Whether it extrapolates, in any case."""
        return "zne" in self.method

    @property
    def cancels(self) -> bool:
        """Whether it cancels the noise of gates."""
        return "pec" in self.method

    @property
    def faults(self) -> list[str]:
        """Lines about what makes no sense."""
        some = self.factors if isinstance(self.factors, tuple) else ()
        odd = all(not whole_fault("", f, 1, 99) and f % 2 for f in some)
        fits = odd and len(some) > 1 and some[0] == 1 and sorted({*some}) == [*some]
        expected = "expected odd numbers from 1 up; 1,5 is usual"
        line = f"mitigation's factors is {self.factors!r}, {expected}"
        found = [
            choice_fault("mitigation", self.method, MITIGATIONS),
            "" if fits else line,
            choice_fault("mitigation's calibration", self.calibration, ("measured", "target")),
            whole_fault(
                "mitigation's calibration_shots",
                self.calibration_shots,
                100,
                MOST_SHOTS,
                "10000 is usual",
            ),
            whole_fault("mitigation's samples", self.samples, 2, MOST_SHOTS, "100 is usual"),
        ]
        return [fault for fault in found if fault]


def checked_mitigation(value: object, mode: str = "counts") -> Mitigation | None:
    """Return what a value of `mitigation` asks for; None leaves it to descriptions of devices.

    Parameters
    ----------
    value
        None, one of `MITIGATIONS`, that with options behind it, a mapping with "method" and
        options, or a `Mitigation`.
    mode
        Of the estimator; those without noise have nothing to mitigate.

    Examples
    --------
    >>> checked_mitigation("zne+readout factors=1,3 calibration_shots=5000")
    Mitigation(method='readout+zne', factors=(1, 3), calibration='measured', \
    calibration_shots=5000, samples=100)
    >>> checked_mitigation("redout")
    Traceback (most recent call last):
    pilotcut.errors.UserError: mitigation is 'redout', expected one of none, readout, zne, \
    readout+zne, pec, pec+readout, auto; did you mean 'readout'?
    """
    if value is None:
        return None
    found = _mitigation_of(value)
    check(*found.faults)
    if not found.does or (found.method == AUTO and mode != "counts"):
        return found
    if mode != "counts":
        raise UserError(
            f"mitigation is '{found.method}' with mode='{mode}', expected none: it has no noise; "
            f"leave mitigation out, or use mode='counts' on pilots with a backend.qpu"
        )
    return found


def _mitigation_of(value: object) -> Mitigation:
    if isinstance(value, Mitigation):
        return value
    if isinstance(value, str):
        method, *options = value.split() or [""]
        given = {k: _option_of(k, v) for k, _, v in (one.partition("=") for one in options)}
        in_order = "+".join(sorted(method.split("+")))  # "zne+readout" is said as often
        return _mitigation_of({"method": in_order, **given})
    known = [one.name for one in fields(Mitigation)]
    check_kind("mitigation", value, Mapping, f"one of {', '.join(MITIGATIONS)}, or a mapping")
    asked: dict[str, Any] = dict(value)  # type: ignore[call-overload]
    check(*(choice_fault("an option of mitigation", name, known) for name in asked))
    if isinstance(asked.get("factors"), list):
        asked["factors"] = tuple(asked["factors"])
    return Mitigation(**asked)


def _option_of(name: str, text: str) -> Any:
    """Return an option's value from its text; what is no number is left to those who check."""
    numbers = [int(part) if part.isdecimal() else part for part in text.split(",")]
    return tuple(numbers) if name == "factors" else numbers[0]


def mitigation_faults(value: object, mode: str = "counts") -> list[str]:
    """Return the lines about what makes no sense, see `checked_mitigation`."""
    try:
        checked_mitigation(value, mode)
    except UserError as error:
        return [*error.faults]
    return []
