"""Any circuit as a tensor network of all its gates: what a user of quimb writes for one.

<psi|Z...Z|psi> for a batch of inputs, exact, differentiable by torch. Each term has a network of
the gates in its light cone, ket and bra. Diagonal gates and controls stand on their wires' indices,
so that these go on. cotengra searches for a contraction tree once, and the whole is traced by
torch, as quimb's own `TNOptimizer` does. All matrices of one kind of gate are computed at once, in
real numbers where the circuit is real. `tensor_network.py` has networks made for one circuit.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable

import cotengra
import numpy as np
import quimb.tensor as qtn
import torch
from step_cases import Gate

#: Index of the batch.
SAMPLE = "sample"

#: Gates without an angle, as tensors over (out, in), or over (control, out, in), or diagonal.
FIXED = {
    "h": torch.tensor([[1, 1], [1, -1]], dtype=torch.float64) / 2**0.5,
    "cx": torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]),
    "cz": torch.tensor([[1, 1], [1, -1]]),
}
DIAGONAL = ("p", "rz", "cz", "rzz")
REAL = {"h", "ry", "cx", "cz"}

#: Trees that cotengra tries for a term; the best one is improved piece by piece.
REPEATS = 16

#: One network: which gate's tensor, of ket or bra, with which indices.
Place = tuple[int, bool, tuple[str, ...]]


def traced(
    gates: list[Gate],
    terms: list[tuple[str, list[int], float]],
    inputs: torch.Tensor,
    weights: torch.Tensor,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return values (batch,) as a function of inputs (batch, inputs) and weights.

    Terms are (letters, qubits, coefficient); only Z is known.
    """
    batched = [isinstance(a, tuple) and a[0] < inputs.shape[1] for _, _, a in gates]
    first = first_gates(gates)
    networks = [network(gates, batched, first, qubits) for _, qubits, _ in terms]
    contractions = [
        contraction([*(indices for _, _, indices in places), *observed], len(inputs))
        for places, observed in networks
    ]

    def forward(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        kets = gate_tensors(gates, batched, first, inputs, weights)
        bras = {g: t.conj().resolve_conj() if t.is_complex() else t for g, t in kets.items()}
        dtype = next(iter(kets.values())).dtype
        z = torch.tensor([1.0, -1.0], dtype=dtype)
        total = torch.zeros((), dtype=torch.float64)
        for (places, _), contract, (_, qubits, scale) in zip(
            networks, contractions, terms, strict=True
        ):
            tensors = [(bras if bra else kets)[gate] for gate, bra, _ in places]
            value = contract(*tensors, *[z] * len(qubits))
            total = total + scale * (value.real if value.is_complex() else value)
        return total

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that shapes become constants is what we want
        function = torch.jit.trace(forward, (inputs, weights), check_trace=False)
    # Unless the first calls are without, torch 2.13 optimises complex derivatives wrongly:
    # findings/torch-traced-gradient-is-conjugated.sh.
    with torch.no_grad():
        for _ in range(2):
            function(inputs, weights)
    return function


def first_gates(gates: list[Gate]) -> set[int]:
    """Return the one-qubit gates that are their wire's first: they act on |0> and are vectors."""
    seen: set[int] = set()
    found = set()
    for k, (_, qubits, _) in enumerate(gates):
        if len(qubits) == 1 and qubits[0] not in seen:
            found.add(k)
        seen.update(qubits)
    if len(found) < len(seen) or any(gates[k][0] in DIAGONAL for k in found):
        raise ValueError("a wire begins with another gate, expected h, rx or ry")
    return found


def network(
    gates: list[Gate], batched: list[bool], first: set[int], measured: list[int]
) -> tuple[list[Place], list[tuple[str, ...]]]:
    """Return where the tensors of a term's light cone stand, and where Z of each qubit does."""
    cone, kept = set(measured), []
    for k in reversed(range(len(gates))):
        if cone & set(gates[k][1]):
            cone |= set(gates[k][1])
            kept.append(k)
    kept.reverse()
    last = {q: sum(q in gates[k][1] and moves(gates[k], q) for k in kept) for q in cone}
    places: list[Place] = []
    for bra in (False, True):
        number = dict.fromkeys(cone, 0)

        def index(q: int, number: dict[int, int] = number, bra: bool = bra) -> str:
            return f"{'b' if bra and number[q] < last[q] else 'k'}{q}.{number[q]}"

        for k in kept:
            name, qubits, _ = gates[k]
            indices = [] if k in first else [index(q) for q in qubits]
            if k in first or name not in DIAGONAL:
                moved = qubits[-1]
                number[moved] += 1
                indices.insert(len(indices) - 1 if indices else 0, index(moved))
            places.append((k, bra, (*((SAMPLE,) if batched[k] else ()), *indices)))
    return places, [(f"k{q}.{last[q]}",) for q in measured]


def moves(gate: Gate, qubit: int) -> bool:
    """Return whether a gate gives a qubit's wire a new index."""
    return gate[0] not in DIAGONAL and qubit == gate[1][-1]


def contraction(indices: list[tuple[str, ...]], batch: int) -> Callable[..., torch.Tensor]:
    """Return quimb's contraction of all indices but the batch's, its tree searched for once."""
    shapes = [[batch if i == SAMPLE else 2 for i in one] for one in indices]
    whole = qtn.TensorNetwork(
        [qtn.Tensor(np.empty(s), one) for s, one in zip(shapes, indices, strict=True)]
    )
    output = [SAMPLE] if any(SAMPLE in one for one in indices) else []
    search = cotengra.RandomGreedyOptimizer(max_repeats=REPEATS, seed=0, parallel=False)
    tree = whole.contraction_tree(search, output_inds=output).subtree_reconfigure()
    expression: Callable[..., torch.Tensor] = whole.contract(
        output_inds=output, optimize=tree.get_path(), get="expression"
    )
    return expression


def gate_tensors(
    gates: list[Gate],
    batched: list[bool],
    first: set[int],
    inputs: torch.Tensor,
    weights: torch.Tensor,
) -> dict[int, torch.Tensor]:
    """Return each gate's tensor, all of one kind computed at once."""
    dtype = torch.float64 if {g[0] for g in gates} <= REAL else torch.complex128
    kinds = defaultdict(list)
    for k, (name, _, _) in enumerate(gates):
        kinds[name, batched[k]].append(k)
    found = {}
    for (name, of_batch), members in kinds.items():
        if name in FIXED:
            found |= dict.fromkeys(members, FIXED[name].to(dtype))
            continue
        angles = [gates[k][2] for k in members]
        index = torch.tensor([a[0] for a in angles])
        factor = torch.tensor([a[1] for a in angles], dtype=torch.float64)
        if of_batch:
            values = inputs.T[index] * factor[:, None]  # (gates, batch)
        else:
            values = weights[index - inputs.shape[1]] * factor
        matrices = matrices_of(name, values).to(dtype)
        found |= dict(zip(members, matrices.unbind(), strict=True))
    columns = {k: found[k][..., 0] for k in first if gates[k][0] not in DIAGONAL}
    return found | columns


def matrices_of(name: str, angles: torch.Tensor) -> torch.Tensor:
    """Return the matrices (*angles, 2, 2) of a kind of gate, or what stands on its diagonal."""
    if name in ("p", "rz"):
        signs = torch.tensor([0.0, 1.0] if name == "p" else [-0.5, 0.5], dtype=torch.float64)
        return turn(angles[..., None] * signs)
    if name == "rzz":
        signs = torch.tensor([[-0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
        return turn(angles[..., None, None] * signs)
    cos, sin = torch.cos(angles / 2), torch.sin(angles / 2)
    rows = [cos, -sin, sin, cos]
    if name == "rx":
        none = torch.zeros_like(cos)
        real, imaginary = torch.complex(cos, none), torch.complex(none, -sin)
        rows = [real, imaginary, imaginary, real]
    return torch.stack(rows, dim=-1).reshape(*angles.shape, 2, 2)


def turn(angles: torch.Tensor) -> torch.Tensor:
    """Return exp(i t)."""
    return torch.complex(torch.cos(angles), torch.sin(angles))
