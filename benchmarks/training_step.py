"""One training step, forward, loss, backward and Adam, in one run with all competitors.

ZFeatureMap + RealAmplitudes(reps=1), <Z...Z>, batch 16 (or 1 where it says so), medians of
15 with min-max. Every column trains the same model from the same weights and must agree on
the loss to 1e-5, or its line says so. "Uncut" columns simulate the whole circuit: they are
there so that nobody is misled about when cutting wins.

    python benchmarks/training_step.py [--repeats 15] [--only 4 12 20 36 60] [--networks]
        [--statevectors] [--jax]

What is done once for a circuit is outside the clock of a step in every column: compiling and
cutting, quimb's search for a contraction path, torch's tracing, the first step (for quimb the
first four: torch optimises a traced function while it runs). It stands beside it, as "first", and
"1000" is the first step with 999 others. quimb runs the fastest of the four ways in
`tensor_network.py`; `--networks` measures the other three beside it, `--statevectors` ours by the
states of all branches, and `--jax` tensorcircuit-ng, compiled by JAX, in an environment of its own
that is made with pinned versions (`tensorcircuit_step.py`; minutes at 60 qubits).

PennyLane's backprop keeps every state of the batch, 22 GB at 20 qubits, so it stops at 12.
The addon's step is not run but computed from one measured query, and marked "est.": its
parameter shift needs 1 + 2p queries a sample (p weights).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
import torch
from addon_baseline import addon_query
from environments import HOME, python_with
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from tensor_network import BEST, WAYS

from pilotcut import cut_qnn
from pilotcut.training.model import Model, classifier

Step = Callable[[], float]

HERE = Path(__file__).resolve().parent

#: What tensorcircuit-ng runs with, and XLA's flags for one thread.
JAX = ("tensorcircuit-ng==1.10.0", "jax==0.10.2", "jaxlib==0.10.2", "optax==0.2.8", "numpy==2.4.6")
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

#: Steps after which torch has optimised a traced function.
WARM_UP = 3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", type=int, nargs="*", default=[4, 12, 20, 36, 60])
    parser.add_argument("--networks", action="store_true", help="quimb in all four ways")
    parser.add_argument("--statevectors", action="store_true", help="ours by branch states, too")
    parser.add_argument("--jax", action="store_true", help="tensorcircuit-ng with JAX, too")
    options = parser.parse_args()
    head = f"{'qubits':>6} {'cuts':>4} {'batch':>5}  {'column':34} {'ms':>10} {'min-max':>19}"
    print(f"{head} {'first':>7} {'1000':>7}  loss")
    # torch imports its compiler with the first optimizer: a second that is no column's.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    for qubits, cuts, batch in ((4, 3, 16), (12, 1, 16), (20, 1, 16), (36, 2, 1), (60, 4, 16)):
        if qubits in options.only:
            compare(qubits, cuts, batch, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak resident memory of this process: {peak:.2f} GiB")


def compare(qubits: int, cuts: int, batch: int, options: argparse.Namespace) -> None:
    """Measure every column at one size."""
    model = classifier(qubits)
    rng = np.random.default_rng(0)
    weights = rng.uniform(-1, 1, len(model.weights))
    x = torch.tensor(rng.uniform(0, 1.5, (batch, qubits)))
    y = torch.tensor(rng.choice([-1.0, 1.0], (batch, 1)))
    head = f"{qubits:6} {cuts:4} {batch:5}  "
    ours = None
    for name, (make, limit) in columns(cuts, options).items():
        if qubits > limit:
            continue
        started, runs = time.perf_counter(), options.repeats
        step = make(model, weights, x, y)  # builds, compiles, allocates
        loss = step()
        first_s = time.perf_counter() - started
        if qubits >= 20 and "uncut" in name and "quimb" not in name:
            runs = min(runs, 3)
        seconds = [timed(step) for _ in range(runs)]
        ours = loss if ours is None else ours
        agrees = (
            "" if abs(loss - ours) < 1e-5 or "shots" in name else f"  disagrees with {ours:.6f}"
        )
        print(head + line(name, first_s, seconds) + f"  {loss:.6f}{agrees}", flush=True)
    if options.jax:
        found = tensorcircuit(x, y, weights, options.repeats)
        text = line("tensorcircuit-ng, JAX jit, uncut", found["first_s"], found["seconds"])
        print(f"{head}{text}  {found['loss']:.6f}", flush=True)
    if qubits <= 4:
        addon_estimate(head, model, weights, x.numpy(), cuts)


def line(name: str, first_s: float, seconds: list[float]) -> str:
    """Format one column's times."""
    ms = [1e3 * s for s in seconds]
    thousand = first_s + 999 * statistics.median(seconds)
    spread = f"{min(ms):.2f}-{max(ms):.2f}"
    return f"{name:34} {statistics.median(ms):10.2f} {spread:>19} {first_s:7.2f} {thousand:7.1f}"


