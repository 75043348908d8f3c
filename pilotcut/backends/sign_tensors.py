"""Sign tensors: which signs a group of sub-observables shows, over the branches of the cuts.

In the basis in which a group is measured every member's sign is a parity of bits. Bits are sorted
by the group's independent parities; the Gram matrices of the branches' amplitudes, parity by
parity, are the joint distribution of all signs, linear in what stands at the sites.

Owns final states, their turn into measured bases, and parities. Refuses to know operations at sites
and shots, which are `pilotcut.backends.sampled`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from math import prod

import numpy as np
from qiskit.quantum_info import PauliList

from pilotcut.backends.statevector_plan import Axis
from pilotcut.circuits.observables import independent_rows

# What turns the letters Z (or none), X and Y of a wire into Z.
_TURNS = np.array(
    [
        np.eye(2),
        np.array([[1, 1], [1, -1]]) / np.sqrt(2),
        np.array([[1, -1j], [1, 1j]]) / np.sqrt(2),
    ]
)

#: Neighbouring wires that are turned by one product of matrices.
_TURNED_AT_ONCE = 5


@dataclass(frozen=True)
class BranchStates:
    """Final states of all branches, of wires that are entangled.

    Parameters
    ----------
    amplitudes
        Complex (rows, *axes), or (rows, *axes, *axes) of density matrices, kets first.
    axes
        What the axes are: sites, whose entries are branches, and wires.
    mixed
        Whether they are density matrices.
    """

    amplitudes: np.ndarray
    axes: tuple[Axis, ...]
    mixed: bool

    @cached_property
    def sites(self) -> tuple[int, ...]:
        """The sites among its axes."""
        return tuple(k for kind, k in self.axes if kind == "site")

    @cached_property
    def wires(self) -> tuple[int, ...]:
        """The wires among its axes."""
        return tuple(k for kind, k in self.axes if kind == "wire")

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Branches at each of its sites."""
        return tuple(self.amplitudes.shape[1 + self.axes.index(("site", s))] for s in self.sites)

    @cached_property
    def ordered(self) -> np.ndarray:
        """The amplitudes (rows, branches, 2^wires), of density matrices that twice."""
        order = [self.axes.index(("site", s)) for s in self.sites]
        order += [self.axes.index(("wire", w)) for w in self.wires]
        sides = range(1 + self.mixed)
        whole = [0, *(1 + axis + side * len(order) for side in sides for axis in order)]
        shape = (prod(self.ranks), 2 ** len(self.wires))
        rows = len(self.amplitudes)
        return self.amplitudes.transpose(whole).reshape(rows, *(shape * len(sides)))


@dataclass(frozen=True)
class MeasuredGroup:
    """A group of sub-observables that agree wire by wire, as parities of what is measured.

    Parameters
    ----------
    letters
        (wires,): 0, 1 or 2 where Z or nothing, X or Y is measured.
    parities
        Boolean (r, wires): sets of bits whose parities are independent.
    members
        (g,): each member's parity as a set of these, bit k for the k-th.
    """

    letters: np.ndarray
    parities: np.ndarray
    members: np.ndarray

    @classmethod
    def of(cls, members: PauliList) -> MeasuredGroup:
        """Return the group of some sub-observables."""
        x, z = members.x.any(axis=0), members.z.any(axis=0)
        seen = members.x | members.z
        basis, subsets = independent_rows(seen)
        return cls(x.astype(int) + (x & z), seen[basis], np.array(subsets, dtype=int))

    @property
    def bins(self) -> int:
        """Number of joint outcomes of the independent parities."""
        return 1 << len(self.parities)


