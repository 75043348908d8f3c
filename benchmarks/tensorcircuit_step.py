"""tensorcircuit-ng's training step on an uncut circuit, compiled by JAX; for `training_step.py`.

    python tensorcircuit_step.py < case.json

Runs in an environment of its own (`environments.py`), so nothing of pilotcut is imported. The case
has ``qubits``, ``gates`` [name, qubits, angle], where an angle is null, a number or [index, factor]
of a parameter (inputs first, then weights), ``terms`` [letters, qubits, coefficient] of Z,
``inputs`` (batch, inputs), ``targets`` (batch,), ``weights``, ``state`` and ``repeats``. With
``state`` the state is contracted first, without it each term's whole network. Printed are the loss,
the norm of its gradient, the seconds of the first step and those of the others, as JSON.
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

#: Names that differ; an angle is `theta` of all.
NAMES = {"p": "phase", "cx": "cnot"}


def main() -> None:
    """Measure the case on standard input."""
    case = json.load(sys.stdin)
    inputs, targets, weights = (jnp.array(case[k]) for k in ("inputs", "targets", "weights"))

    def value(x: jax.Array, w: jax.Array) -> jax.Array:
        parameters = [*x, *w]
        circuit = tc.Circuit(case["qubits"])
        for name, qubits, angle in case["gates"]:
            if isinstance(angle, list):
                angle = angle[1] * parameters[angle[0]]
            options = {} if angle is None else {"theta": angle}
            getattr(circuit, NAMES.get(name, name))(*qubits, **options)
        total = 0.0
        for _, qubits, scale in case["terms"]:
            z = [(tc.gates.z(), [q]) for q in qubits]
            total += scale * jnp.real(circuit.expectation(*z, reuse=case["state"]))
        return total

    def loss(w: jax.Array) -> jax.Array:
        return jnp.mean((jax.vmap(value, in_axes=(0, None))(inputs, w) - targets) ** 2)

    optimizer = optax.adam(1e-12)

    @jax.jit
    def step(w: jax.Array, state: optax.OptState) -> tuple[jax.Array, ...]:
        found, slope = jax.value_and_grad(loss)(w)
        updates, state = optimizer.update(slope, state)
        return found, slope, optax.apply_updates(w, updates), state

    state = optimizer.init(weights)
    seconds: list[float] = []
    while len(seconds) <= case["repeats"] and sum(seconds[1:]) < case["budget_s"]:
        started = time.perf_counter()
        found, slope, weights, state = step(weights, state)
        found.block_until_ready()
        seconds.append(time.perf_counter() - started)
    norm = float(jnp.linalg.norm(slope))
    print(json.dumps({"loss": float(found), "slope": norm, "seconds": seconds}))


if __name__ == "__main__":
    main()