def tensorcircuit(
    x: torch.Tensor, y: torch.Tensor, weights: np.ndarray, repeats: int
) -> dict[str, Any]:
    """Return the times of tensorcircuit-ng's step, by the Python of its own environment."""
    case = {"inputs": x.tolist(), "targets": y[:, 0].tolist(), "weights": weights.tolist()}
    done = subprocess.run(
        [python_with(HOME / "pilotcut-jax", JAX), str(HERE / "tensorcircuit_step.py")],
        input=json.dumps(case | {"repeats": repeats}),
        env={**os.environ, "XLA_FLAGS": ONE_THREAD},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def timed(step: Step) -> float:
    """Return the seconds of one step."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def columns(cuts: int, options: argparse.Namespace) -> dict[str, tuple[Callable[..., Step], int]]:
    """Return what is compared: name -> (maker of a step, most qubits it is run with)."""
    others = [way for way in WAYS if options.networks and way != BEST]
    states = {f"pilotcut exact, {cuts} cuts, states": (cut_step(cuts, "exact", "statevector"), 60)}
    return {
        f"pilotcut exact, {cuts} cuts": (cut_step(cuts, "exact"), 60),
        **(states if options.statevectors else {}),
        f"pilotcut sampled 1024 shots, {cuts} cuts": (cut_step(cuts, "sampled"), 4),
        f"pilotcut counts 1024 shots, {cuts} cuts": (cut_step(cuts, "counts"), 4),
        "pilotcut exact, uncut": (cut_step(0, "exact"), 20),
        "PennyLane default.qubit, uncut": (pennylane_step("default.qubit", "backprop"), 12),
        "PennyLane lightning.qubit, uncut": (pennylane_step("lightning.qubit", "adjoint"), 20),
        "Qiskit ML + Aer EstimatorV2, uncut": (qiskit_step, 4),
        "quimb tensor network, uncut": (quimb_step(BEST), 60),
        **{f"quimb {way}, uncut": (quimb_step(way), 60) for way in others},
    }


def train_step(forward: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Step:
    """Return a step that always starts from the same weights."""
    optimizer = torch.optim.Adam(forward.parameters(), lr=1e-12)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(forward(x).reshape(y.shape), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def cut_step(cuts: int, mode: str, engine: str = "auto") -> Callable[..., Step]:
    """Return a maker of our step."""

    def make(model: Model, weights: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> Step:
        network = cut_qnn(
            model.circuit,
            model.observable,
            input_params=model.inputs,
            weight_params=model.weights,
            cuts=cuts,
            mode=mode,
            engine=engine,
            seed=1,
            initial_weights=weights,
        ).double()
        return train_step(network, x, y)

    return make


def pennylane_step(device: str, method: str) -> Callable[..., Step]:
    """Return a maker of PennyLane's step on the whole circuit, broadcast over the batch."""

    def make(model: Model, weights: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> Step:
        n = len(model.inputs)

        @qml.qnode(qml.device(device, wires=n), interface="torch", diff_method=method)
        def circuit(inputs: torch.Tensor, w: torch.Tensor) -> object:
            for _ in range(2):
                for q in range(n):
                    qml.Hadamard(q)
                    qml.PhaseShift(2 * inputs[:, q], q)
            for q in range(n):
                qml.RY(w[q], q)
            for q in reversed(range(n - 1)):
                qml.CNOT([q, q + 1])
            for q in range(n):
                qml.RY(w[n + q], q)
            return qml.expval(qml.prod(*(qml.PauliZ(q) for q in range(n))))

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weights = torch.nn.Parameter(torch.tensor(weights))

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                return circuit(inputs, self.weights)

        return train_step(Network(), x, y)

    return make


def qiskit_step(model: Model, weights: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> Step:
    """Return Qiskit ML's step with its parameter shift over Aer's exact EstimatorV2."""
    options = {"backend_options": {"max_parallel_threads": 1}, "run_options": {}}
    qnn = EstimatorQNN(
        circuit=model.circuit,
        estimator=AerEstimator(options=options),
        observables=model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        default_precision=0.0,
    )
    return train_step(TorchConnector(qnn, initial_weights=weights).double(), x, y)


def quimb_step(way: str) -> Callable[..., Step]:
    """Return a maker of quimb's step on the tensor network of the whole circuit."""

    def make(model: Model, weights: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> Step:
        start = torch.tensor(weights)
        values = WAYS[way](x, start)

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weights = torch.nn.Parameter(start)

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                return values(inputs, self.weights)

        step = train_step(Network(), x, y)
        for _ in range(WARM_UP):
            step()
        return step

    return make


def addon_estimate(head: str, model: Model, weights: np.ndarray, x: np.ndarray, cuts: int) -> None:
    """Print the addon's step with Qiskit ML's parameter shift, from one measured query."""
    labels = "ABCD"[: cuts + 1]
    labels += labels[-1] * (len(model.inputs) - len(labels))
    started = time.perf_counter()
    # The circuit's parameters are sorted by name: weights w before inputs x.
    addon_query(model.circuit, np.hstack([weights, x[0]]), ["ZZZZ"], labels, 1024, 1)
    query = time.perf_counter() - started
    step = len(x) * (1 + 2 * len(weights)) * query
    print(
        f"{head}{'addon, parameter shift (est.)':34} {1e3 * step:12.0f} "
        f"{f'one query {query:.2f} s':>21}",
        flush=True,
    )


if __name__ == "__main__":
    main()
