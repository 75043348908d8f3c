"""Error mitigation on fragments: plain at N shots a value beside mitigated at 5 N, on fake devices.

The network of `pilotcut train` (ZFeatureMap, RealAmplitudes with one repetition, Z on all qubits),
at random angles, cut once, on devices that Aer plays with the noise of their targets. Errors are
root mean squares against the ideal values, over all sets of angles. A value's shots are those of
all its subexperiments; calibrations are shared by a seed's values and charged to each in full.
"auto" decides by itself whether it extrapolates. "pec" cancels noise that is known exactly, which
is so on simulated devices alone, with readout beside it; "z pec" is its error over what it claims.
Uncut is the whole
circuit, nan where the device has no room for it. The ratio is plain at N over auto at 5 N, with the
standard error of a bootstrap over values; "low" is it less two of these. "/readout" is readout
alone at 5 N over auto at 5 N.

    python benchmarks/mitigation.py [--devices FakeManilaV2 ...] [--shots 200000] [--seeds 4]
                                    [--rows 24] [--case "4 qubits, 1 cut" ...]
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import qiskit_aer
import qiskit_ibm_runtime

from pilotcut import CutEstimator, PilotManager, TaskManager, compile_plan
from pilotcut.errors import CutError
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.model import Model, classifier

DEVICES = (
    "FakeManilaV2",
    "FakeLimaV2",
    "FakeGuadalupeV2",
    "FakeTorino",
    "FakeFez",
    "FakeSherbrooke",
)

#: Qubits and labels of each case.
CASES = {
    "4 qubits, 1 cut": (4, "AABB"),
    "4 qubits, 2 cuts": (4, "AABC"),
    "8 qubits, 1 cut": (8, "AAAABBBB"),
}

#: What is mitigated, and the share of 5 N, or of N where it is plain.
WAYS = {
    "uncut": (None, 1),
    "plain": (None, 1),
    "plain 5N": (None, 5),
    "readout": ("readout", 5),
    "both": ("readout+zne", 5),
    "auto": ("auto", 5),
    "pec": ("pec+readout", 5),
}


@dataclass(frozen=True)
class Found:
    """Differences from the ideal values, their claimed errors, and what was done."""

    off: np.ndarray
    spread: np.ndarray
    factors: set[tuple[int, ...]]


def main() -> None:
    """Print one line for each device and case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", nargs="+", default=DEVICES)
    parser.add_argument("--case", nargs="+", choices=CASES, default=["4 qubits, 1 cut"])
    parser.add_argument("--shots", type=int, default=200_000, help="of a plain value: N")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=24, help="sets of angles of a seed")
    options = parser.parse_args()
    print(
        f"N {options.shots:,}, {options.seeds} seeds of {options.rows} sets of angles, "
        f"qiskit-aer {qiskit_aer.__version__}, qiskit-ibm-runtime "
        f"{qiskit_ibm_runtime.__version__}, Python {platform.python_version()}\n"
        "root mean square errors x 10^4; 'z' is auto's over the standard errors that it claims"
    )
    columns = "".join(f"{way:>10}" for way in WAYS)
    print(
        f"{'device':>16}{columns}{'ratio':>7}{'+-':>5}{'low':>6}{'/readout':>10}{'z':>6}"
        "  z pec  factors"
    )
    for case in options.case:
        print(case)
        for device in options.devices:
            line(device, *CASES[case], options)


def line(device: str, qubits: int, labels: str, options: argparse.Namespace) -> None:
    """Measure one device, and print it."""
    started = perf_counter()
    model = classifier(qubits)
    pilot = PilotDescription(
        name="device", resource="inprocess", backend={"kind": "aer", "qpu": {"like": device}}
    )
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        found = {
            way: joined([measured(way, model, labels, tasks, seed, options) for seed in seeds])
            for seeds in [range(options.seeds)]
            for way in WAYS
        }
    errors = {way: rms(one.off) for way, one in found.items()}
    cells = "".join(f"{1e4 * errors[way]:10.1f}" for way in WAYS)
    ratio, spread = ratio_of(found["plain"].off, found["auto"].off)
    z, z_pec = (rms(found[way].off / found[way].spread) for way in ("auto", "pec"))
    factors = " ".join("/".join(map(str, some)) for some in sorted(found["auto"].factors))
    print(
        f"{device:>16}{cells}{ratio:7.2f}{spread:5.2f}{ratio - 2 * spread:6.2f}"
        f"{errors['readout'] / errors['auto']:10.2f}{z:6.2f}{z_pec:7.2f}  {factors}"
        f"  ({perf_counter() - started:.0f} s)",
        flush=True,
    )


def measured(
    way: str,
    model: Model,
    labels: str,
    tasks: TaskManager,
    seed: int,
    options: argparse.Namespace,
) -> Found:
    """Return what one estimator makes of random angles, calibrated once."""
    circuit, observable = model.circuit, model.observable
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-np.pi, np.pi, (options.rows, circuit.num_parameters))
    exact = CutEstimator(mode="exact").run([(circuit, observable, angles)]).result()[0].data.evs
    cut = "A" * circuit.num_qubits if way == "uncut" else labels
    nothing = np.full(len(exact), np.nan)
    mitigation, times = WAYS[way]
    fragments = compile_plan(circuit, observable, labels=cut).fragments
    calibration = 2 * 10_000 * len(fragments) if mitigation else 0
    subexperiments = sum(fragment.num_subexperiments for fragment in fragments)
    asked: dict[str, Any] = {"mitigation": mitigation, "seed": seed}
    shots = (times * options.shots - calibration) // subexperiments
    estimator = CutEstimator(tasks, labels=cut, shots=shots, **asked)
    try:
        result = estimator.run([(circuit, observable, angles)]).result()[0]
    except CutError:  # the device is too small
        return Found(nothing, nothing, set())
    done = result.metadata.get("mitigation", ())
    factors = {tuple(one["factors"]) for one in done}
    return Found(result.data.evs - exact, result.data.stds, factors)


def joined(parts: list[Found]) -> Found:
    """Return the values of all seeds together."""
    return Found(
        np.concatenate([part.off for part in parts]),
        np.concatenate([part.spread for part in parts]),
        set().union(*(part.factors for part in parts)),
    )


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt((values**2).mean()))


def ratio_of(plain: np.ndarray, mitigated: np.ndarray) -> tuple[float, float]:
    """Return how many times as large the first errors are, and its standard error."""
    drawn = np.random.default_rng(0).integers(len(plain), size=(4000, len(plain)))
    each = np.sqrt((plain[drawn] ** 2).mean(axis=1) / (mitigated[drawn] ** 2).mean(axis=1))
    return rms(plain) / rms(mitigated), float(each.std())


if __name__ == "__main__":
    main()
