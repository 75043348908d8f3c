"""A small cut network, trained and evaluated on one described device."""

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from pilotcut import CutEstimator, PilotManager, TaskManager, backends, compile_plan, cut_qnn
from pilotcut.pilots.description import BackendDescription, PilotDescription

STEPS, SHOTS = 2, 2000


def chain(width):
    """Return angles of data, a chain of CX and two trained angles, on so many qubits."""
    circuit = QuantumCircuit(width)
    x, w = ParameterVector("x", width), ParameterVector("w", 2)
    for qubit in range(width):
        circuit.ry(x[qubit], qubit)
    circuit.ry(w[0], width // 2 - 1)
    for qubit in range(width - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.rx(w[1], width // 2)
    circuit.ry(0.4, width // 2 - 1)
    return circuit, x, w


def labels(width):
    """Return a cut in the middle."""
    return "A" * (width // 2) + "B" * (width // 2)


def observable(width):
    """Return one on both sides of the cut."""
    return "I" * (width // 2 - 2) + "ZZZ" + "I" * (width // 2 - 1)


def trains(qpu, width, shots=SHOTS, steps=STEPS, rows=2):
    """Train two steps on a device, and return how far values are from exact ones, and may be.

    In standard errors where the device has no error, else beside twice its predicted one.
    """
    circuit, x, w = chain(width)
    said, where = observable(width), labels(width)
    pilot = PilotDescription(
        name="device", resource="inprocess", backend=BackendDescription(qpu=qpu)
    )
    data = np.random.default_rng(3).uniform(0.3, 1.2, (rows, width))
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        qnn = cut_qnn(
            circuit, said, input_params=x, weight_params=w, tasks=tasks, mode="counts",
            shots=shots // 4, seed=1, labels=where, initial_weights=[0.5, -0.8],
        )  # fmt: skip
        losses = []
        for _ in range(steps):
            loss = ((qnn(torch.tensor(data)) - torch.tensor([[0.9], [-0.9]])[:rows]) ** 2).mean()
            slopes = torch.autograd.grad(loss, [*qnn.parameters()])
            # By hand: torch's optimisers import its compiler, which takes longer than all of this.
            with torch.no_grad():
                for weights, slope in zip(qnn.parameters(), slopes, strict=True):
                    weights -= 0.5 * slope
            losses.append(float(loss.detach()))
        values = np.concatenate([data, np.tile([0.5, -0.8], (rows, 1))], axis=1)
        by = dict(zip([*x, *w], values.T, strict=True))
        angles = np.stack([by[p] for p in circuit.parameters], axis=1)
        estimator = CutEstimator(tasks, labels=where, mode="counts", shots=shots, seed=2)
        found = estimator.run([(circuit, said, angles)]).result()[0].data
    exact = CutEstimator(cuts=0, mode="exact").run([(circuit, said, angles)]).result()[0].data
    weights = next(qnn.parameters()).detach().numpy()
    assert np.isfinite(losses).all()
    assert np.abs(weights - [0.5, -0.8]).max() > 1e-3
    error = predicted(qpu, compile_plan(circuit, [said], labels=where))
    return np.abs(found.evs - exact.evs), 4 * found.stds + 2 * error


def predicted(qpu, plan):
    """Return the predicted error of a plan's fragments on a device, all together."""
    compiler = backends.compiler("device", qpu)  # the pilot's own: it has the circuits
    fits = [compiler.fit(fragment) for fragment in plan.fragments]
    assert not any(fit.lack for fit in fits)
    return 1 - np.prod([1 - fit.error for fit in fits])
