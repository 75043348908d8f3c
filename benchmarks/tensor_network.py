"""The uncut circuit as a tensor network: what a user of quimb writes instead of cutting.

<psi|Z...Z|psi> of ZFeatureMap + RealAmplitudes(reps=1) for a batch of inputs, exact, in
complex128, differentiable by torch. quimb builds the network once, a seeded cotengra search
finds its contraction path, and what is left is a function of torch tensors. A CX is one
tensor, target' = control XOR target: its control is diagonal, so the wire's index goes on.

Four ways, slowest first; `training_step.py --networks` measures all of them:

- "gates, vmap": the tensors of kets, bras, CXs and observables, for one sample under
  `torch.vmap`;
- "gates, batch index": the same with an index of the batch on every ket and bra;
- "qubits, batch index": before the network is contracted, ket and bra of a qubit become one
  tensor |q><q|, and its observable with both its CXs another, for all qubits in one torch
  operation each. It leaves two tensors a qubit, for quimb to contract;
- "qubits, traced": that through `torch.jit.trace`, as quimb's own `TNOptimizer` does.

`torch.compile` of the third took longer than the third itself (20 qubits): inductor does not
generate code for complex numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import sqrt

import cotengra
import numpy as np
import quimb.tensor as qtn
import torch

#: Values (batch,) of inputs (batch, qubits) and weights (2 qubits,).
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

#: Name of the index that runs over the batch.
SAMPLE = "sample"

HADAMARD = torch.tensor([[1, 1], [1, -1]], dtype=torch.complex128) / sqrt(2)
Z = torch.diag(torch.tensor([1, -1], dtype=torch.complex128))
XOR = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 0]]], dtype=torch.complex128)


def gates_vmap(inputs: torch.Tensor, weights: torch.Tensor) -> Forward:
    """Return the network of all gates, contracted for one sample under `torch.vmap`."""
    batch, qubits = inputs.shape
    contract = contraction(gate_network(qubits), batch)

    def forward(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        observables = rotated_z(weights[qubits:])

        def one(kets: torch.Tensor) -> torch.Tensor:
            return contract(*gate_tensors(kets, observables))

        return torch.vmap(one, in_dims=1)(product_state(inputs, weights[:qubits])).real

    return forward


def gates_batched(inputs: torch.Tensor, weights: torch.Tensor) -> Forward:
    """Return the network of all gates with the batch as an index."""
    batch, qubits = inputs.shape
    contract = contraction(gate_network(qubits, SAMPLE), batch)

    def forward(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        kets = product_state(inputs, weights[:qubits])
        return contract(*gate_tensors(kets, rotated_z(weights[qubits:]))).real

    return forward


def qubits_batched(inputs: torch.Tensor, weights: torch.Tensor) -> Forward:
    """Return the network of two tensors a qubit, index pairs (bra, ket) as one of size 4."""
    batch, qubits = inputs.shape
    densities = [(SAMPLE, f"i{q}") for q in range(qubits)]
    observables = [("i0",)] + [(f"i{q - 1}", f"i{q}") for q in range(1, qubits)]
    contract = contraction([*densities, *observables], batch, size=4)

    def forward(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        kets, z = product_state(inputs, weights[:qubits]), rotated_z(weights[qubits:])
        density = torch.einsum("qsi,qsj->qsij", kets.conj(), kets).reshape(qubits, -1, 4)
        # (control's bra, control's ket, bra, ket) before the two CXs that have qubit q as target
        chain = torch.einsum("qxy,ijx,kly->qikjl", z[1:], XOR, XOR).reshape(-1, 4, 4)
        return contract(*density.unbind(), z[0].reshape(4), *chain.unbind()).real

    return forward


def qubits_traced(inputs: torch.Tensor, weights: torch.Tensor) -> Forward:
    """Return `qubits_batched` without Python between its torch operations."""
    forward = qubits_batched(inputs, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that shapes become constants is what we want
        function: Forward = torch.jit.trace(forward, (inputs, weights), check_trace=False)
    return function


#: Name -> maker of the forward pass for inputs and weights of these shapes.
WAYS: dict[str, Callable[[torch.Tensor, torch.Tensor], Forward]] = {
    "gates, vmap": gates_vmap,
    "gates, batch index": gates_batched,
    "qubits, batch index": qubits_batched,
    "qubits, traced": qubits_traced,
}

#: The fastest at every size.
BEST = "qubits, traced"


# -- the network -----------------------------------------------------------------------


def gate_network(qubits: int, *batch: str) -> list[tuple[str, ...]]:
    """Return the indices of all tensors, in the order of `gate_tensors`.

    k and b are a qubit's wire before the chain of CXs in ket and bra, K and B behind it.
    """
    sides = (("k", "K"), ("b", "B"))
    states = [(*batch, f"{before}{q}") for before, _ in sides for q in range(qubits)]
    gates = [
        (f"{before}{q - 1}", f"{before}{q}", f"{after}{q}")
        for before, after in sides
        for q in range(1, qubits)
    ]
    observables = [("b0", "k0")] + [(f"B{q}", f"K{q}") for q in range(1, qubits)]
    return [*states, *gates, *observables]


def gate_tensors(kets: torch.Tensor, observables: torch.Tensor) -> list[torch.Tensor]:
    """Return the network's tensors from kets (qubits, ..., 2) and observables (qubits, 2, 2)."""
    gates = [XOR] * (2 * (len(kets) - 1))
    return [*kets.unbind(), *kets.conj().unbind(), *gates, *observables.unbind()]


def contraction(
    indices: Sequence[tuple[str, ...]], batch: int, size: int = 2
) -> Callable[..., torch.Tensor]:
    """Return quimb's contraction of all indices but the batch's, its path found once."""
    shapes = [tuple(batch if i == SAMPLE else size for i in one) for one in indices]
    network = qtn.TensorNetwork(
        [qtn.Tensor(np.empty(s), one) for s, one in zip(shapes, indices, strict=True)]
    )
    search = cotengra.RandomGreedyOptimizer(max_repeats=256, seed=0, parallel=False)
    expression: Callable[..., torch.Tensor] = network.contract(
        output_inds=[i for i in indices[0] if i == SAMPLE], optimize=search, get="expression"
    )
    return expression


# -- what stands in it, for all qubits at once ------------------------------------------


def product_state(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return each qubit's ket before the CXs, (qubits, batch, 2): RY P H P H |0>."""
    phases = torch.stack([torch.zeros_like(inputs), 2 * inputs], dim=-1)
    phase = torch.exp(1j * phases)  # (batch, qubits, 2)
    ket = (phase / sqrt(2)) @ HADAMARD * phase
    return torch.einsum("qij,bqj->qbi", rotation(weights), ket)


def rotated_z(weights: torch.Tensor) -> torch.Tensor:
    """Return RY' Z RY, (qubits, 2, 2): the observable behind the last rotations."""
    last = rotation(weights)
    return last.mT @ Z @ last


def rotation(angles: torch.Tensor) -> torch.Tensor:
    """Return the matrices of RY, (qubits, 2, 2)."""
    cos, sin = torch.cos(angles / 2), torch.sin(angles / 2)
    rows = torch.stack([cos, -sin, sin, cos], dim=-1).reshape(-1, 2, 2)
    return rows.to(torch.complex128)
