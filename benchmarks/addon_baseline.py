"""The outside competitor: qiskit-addon-cutting's own pipeline, timed stage by stage.

`pilotcut.study.baseline` is what a user of the addon writes, with nothing in its disfavour: one
simulator thread as for ours, every subexperiment in one sampler job, no transpilation inside the
clock (every gate of `qnn_circuit` and of the cut is native to Aer), the simulator built outside it.

Run as a script, it checks itself against `Statevector` and prints its stage times at 1, 2 and 3
cuts of the 4-qubit test circuit.
"""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import real_amplitudes, z_feature_map
from qiskit.quantum_info import Pauli, Statevector

from pilotcut.study.baseline import ONE_THREAD, addon_query

__all__ = ["ONE_THREAD", "addon_query", "qnn_circuit", "split_parameters"]


def qnn_circuit(qubits: int, *, feature_reps: int = 1, ansatz_reps: int = 1) -> QuantumCircuit:
    """Return the standard test circuit, a Z feature map under a real-amplitudes ansatz.

    Parameters
    ----------
    qubits
        Width of the circuit.
    feature_reps, ansatz_reps
        Repetitions of the feature map and of the ansatz. An ansatz of one repetition has one
        chain of ``qubits - 1`` CX gates, so that labels like ``"AABC"`` cut one CX per change.

    Returns
    -------
    QuantumCircuit
        Its inputs are named ``x[0]`` …, its weights ``θ[0]`` …; `split_parameters` lists both.
    """
    circuit = z_feature_map(qubits, reps=feature_reps, parameter_prefix="x")
    circuit.compose(real_amplitudes(qubits, reps=ansatz_reps, parameter_prefix="θ"), inplace=True)
    circuit.name = f"qnn-{qubits}"
    return circuit


def split_parameters(circuit: QuantumCircuit) -> tuple[list[Parameter], list[Parameter]]:
    """Return the input and the weight parameters of a `qnn_circuit`, each in index order."""
    inputs = [parameter for parameter in circuit.parameters if parameter.name.startswith("x")]
    weights = [parameter for parameter in circuit.parameters if parameter.name.startswith("θ")]
    return inputs, weights


def main(shots: int = 1024, queries: int = 5) -> None:
    """Print deviation from `Statevector`, median seconds a query and shares of the stages."""
    circuit = qnn_circuit(4)
    rng = np.random.default_rng(7)
    for labels in ("AABB", "AABC", "ABCD"):
        errors, stages = [], []
        for seed in range(queries):
            values = rng.uniform(0, np.pi, circuit.num_parameters)
            estimate, seconds, subexperiments = addon_query(
                circuit, values, ["ZZZZ"], labels, shots, 1000 * seed
            )
            exact = Statevector(circuit.assign_parameters(values)).expectation_value(Pauli("ZZZZ"))
            errors.append(estimate[0] - exact.real)
            stages.append(list(seconds.values()))
        total = np.median(np.sum(stages, axis=1))
        shares = np.sum(stages, axis=0) / np.sum(stages)
        print(
            f"{labels}: {subexperiments:4d} subexperiments, {total:.3f} s a query, "
            + ", ".join(f"{name} {share:.0%}" for name, share in zip(seconds, shares, strict=True))
            + f", rms error {np.sqrt(np.mean(np.square(errors))):.3f}"
        )


if __name__ == "__main__":
    main()
