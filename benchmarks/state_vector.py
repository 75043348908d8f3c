"""One state vector over MPI ranks against one rank and PennyLane's lightning.qubit.

Two strongly entangling layers (motif B.2), the mean of ZZ over neighbours on a ring: its value,
and its value with the gradient by all angles, by `DistributedStatevector` without MPI, on 2 ranks
of `mpiexec`, and by lightning.qubit with its adjoint method. One thread a process. Each number is
of a process of its own, in turns; the second of two runs there counts. "memory" is the peak of
the rank with the most, above what it had with everything imported. "off" is the largest
difference from the last line's value and gradient. "by CPU" compares CPU seconds, of the rank with
most, which other work on the machine disturbs less; a rank that waits in MPI takes CPU time too.

    python benchmarks/state_vector.py [--qubits 20 22 24] [--ranks 1 2] [--rounds 3]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=int, nargs="+", default=[20, 22, 24])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="processes for each number")
    parser.add_argument("--no-lightning", action="store_true", help="leave lightning.qubit out")
    parser.add_argument("--on-rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.on_rank:
        qubits = options.qubits[0]
        told = lightning(qubits) if options.on_rank == "lightning" else ours(qubits)
        if told:
            print(json.dumps(told))
        return
    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"{'':12} {'who':>10} {'value s':>20} {'gradient s':>20} {'memory MiB':>11} {'off':>9}")
    for qubits in options.qubits:
        table(qubits, options)


def table(qubits: int, options: argparse.Namespace) -> None:
    """Print the lines of one width."""
    who = [str(ranks) for ranks in options.ranks]
    who += [] if options.no_lightning else ["lightning"]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in who}
    for _ in range(options.rounds):
        for name in who:
            found[name].append(started(name, qubits))
    reference = found[who[-1]][0]
    for name in who:
        runs = found[name]
        off = max(differences(run, reference) for run in runs)
        label = name if name == "lightning" else f"{name} rank{'s' * (name != '1')}"
        print(
            f"{qubits:>5} qubits {label:>10} {spread(runs, 'value_s'):>20} "
            f"{spread(runs, 'gradient_s'):>20} {max(r['peak_mib'] for r in runs):11.0f} {off:9.1e}"
        )
    for name in who[1:]:
        ratios = {
            key: statistics.median(
                one[key] / other[key] for one, other in zip(found[who[0]], found[name], strict=True)
            )
            for key in ("value_s", "gradient_s", "value_cpu_s", "gradient_cpu_s")
        }
        label = name if name == "lightning" else f"{name} ranks"
        print(
            f"{'':12} {label} beside {who[0]} rank: value {ratios['value_s']:.2f}, gradient "
            f"{ratios['gradient_s']:.2f} times as fast; by CPU {ratios['value_cpu_s']:.2f}, "
            f"{ratios['gradient_cpu_s']:.2f}"
        )


def started(name: str, qubits: int) -> dict[str, Any]:
    """Run one measurement in a process, or in ranks, of its own."""
    command = [sys.executable, "-m", "mpi4py", __file__, "--qubits", str(qubits)]
    if name == "lightning":
        command = [sys.executable, __file__, "--qubits", str(qubits), "--on-rank", "lightning"]
    else:
        command += ["--on-rank", "ours"]
    if name not in ("1", "lightning"):
        beside = Path(sys.executable).with_name("mpiexec")
        mpiexec = str(beside) if beside.exists() else str(shutil.which("mpiexec"))
        command = [mpiexec, "-n", name, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def ours(qubits: int) -> dict[str, Any] | None:
    """Measure on all ranks of this start; rank 0 tells."""
    from mpi4py import MPI

    from pilotcut import DistributedStatevector
    from pilotcut.study.motifs.state_vector import entangling_layers, neighbours

    comm = MPI.COMM_WORLD
    circuit, observable, values = entangling_layers(qubits, 2), neighbours(qubits), angles(qubits)
    before = resident_mib()
    state = DistributedStatevector(circuit, comm if comm.Get_size() > 1 else None)
    value_s, _ = twice(lambda: state.expectations(observable, values), comm.Barrier)
    gradient_s, (value, slopes) = twice(
        lambda: state.values_and_gradients(observable, values), comm.Barrier
    )
    cpu = [comm.allreduce(seconds[1], MPI.MAX) for seconds in (value_s, gradient_s)]
    peak = comm.allreduce(peak_mib() - before, MPI.MAX)
    if comm.Get_rank():
        return None
    return {
        "value_s": value_s[0],
        "gradient_s": gradient_s[0],
        "value_cpu_s": float(cpu[0]),
        "gradient_cpu_s": float(cpu[1]),
        "peak_mib": peak,
        "value": float(value[0, 0]),
        "slopes": slopes[0, 0].tolist(),
        "sent": state.plan.volume,
    }


def lightning(qubits: int) -> dict[str, Any]:
    """Measure PennyLane's simulator in C++."""
    import pennylane as qml
    from pennylane import numpy as pnp

    device = qml.device("lightning.qubit", wires=qubits)
    pairs = [qml.PauliZ(k) @ qml.PauliZ((k + 1) % qubits) for k in range(qubits)]
    observable = qml.Hamiltonian([1 / qubits] * qubits, pairs)

    @qml.qnode(device, diff_method="adjoint")
    def circuit(weights: Any) -> Any:
        qml.StronglyEntanglingLayers(weights, wires=range(qubits))
        return qml.expval(observable)

    weights = pnp.array(angles(qubits).reshape(2, qubits, 3), requires_grad=True)
    before = resident_mib()
    # With weights that want a gradient, PennyLane would take it along.
    fixed = pnp.array(weights, requires_grad=False)
    value_s, value = twice(lambda: circuit(fixed))
    gradient_s, slopes = twice(lambda: qml.grad(circuit)(weights))
    return {
        "value_s": value_s[0],
        "gradient_s": gradient_s[0],
        "value_cpu_s": value_s[1],
        "gradient_cpu_s": gradient_s[1],
        "peak_mib": peak_mib() - before,
        "value": float(value),
        "slopes": np.asarray(slopes).reshape(-1).tolist(),
    }


def angles(qubits: int) -> np.ndarray:
    """Return the same angles for all."""
    return np.random.default_rng(7).uniform(0, 2 * np.pi, 6 * qubits)


def twice(
    work: Callable[[], Any], before: Callable[[], Any] = lambda: None
) -> tuple[tuple[float, float], Any]:
    """Return wall and CPU seconds of the second run, and what it returned."""
    work()
    before()
    began, used = time.perf_counter(), time.process_time()
    found = work()
    used = time.process_time() - used
    before()
    return (time.perf_counter() - began, used), found


def differences(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return how far two values and gradients are apart."""
    slopes = np.abs(np.array(one["slopes"]) - other["slopes"]).max()
    return max(abs(one["value"] - other["value"]), float(slopes))


def spread(runs: list[dict[str, Any]], key: str) -> str:
    """Return median (min-max) of seconds."""
    seconds = [run[key] for run in runs]
    return f"{statistics.median(seconds):.3g} ({min(seconds):.3g}-{max(seconds):.3g})"


def resident_mib() -> float:
    """Return what this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib() -> float:
    """Return the most that this process had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
