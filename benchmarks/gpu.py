"""The branch engine on CPU and on a CUDA GPU: the same numbers, and how long they take.

Says plainly when there is no GPU; nothing else depends on one.

    python benchmarks/gpu.py [--qubits 24 28 36] [--batch 16] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from pilotcut import compile_plan
from pilotcut.backends.statevector import StatevectorEngine
from pilotcut.training.model import classifier


def main() -> None:
    """Print the table, or that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=int, nargs="+", default=[24, 28, 36])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: torch sees no CUDA device here, so nothing was measured")
        return
    print(f"device: {torch.cuda.get_device_name()}, batch {options.batch}, value and gradient")
    print("qubits  dtype       cpu ms   gpu ms  ratio  largest difference")
    for qubits in options.qubits:
        for dtype in (torch.complex64, torch.complex128):
            print(compare(qubits, dtype, options.batch, options.repeats), flush=True)


def compare(qubits: int, dtype: torch.dtype, batch: int, repeats: int) -> str:
    """Measure one fragment of half the qubits on both devices and format the line."""
    model = classifier(qubits)
    fragment = compile_plan(model.circuit, model.observable, cuts=1).fragments[0]
    angles = np.random.default_rng(0).uniform(0, 1.5, (batch, len(fragment.angles)))
    results, seconds = {}, {}
    for device in ("cpu", "cuda"):
        engine = StatevectorEngine(device=device, dtype=dtype, memory_bytes=16 * 2**30)
        value_and_gradient(engine, fragment, angles)  # warm up
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            results[device] = value_and_gradient(engine, fragment, angles)
            taken.append(time.perf_counter() - started)
        seconds[device] = 1e3 * statistics.median(taken)
    difference = max(
        float(np.abs(a - b).max()) for a, b in zip(results["cpu"], results["cuda"], strict=True)
    )
    return (
        f"{qubits:6}  {str(dtype).removeprefix('torch.'):10} {seconds['cpu']:8.2f} "
        f"{seconds['cuda']:8.2f} {seconds['cpu'] / seconds['cuda']:6.1f}  {difference:.1e}"
    )


def value_and_gradient(engine, fragment, angles):
    """Return the tensor, and the derivative of its first entry, as arrays."""
    kept = engine.linearised(fragment, angles)
    values = kept.values
    cotangent = np.zeros((len(values), 1, values[0].size))
    cotangent[..., 0] = 1
    return values, kept.pull_back(cotangent)


if __name__ == "__main__":
    main()
