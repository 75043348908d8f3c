"""Fragments on a device with its errors taken out as far as that is known.

Each fragment's estimates are mitigated before anything is contracted: readout by weights of bits,
gates by extrapolation over noise factors, or by circuits with signs that cancel their noise.
Refuses to know who decides what is done, and how readouts are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pilotcut.backends.base import Measurement, Shots
from pilotcut.backends.extrapolation import combined, dealt, linear
from pilotcut.backends.job_usage import metered
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.readout import Readout
from pilotcut.cutting.fragment import Fragment


@dataclass(frozen=True)
class Correction:
    """What is done about the errors of one fragment on one device.

    Parameters
    ----------
    readout
        How the qubits read that it measures, None to take bits as they are.
    factors
        Noise factors, the first 1; (1,) without extrapolation.
    samples
        Circuits that are drawn for a subexperiment at most to cancel the noise of gates; 0 to
        leave that alone.
    """

    readout: Readout | None = None
    factors: tuple[int, ...] = (1,)
    samples: int = 0

    @property
    def coefficients(self) -> np.ndarray:
        """Of each noise factor, (factors,)."""
        return np.ones(1) if len(self.factors) == 1 else linear(self.factors)

    def run(
        self,
        devices: Sequence[QpuBackend],
        fragment: Fragment,
        angles: np.ndarray,
        part: slice,
        shots: Shots,
        seed: int,
    ) -> Measurement:
        """Run a part of a fragment's subexperiments; arguments as `Backend.run`.

        Parameters
        ----------
        devices
            The device at each noise factor.
        shots
            Of all factors together.
        """
        if self.samples:
            assert self.factors == (1,)
            asked = (fragment, angles, part, shots, seed, self.readout, self.samples)
            with metered() as meter:
                whole = devices[0].run_cancelled(*asked)
            return replace(whole, usage=meter.usage)
        size = (len(angles), part.stop - part.start)
        each = dealt(np.broadcast_to(shots, size).astype(int), self.coefficients)
        readout = self.readout
        if readout is not None:
            # All factors share the readout's errors, which add up with the coefficients and not
            # with their squares.
            share = np.sqrt((self.coefficients**2).sum())
            readout = replace(readout, errors=readout.errors / share)
        with metered() as meter:  # one for all: what is paid for in part is not left alone
            found = [
                device.run_read(fragment, angles, part, n, _seed(seed, factor), readout)
                for device, factor, n in zip(devices, self.factors, each, strict=True)
            ]
        whole = found[0] if len(found) == 1 else combined(found, each, self.coefficients)
        return replace(whole, usage=meter.usage)


def _seed(seed: int, factor: int) -> int:
    # Neighbouring seeds gave nearly the same trajectories, see `pilotcut.backends.aer`.
    child = np.random.SeedSequence(seed, spawn_key=(factor,))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
