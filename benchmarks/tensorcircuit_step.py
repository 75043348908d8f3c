"""tensorcircuit-ng's training step on the uncut circuit, compiled by JAX; for `training_step.py`.

    python tensorcircuit_step.py < case.json

Runs in an environment of its own (`environments.py`), so nothing of pilotcut is imported. The case
has ``inputs`` (batch, qubits), ``targets`` (batch,), ``weights`` and ``repeats``; printed are the
loss, the seconds of the first step and those of the others, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import jax
import jax.numpy as jnp
import optax
import tensorcircuit as tc

jax.config.update("jax_enable_x64", True)
tc.set_backend("jax")
tc.set_dtype("complex128")


def main() -> None:
    """Measure the case on standard input."""
    case = json.load(sys.stdin)
    inputs, targets, weights = (jnp.array(case[k]) for k in ("inputs", "targets", "weights"))
    qubits = inputs.shape[1]

    def value(x: jax.Array, w: jax.Array) -> jax.Array:
        circuit = tc.Circuit(qubits)
        for _ in range(2):
            for q in range(qubits):
                circuit.h(q)
                circuit.phase(q, theta=2 * x[q])
        for q in range(qubits):
            circuit.ry(q, theta=w[q])
        for q in reversed(range(qubits - 1)):
            circuit.cnot(q, q + 1)
        for q in range(qubits):
            circuit.ry(q, theta=w[qubits + q])
        # Without `reuse` the whole network is contracted, and not first the state.
        z = [(tc.gates.z(), [q]) for q in range(qubits)]
        return jnp.real(circuit.expectation(*z, reuse=False))

    def loss(w: jax.Array) -> jax.Array:
        return jnp.mean((jax.vmap(value, in_axes=(0, None))(inputs, w) - targets) ** 2)

    optimizer = optax.adam(1e-12)

    @jax.jit
    def step(w: jax.Array, state: optax.OptState) -> tuple[jax.Array, jax.Array, optax.OptState]:
        found, slope = jax.value_and_grad(loss)(w)
        updates, state = optimizer.update(slope, state)
        return found, optax.apply_updates(w, updates), state

    state = optimizer.init(weights)
    seconds = []
    for _ in range(1 + case["repeats"]):
        started = time.perf_counter()
        found, weights, state = step(weights, state)
        found.block_until_ready()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"loss": float(found), "first_s": seconds[0], "seconds": seconds[1:]}))


if __name__ == "__main__":
    main()
