"""Wires cut together: mutually unbiased bases in place of Paulis, wire by wire.

The 2^n + 1 mutually unbiased bases of n qubits are a 2-design, so with ``MP_j`` the channel
that measures in basis j and prepares what was found,

    sum_j MP_j(rho) = rho + I tr(rho)

Solved for ``rho`` this cuts n parallel wires at once. One circuit a basis measures all of its
2^n - 1 Paulis: 5 circuits for two wires and 9 for three, where Paulis wire by wire take 16 and
64. There are two ways to subtract ``I tr(rho)``:

with classical communication
    ``id = sum_{j>0} MP_j - (I tr - MP_0)``, and the bracket is "measure in basis 0, prepare one
    of its other states": gamma = 2^(n+1) - 1 (arXiv:2302.03366).
randomised
    ``id = (2^n + 1) E_j[MP_j] - 2^n`` times "discard, prepare the maximally mixed state":
    gamma = 2^(n+1) + 1 (arXiv:2207.14734).

Both are the same circuits. Here the tensors of both fragments are measured first and joined
afterwards, where the second way has the smaller errors: what is subtracted lies on all states
alike. `joined` generalises it to states of unequal shots, and communication is what deals these:
a state that the sender never found needs none (`pilotcut.execution.wire_shots`).

Basis 0 is the computational one. The others are ``D_j H...H |k>``, with ``D_j`` made of S on wire
a where ``(M_j)_aa`` is 1 and CZ where ``(M_j)_ab`` is, for ``(M_j)_ab = Tr(j e_a e_b)`` over
GF(2^n). Any two of these matrices differ by one of full rank, so the bases are unbiased.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, product

import numpy as np

from pilotcut.cutting.basis import BasisState, CutBasis, u_angles, u_matrix
from pilotcut.cutting.gate_basis import basis_of_wire
from pilotcut.options import COMMUNICATION, SEPARATE

#: Wires cut together: three have 72 states, four would have 272.
MOST_WIRES = 3

# Irreducible polynomials over GF(2), by degree; bit k is the coefficient of x^k.
_POLYNOMIALS = {1: 0b11, 2: 0b111, 3: 0b1011}

_H = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
_X = np.array([[0, 1], [1, 0]])
_S = np.diag([1, 1j])


@lru_cache(maxsize=MOST_WIRES)
def unbiased_states(wires: int) -> tuple[BasisState, ...]:
    """Return the states of all bases, basis by basis, 2^n of each."""
    size = 2**wires
    return tuple(_state(basis, state, wires) for basis in range(size + 1) for state in range(size))


@lru_cache(maxsize=MOST_WIRES)
def stabilizer_states(wires: int) -> tuple[BasisState, ...]:
    """Return all stabilizer states of one wire or two, the unbiased ones first.

    The more states there are to choose from, the smaller are the weights of what a sender found:
    those of a random state of two qubits have a sum of 1.8 over 60 states and of 2.7 over 20.
    Three wires have too many and keep the unbiased ones.
    """
    states = unbiased_states(wires)
    if wires != 2:
        return states
    known = {_key(state) for state in states}
    more = [state for state in _of_two_wires() if _key(state) not in known]
    return (*states, *more)


def _key(state: BasisState) -> bytes:
    vector = state_vector(state)
    return (np.round(np.outer(vector, vector.conj()), 6) + 0.0).tobytes()


def _of_two_wires() -> Iterator[BasisState]:
    """Yield the products of one-qubit states, and Bell states with the axes of one qubit turned."""
    one = [state.rotations[0] for state in unbiased_states(1)]
    for number, (a, b) in enumerate(product(one, repeat=2)):
        yield BasisState(number // 4, number % 4, (a, b))
    idle = u_angles(np.eye(2))
    flips = [u_angles(_H @ np.linalg.matrix_power(_X, bit)) for bit in (0, 1)]
    # The six ways to turn the axes X, Y, Z: products of H, which swaps X and Z, and S.
    turns = [np.eye(2), _H, _S, _H @ _S, _S @ _H, _H @ _S @ _H]
    for number, (turn, a, b) in enumerate(product(turns, flips, flips)):
        after = (idle, u_angles(turn @ _H))
        yield BasisState(9 + number // 4, number % 4, (a, b), ((0, 1),), after)


def _state(basis: int, state: int, wires: int) -> BasisState:
    table = _form(basis - 1, wires) if basis else np.zeros((wires, wires), dtype=int)
    rotations = []
    for wire in range(wires):
        matrix = np.linalg.matrix_power(_X, state >> wire & 1)
        if basis:
            matrix = np.linalg.matrix_power(_S, table[wire, wire]) @ _H @ matrix
        rotations.append(u_angles(matrix))
    pairs = tuple((a, b) for a, b in combinations(range(wires), 2) if table[a, b])
    return BasisState(basis, state, tuple(rotations), pairs)


def _form(element: int, wires: int) -> np.ndarray:
    """Return the matrix ``Tr(j e_a e_b)`` of an element j of GF(2^n), e_a the powers of x."""
    return np.array(
        [
            [_trace(_product(element, _product(1 << a, 1 << b, wires), wires), wires)]
            for a in range(wires)
            for b in range(wires)
        ]
    ).reshape(wires, wires)


def _product(a: int, b: int, degree: int) -> int:
    """Return the product of two elements of GF(2^degree)."""
    result = 0
    while b:
        result ^= a * (b & 1)
        a, b = a << 1, b >> 1
        if a >> degree & 1:
            a ^= _POLYNOMIALS[degree]
    return result


def _trace(element: int, degree: int) -> int:
    """Return x + x^2 + x^4 + ..., which is 0 or 1."""
    total, power = 0, element
    for _ in range(degree):
        total, power = total ^ power, _product(power, power, degree)
    return total


def state_vector(state: BasisState) -> np.ndarray:
    """Return the amplitudes (2^n,) of a state, the first wire the lowest bit."""
    vector = np.ones(1, dtype=complex)
    for angles in state.rotations:
        vector = np.kron(u_matrix(angles)[:, 0], vector)
    numbers = np.arange(len(vector))
    for a, b in state.entangled:
        vector = vector * (1 - 2 * (numbers >> a & numbers >> b & 1))
    last = np.ones((1, 1))
    for angles in state.after:
        last = np.kron(u_matrix(angles), last)
    return np.asarray(last @ vector) if state.after else vector


@lru_cache(maxsize=2 * MOST_WIRES)
def _table(states: tuple[BasisState, ...]) -> np.ndarray:
    """Return the coordinates (4^n, states) of all projectors in an orthonormal Hermitian basis."""
    wires = len(states[0].rotations)
    vectors = np.array([state_vector(state) for state in states])
    projectors = vectors[:, :, None] * vectors[:, None, :].conj()
    size = 2**wires
    # Any orthonormal basis of Hermitian matrices does: real parts above the diagonal, imaginary
    # ones below.
    upper = np.triu(projectors.real) * (np.sqrt(2) - (np.sqrt(2) - 1) * np.eye(size))
    lower = np.tril(projectors.imag, -1) * np.sqrt(2)
    return (upper + lower).reshape(len(vectors), -1).T


def joined(wires: int, shots: np.ndarray) -> np.ndarray:
    """Return bond matrices (..., found, states) for shots (..., states) of the prepared states.

    Found are `unbiased_states`; these are prepared too, or all `stabilizer_states`.

    Any two sets of states that span the operators can be joined in many ways. Of the ways to say
    what the sender found as a sum over the receiver's states, this one has the least variance if
    a state's estimate has the variance 1 / shots: weighted least squares. With equal shots it is
    the identity less a constant, the randomised cut of arXiv:2207.14734.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the states that have shots do not span the operators.
    """
    measured = _table(unbiased_states(wires))
    count = shots.shape[-1]
    table = measured if count == measured.shape[1] else _table(stabilizer_states(wires))
    size = 2**wires
    # rho = sum_j MP_j(rho) - I tr(rho), its coordinates as a function of what the sender found; the
    # trace is known from every basis alike.
    trace = np.eye(size).reshape(-1)[:, None] / (size + 1)
    found = measured - trace
    share = shots / shots.sum(axis=-1, keepdims=True)
    weighted = table * share[..., None, :]
    inverse = np.linalg.inv(weighted @ table.T)
    return np.asarray(found.T @ inverse @ weighted).reshape(*shots.shape[:-1], -1, count)


@lru_cache(maxsize=2 * MOST_WIRES)
def basis_of_wires(wires: int, *, communication: bool) -> CutBasis:
    """Return the basis of so many parallel wires, cut together.

    Parameters
    ----------
    wires
        Up to `MOST_WIRES`.
    communication
        Whether the receiver's shots follow the sender's outcomes. More states are then there to be
        prepared, of which those without weight get no shots.
    """
    found = unbiased_states(wires)
    states = stabilizer_states(wires) if communication else found
    one = basis_of_wire()  # the coherent basis cuts wires one by one
    gamma = 2.0 ** (wires + 1) + (-1 if communication else 1)
    return CutBasis(
        kinds=one.kinds,
        operations=(found, states),
        coefficients=joined(wires, np.ones(len(states))),
        branches=one.branches,
        amplitudes=one.amplitudes,
        overhead=gamma**2,
    )


def basis_of_cut(wires: str, number: int = 1) -> CutBasis:
    """Return the basis of so many wires that are one cut.

    Parameters
    ----------
    wires
        How wires are cut, one of `pilotcut.options.WIRES`.
    number
        One where they are cut separately, else up to `MOST_WIRES`.
    """
    if wires == SEPARATE:
        return basis_of_wire()
    return basis_of_wires(number, communication=wires == COMMUNICATION)
