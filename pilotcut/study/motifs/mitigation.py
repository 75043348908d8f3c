"""Motif B.4: values without noise, from the same circuits with more of it, on a fleet of devices.

A circuit that no device is wide enough for is cut. Each of its variants runs at several noise
factors, gates done, undone and redone, on whichever device the middleware has dealt it to; a
straight line through the factors says what there were without noise. That noise is no straight line
is in the error bars: the scatter of shots alone would promise too much.

References
----------
Temme et al., arXiv:1612.02058; Giurgica-Tiron et al., arXiv:2005.10921: extrapolation to no noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any

import numpy as np
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import DataBin
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator
from pilotcut.pilots.description import BackendDescription, PilotDescription
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.study.motifs.answer import Answer
from pilotcut.study.motifs.variational import halves
from pilotcut.tasks import TaskManager

RIGHT = "nine of ten values within two of their error bars, and half the error at most"
SMALL: dict[str, Any] = {"qubits": 6, "rows": 8, "shots": 32768}
LARGE: dict[str, Any] = {"qubits": 12, "rows": 16, "shots": 262144}

#: What it takes where nobody says which: devices that Aer plays, none like the others.
PILOTS = tuple(
    PilotDescription(
        name=f"qpu-{number}",
        resource="local",
        cores_per_node=1,
        backend=BackendDescription(
            qpu=QpuDescription(
                qubits=6,
                infidelity_1q=0.001,
                infidelity_2q=infidelity,
                t1_us=100.0,
                t2_us=80.0,
                readout_error=readout,
            )
        ),
    )
    for number, infidelity, readout in ((1, 0.010, 0.02), (2, 0.015, 0.01), (3, 0.020, 0.03))
)

#: Noise factors; gates are done, undone and redone for the second.
FACTORS = (1, 3)
#: Shots that say how qubits read: their error does not fall with the shots of values.
CALIBRATION_SHOTS = 200_000


def error_bars(line: DataBin, read: DataBin) -> np.ndarray:
    """Return error bars of what a line says, which know that noise is none.

    Parameters
    ----------
    line, read
        Values by the line, and at the first factor alone.

    Notes
    -----
    Values v fall as v exp(-e x) at factor x, at first as v (1 - e x), which gives e. Where a line
    through 1 and x meets 0, the next term, v (e x)^2 / 2, is v e^2 x / 2. It is one number for all
    values: which of them it meets depends on what noise each one sees.
    """
    fall = float(((line.evs - read.evs) * line.evs).sum() / (line.evs**2).sum())
    bent = fall**2 * FACTORS[1] / 2 * np.sqrt((line.evs**2).mean())
    return np.sqrt(line.stds**2 + bent**2)


def time_shares(estimators: Iterable[CutEstimator]) -> dict[str, float]:
    """Return seconds: of devices as they are played and as predicted, and of all that is classical.

    Predictions are of circuits without folding and of shots without calibrations.
    """
    records = [record for estimator in estimators for record in estimator.trace.records]
    batches = [record for record in records if record["kind"] == "query_batch"]
    compiling = [record["partition_s"] for record in records if record["kind"] == "compile"]
    here = [b["stage_seconds"][stage] for b in batches for stage in ("generate", "reconstruct")]
    return {
        "quantum_s": sum(batch["worker_s"] for batch in batches),
        "devices_s": sum(share["device_s"] for batch in batches for share in batch["devices"]),
        "classical_s": sum(compiling) + sum(here),
    }


def run(tasks: TaskManager, *, qubits: int, rows: int, shots: int) -> Answer:
    """Estimate Z and ZZ of neighbours at random angles, as they are read and mitigated."""
    circuit = real_amplitudes(qubits, reps=1, entanglement="linear")
    labels = [("Z", [k]) for k in range(qubits)] + [("ZZ", [k, k + 1]) for k in range(qubits - 1)]
    terms = [[SparsePauliOp.from_sparse_list([(*one, 1.0)], num_qubits=qubits)] for one in labels]
    angles = np.random.default_rng(7).uniform(-1, 1, size=(rows, circuit.num_parameters))
    pub = (circuit, terms, angles)
    exact = CutEstimator(mode="exact").run([pub]).result()[0].data.evs
    ways: dict[str, Any] = {
        "plain": "none",
        "read": {"method": "readout", "calibration_shots": CALIBRATION_SHOTS},
        "line": {
            "method": "readout+zne",
            "factors": FACTORS,
            "calibration_shots": CALIBRATION_SHOTS,
        },
    }
    estimators = {
        way: CutEstimator(
            tasks, labels=halves(qubits), shots=shots, seed=number, mitigation=asked,
            error_tolerance=1.0,  # any device will do: what it does wrong is taken out
        )
        for number, (way, asked) in enumerate(ways.items())
    }  # fmt: skip
    began = monotonic()
    found = {way: estimator.run([pub]).result()[0].data for way, estimator in estimators.items()}
    seconds = monotonic() - began
    bars = error_bars(found["line"], found["read"])
    off = {way: float(np.sqrt(((data.evs - exact) ** 2).mean())) for way, data in found.items()}
    miss = np.abs(found["line"].evs - exact) / bars
    within = [float((miss < sigmas).mean()) for sigmas in (1, 2)]
    spent = time_shares(estimators.values())
    devices = sum(pilot.description.backend.qpu is not None for pilot in tasks.pilots.pilots)
    return Answer(
        f"{exact.size} values of {qubits} qubits on {devices} devices: off by {off['plain']:.4f}, "
        f"{off['read']:.4f} with readout mitigated, {off['line']:.4f} with noise extrapolated too, "
        f"with error bars of {bars.mean():.4f}: {within[0]:.0%} within one of them, "
        f"{within[1]:.0%} within two; {seconds:.1f} s, of which {spent['classical_s']:.1f} s were "
        f"classical, beside {spent['quantum_s']:.1f} s of devices, as Aer plays them "
        f"({spent['devices_s']:.0f} s of real ones)",
        within[1] >= 0.9 and off["line"] < off["plain"] / 2,
        {
            "off": off,
            "within": within,
            "seconds": seconds,
            **spent,
            "exact": exact.ravel().tolist(),
            "bars": bars.ravel().tolist(),
            **{way: data.evs.ravel().tolist() for way, data in found.items()},
        },
    )