def sign_tensor(states: Sequence[BranchStates], group: MeasuredGroup) -> np.ndarray:
    """Return the distribution of a group's parities over branch pairs, (rows, 2^r, *R^2).

    Parameters
    ----------
    states
        Those of all wires, which are not entangled with each other.
    group
        What is measured.
    """
    own = [_Restricted(some, group) for some in states]
    if not any(0 < one.count < len(group.parities) for one in own) and (
        sum(one.count > 0 for one in own) <= 1
    ):
        parts = [one.tensor() for one in own]  # a single factor knows all parities
    else:
        # Signs multiply: the mean of each product is a product of means.
        parts = [walsh_hadamard(one.tensor(), 1)[:, one.products] for one in own]
        parts.append(np.ones((1, group.bins)))
    tensor = reduce(_outer, parts, np.ones((1, 1)))
    if len(parts) > len(own):
        tensor = walsh_hadamard(tensor, 1) / group.bins
    sites = [site for some in states for site in some.sites]
    return tensor.transpose(0, 1, *(2 + sites.index(s) for s in range(len(sites))))


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return products over the axes of both, for each row and parity."""
    return a.reshape(*a.shape, *[1] * (b.ndim - 2)) * b.reshape(
        *b.shape[:2], *[1] * (a.ndim - 2), *b.shape[2:]
    )


class _Restricted:
    """A group's parities as far as some entangled wires have a part in them."""

    def __init__(self, states: BranchStates, group: MeasuredGroup) -> None:
        self._states = states
        # Wires of measured values stand behind the fragment's own, and nobody observes them.
        more = max((w + 1 - len(group.letters) for w in states.wires), default=0)
        wires = list(states.wires)
        self._letters = np.pad(group.letters, (0, max(0, more)))[wires]
        own = np.pad(group.parities, ((0, 0), (0, max(0, more))))[:, wires]
        basis, subsets = independent_rows(own)
        self._parities, self._subsets = own[basis], subsets
        self.count = len(basis)

    @property
    def products(self) -> np.ndarray:
        """For each set of the group's parities the set of these, (2^r,)."""
        found = np.zeros(1, dtype=int)
        for subset in self._subsets:
            found = np.concatenate([found, found ^ subset])
        return found

    def tensor(self) -> np.ndarray:
        """Return (rows, 2^count, *R^2 of the sites)."""
        states = self._states
        order = self._order()
        bins = 1 << self.count
        turned = _turned(states.ordered, self._letters, 2)
        if states.mixed:
            turned = _turned(turned, self._letters, 4, adjoint=True)
            diagonal = turned.diagonal(axis1=2, axis2=4)[..., order]  # (rows, a, b, 2^wires)
            grams = diagonal.reshape(*diagonal.shape[:3], bins, -1).sum(axis=-1)
            grams = np.moveaxis(grams, 3, 1)
        else:
            kets = turned[..., order].reshape(*turned.shape[:2], bins, -1).transpose(0, 2, 1, 3)
            if kets.shape[-1] == 1:
                grams = kets * kets.conj().swapaxes(2, 3)
            else:
                grams = kets @ kets.conj().swapaxes(2, 3)
        count = len(states.sites)
        grams = grams.reshape(*grams.shape[:2], *states.ranks, *states.ranks)
        pairs = [2 + k + side * count for k in range(count) for side in (0, 1)]
        shape = (*grams.shape[:2], *(rank**2 for rank in states.ranks))
        return grams.transpose(0, 1, *pairs).reshape(shape)

    def _order(self) -> np.ndarray:
        """Return all bits of the wires, sorted by their parities."""
        wires = len(self._letters)
        bits = 1 << np.arange(wires)[::-1]  # the first wire is the highest bit
        odd = np.bitwise_count((self._parities @ bits)[:, None] & np.arange(1 << wires)) & 1
        found = (1 << np.arange(self.count)) @ odd.astype(np.int64)
        return np.argsort(found, kind="stable")


def _turned(
    states: np.ndarray, letters: np.ndarray, axis: int, adjoint: bool = False
) -> np.ndarray:
    """Return states whose axis of 2^wires is in the basis of the letters."""
    behind = prod(states.shape[axis + 1 :])
    flat = states
    for first in range(0, len(letters), _TURNED_AT_ONCE):
        some = letters[first : first + _TURNED_AT_ONCE]
        if not some.any():
            continue
        turn = reduce(np.kron, _TURNS[some])
        turn = turn.conj() if adjoint else turn
        rest = behind << (len(letters) - first - len(some))
        if rest == 1:
            flat = flat.reshape(-1, len(turn)) @ turn.T
        else:
            flat = turn @ flat.reshape(-1, len(turn), rest)
    return flat.reshape(states.shape)


def walsh_hadamard(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return sum_s (-1)^(u.s) v_s along an axis of 2^r.

    Examples
    --------
    >>> walsh_hadamard(np.array([0.5, 0.0, 0.0, 0.5])).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    last = np.moveaxis(values, axis, -1)
    bits = last.shape[-1].bit_length() - 1
    low = bits // 2
    # The bits in two halves: two small matrices in place of one large one.
    split = last.reshape(*last.shape[:-1], 1 << (bits - low), 1 << low)
    found = _hadamard(bits - low) @ split @ _hadamard(low)
    return np.moveaxis(found.reshape(last.shape), -1, axis)


@lru_cache(maxsize=32)
def _hadamard(bits: int) -> np.ndarray:
    number = np.arange(1 << bits)
    return 1.0 - 2.0 * (np.bitwise_count(number[:, None] & number) & 1)
