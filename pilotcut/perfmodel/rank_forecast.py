"""Forecast of an uncut circuit as one state over the ranks of an MPI pilot.

It is beside the lines of a recommendation, not one of them: an estimator does not run it,
`pilotcut.DistributedStatevector` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import floor, log2
from pathlib import Path
from typing import Any

from qiskit.quantum_info import PauliList

from pilotcut.backends.distributed.demand import (
    MEASURED_QUBITS,
    RankRates,
    demand_of,
    measured_rates,
)
from pilotcut.circuits.program import Program
from pilotcut.errors import CutError, UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.options import counted
from pilotcut.perfmodel import resources
from pilotcut.perfmodel.calibration import key_of
from pilotcut.perfmodel.calibration_files import directory
from pilotcut.perfmodel.measure import tasks_alone
from pilotcut.perfmodel.resources import readable_bytes
from pilotcut.pilots.description import PilotDescription

#: Of two ranks on two cores (Xeon, 2 MiB of L2 each), where a pilot was not measured itself.
USUAL_RATES = RankRates(block_s=9e-9, undo_s=2.5e-8, string_s=2.2e-8, byte_s=4e-10)


@dataclass(frozen=True)
class RankForecast:
    """What an uncut circuit takes over a pilot's ranks.

    Parameters
    ----------
    pilot, ranks
        Where; so many ranks of it are used, a power of two.
    widest
        Most qubits whose state fits the ranks' memory; None where nobody says how much they have.
    memory_bytes
        Of one rank.
    seconds
        Of one parameter set, with derivatives where they are wanted.
    volume
        What a rank sends, as a multiple of its part of the state.
    is_measured
        Whether the rates are this pilot's own.
    lack
        Why it cannot run, None if it can.
    """

    pilot: str
    ranks: int
    widest: int | None
    memory_bytes: float
    seconds: float
    volume: float
    is_measured: bool
    lack: str | None = None

    def __str__(self) -> str:
        where = f"uncut on {counted(self.ranks, 'rank')} of '{self.pilot}'"
        widest = "" if self.widest is None else f"; up to {counted(self.widest, 'qubit')} fit"
        if self.lack is not None:
            return f"{where}: {self.lack}{widest}"
        rates = "measured" if self.is_measured else "usual"
        return (
            f"{where} (DistributedStatevector): {readable_bytes(self.memory_bytes)} a rank, about "
            f"{self.seconds:.2g} s a parameter set at {rates} rates, {self.volume:.3g} of each "
            f"part sent{widest}"
        )


def rank_forecasts(
    program: Program, terms: PauliList, pilots: Iterable[PilotDescription], gradients: bool
) -> tuple[RankForecast, ...]:
    """Return a forecast for each pilot that has ranks; none for circuits without a state vector."""
    found = []
    for pilot in pilots:
        if pilot.ranks < 2:
            continue
        try:
            found.append(_forecast(program, terms, pilot, gradients))
        except CutError:  # it measures in mid-circuit
            return ()
    return tuple(found)


def _forecast(
    program: Program, terms: PauliList, pilot: PilotDescription, gradients: bool
) -> RankForecast:
    whole = 1 << pilot.ranks.bit_length() - 1
    # Two qubits at least are local.
    ranks = min(whole, 1 << max(0, program.num_qubits - 2))
    demand = demand_of(program, terms, ranks)
    rates = known_rates(pilot)
    needed = demand.memory_bytes(gradients)
    room = resources.described(pilot).slot_bytes
    widest = None
    if room is not None:
        an_amplitude = needed / demand.amplitudes
        widest = floor(log2(max(1.0, room / an_amplitude))) + ranks.bit_length() - 1
    lack = None
    if ranks < whole or whole < pilot.ranks:
        lack = f"of {pilot.ranks} ranks so many would be used, expected a pilot of just these"
    if room is not None and needed > room:
        lack = f"needs {readable_bytes(needed)} on each, which has {readable_bytes(room)}"
    return RankForecast(
        pilot.kind,
        ranks,
        widest,
        needed,
        demand.seconds(rates or USUAL_RATES, gradients),
        demand.volume,
        rates is not None,
        lack,
    )


# -- rates -------------------------------------------------------------------------------


def measure_rates(pilot: PilotDescription, qubits: int = MEASURED_QUBITS) -> RankRates:
    """Measure the ranks of a pilot, which is started and ended, and keep the result."""
    with tasks_alone(pilot) as tasks:
        rates: RankRates = tasks.submit_task(measured_rates, qubits, ranks=pilot.ranks).result()
    path = _path_of(pilot)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(rates)).encode())
    return rates


def known_rates(pilot: PilotDescription) -> RankRates | None:
    """Return what was measured of such a pilot, None where nothing was.

    Raises
    ------
    UserError
        If its file makes no sense.
    """
    path = _path_of(pilot)
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rates = RankRates(**{name: float(value) for name, value in data.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"rates {path} cannot be read ({type(error).__name__}: {error}), expected what "
            f"pilotcut calibrate writes; remove it and calibrate again"
        ) from error
    return rates


def _path_of(pilot: PilotDescription) -> Path:
    return directory() / f"{pilot.kind}-{key_of(pilot)}-{pilot.ranks}-ranks.json"
