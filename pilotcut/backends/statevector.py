"""The exact fragment engine: a statevector for every branch, and their Gram matrices.

In the coherent basis a cut is ``U = sum_r c_r A_r x B_r``. A fragment with sites of rank R
has one statevector ``phi_a`` for each choice ``a`` of branches, and its tensor is the Gram
matrix ``<phi_b|O|phi_a>``, whose pairs (ket a, bra b) are the bond indices. Nothing is
measured and nothing is sampled, so it is exact, and torch differentiates through it.

Two things make it fast. Gates are fused: what stands on one wire waits as a 2x2 matrix
until a two-qubit gate or a site takes it along. And wires are joined lazily: a wire that
no gate has entangled yet is a vector of its own, so a chain grows to its full width only
at its last gate.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TypeVar

import numpy as np
import torch

from pilotcut.backends.outcomes import StateOutcomes
from pilotcut.backends.statevector_plan import Axis, Chain, Factor, Matrix, StatevectorPlan
from pilotcut.cutting.fragment import Fragment
from pilotcut.errors import CutError, UserError
from pilotcut.io.large_numbers import digits

#: Bytes that a batch's states may take, with all that autograd keeps of them.
MEMORY_BYTES = 2 * 2**30

#: States smaller than this, all rows together, are worked on by one thread.
THREADED_AMPLITUDES = 2**22

#: Freed memory up to this size, and blocks of up to it, stay with the process.
KEPT_BYTES = 2**29

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

#: Plans and schedules kept by one engine.
CACHED_FRAGMENTS = 64

_Kept = TypeVar("_Kept")

_CACHING = threading.Lock()


class StatevectorEngine:
    """Exact tensors of fragments, differentiable by their angles.

    Parameters
    ----------
    device
        A torch device.
    dtype
        `torch.complex128` or `torch.complex64`.
    memory_bytes
        Batches are run in chunks of rows whose states fit this.
    """

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.complex128,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(
                f"device is {device}, but torch here sees no GPU; install a CUDA build of torch on "
                f"the pilot's nodes, or describe the pilot with device: CPU"
            )
        self.dtype = dtype
        self.memory_bytes = memory_bytes
        _keep_freed_memory()
        self._plans: OrderedDict[str, StatevectorPlan] = OrderedDict()
        self._cache: OrderedDict[str, _Schedule] = OrderedDict()

    def tensor(self, fragment: Fragment, angles: torch.Tensor) -> torch.Tensor:
        """Return the fragment's tensor (rows, observables, *R^2 of each site), complex.

        Parameters
        ----------
        fragment
            The fragment.
        angles
            (rows, angles) in radians, real; may require gradients.

        Raises
        ------
        CutError
            If the states of one row do not fit the memory limit.
        """
        size = self.rows_at_once(fragment)  # first: a schedule's constants are of a state's size
        schedule = self._schedule(fragment)
        with threads_for(schedule.plan.widest * min(size, len(angles))):
            parts = [schedule.run(chunk) for chunk in angles.to(self.device).split(size)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def values(self, fragment: Fragment, angles: np.ndarray) -> np.ndarray:
        """Return `tensor` as an array, without keeping what gradients would need."""
        with torch.no_grad():
            return self.tensor(fragment, torch.as_tensor(angles)).cpu().numpy()

    def outcomes(
        self, fragment: Fragment, angles: np.ndarray, wires: Sequence[int]
    ) -> list[StateOutcomes]:
        """Return the final states of all branches, each group of entangled wires by itself.

        Parameters
        ----------
        fragment
            The fragment.
        angles
            (1, angles) in radians.
        wires
            The wires that end as qubits of the circuit.
        """
        self.rows_at_once(fragment)
        schedule = self._schedule(fragment)
        with torch.no_grad(), threads_for(schedule.plan.widest):
            states = schedule.states(torch.as_tensor(angles).to(self.device))
        return [
            _state_outcomes(states[group][0].cpu().numpy(), axes, wires)
            for group, axes in schedule.plan.axes.items()
        ]

    def pull_back(
        self, fragment: Fragment, angles: np.ndarray, cotangents: np.ndarray
    ) -> np.ndarray:
        """Return ``Re sum_i cotangent_i dT_i/d angle``, (rows, outputs, angles).

        Parameters
        ----------
        angles
            (rows, angles).
        cotangents
            (rows, outputs, observables, variants) complex: for each output its derivative by
            the tensor, branch pairs flattened.
        """
        return self.linearised(fragment, angles).pull_back(cotangents)

    def linearised(self, fragment: Fragment, angles: np.ndarray) -> Linearised:
        """Return the tensor at some angles with what its derivatives need."""
        free = torch.as_tensor(angles).requires_grad_()
        with torch.enable_grad():  # this may run inside a backward pass, where it is off
            tensor = self.tensor(fragment, free)
        return Linearised(free, tensor, self._plan(fragment).widest * len(angles))

    def rows_at_once(self, fragment: Fragment) -> int:
        """Return how many rows fit the memory limit."""
        row_bytes = self.row_bytes(fragment)
        if row_bytes > self.memory_bytes:
            raise CutError(
                f"fragment {fragment.label} ({fragment.width} qubits, "
                f"{digits(prod(s.rank for s in fragment.sites))} branches) needs "
                f"{digits(row_bytes // 2**30)} GiB for one parameter set, expected at most "
                f"{self.memory_bytes / 2**30:.3g} GiB; "
                f"{_way_to_fit(fragment, row_bytes // self.memory_bytes, self._most_qubits)}"
            )
        return int(max(1, self.memory_bytes // row_bytes))

    def row_bytes(self, fragment: Fragment) -> int:
        """Return what all states of one row take, with what autograd keeps of them."""
        return self._plan(fragment).amplitudes * self.dtype.itemsize

    def widest(self, fragment: Fragment) -> int:
        """Return the amplitudes of the largest state of one row."""
        return self._plan(fragment).widest

    @property
    def _most_qubits(self) -> int:
        """Most qubits of a circuit that surely fits without cuts, in a few states."""
        return max(1, int(np.log2(self.memory_bytes / (8 * self.dtype.itemsize))))

    def _plan(self, fragment: Fragment) -> StatevectorPlan:
        return _cached(self._plans, fragment, lambda: StatevectorPlan(fragment))

    def _schedule(self, fragment: Fragment) -> _Schedule:
        plan = self._plan(fragment)
        return _cached(self._cache, fragment, lambda: _Schedule(plan, self.device, self.dtype))


@cache
def _keep_freed_memory() -> None:
    """Ask glibc to keep what is freed for the next state instead of giving it back.

    Otherwise each operation's result is new memory to the kernel, which clears it page by page:
    11 ns an amplitude where the product itself takes 3 (measured on a virtual machine with states
    of 4 to 32 MiB). Elsewhere than with glibc nothing happens.
    """
    try:
        library = ctypes.CDLL(None)
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            library.mallopt(option, KEPT_BYTES)
    except (OSError, AttributeError):
        return


@dataclass(frozen=True)
class Linearised:
    """A fragment's tensor (rows, observables, *R^2) as a function of its angles, at a point."""

    angles: torch.Tensor
    tensor: torch.Tensor
    amplitudes: int  # of the widest state of all rows, which the pull-back works on

    @property
    def values(self) -> np.ndarray:
        """The tensor as an array."""
        return self.tensor.detach().cpu().numpy()

    def pull_back(self, cotangents: np.ndarray) -> np.ndarray:
        """Return d outputs / d angles; see `StatevectorEngine.pull_back`."""
        if not self.tensor.requires_grad:  # nothing is observed here: the angles do not matter
            return np.zeros((len(self.angles), cotangents.shape[1], self.angles.shape[1]))
        weights = torch.as_tensor(cotangents).to(self.tensor.device, self.tensor.dtype).conj()
        with threads_for(self.amplitudes):
            gradients = [
                torch.autograd.grad(
                    self.tensor,
                    self.angles,
                    weights[:, k].reshape(self.tensor.shape),
                    retain_graph=True,
                )[0]
                for k in range(weights.shape[1])
            ]
        return torch.stack(gradients, dim=1).cpu().numpy()


@contextmanager
def threads_for(amplitudes: int) -> Iterator[None]:
    """Use one thread for small states: handing work around costs more than doing it.

    Measured on two cores with another process running: a 36-qubit circuit in three
    fragments 15 ms with one thread, 380 to 630 ms with two.
    """
    before = torch.get_num_threads()
    if amplitudes >= THREADED_AMPLITUDES or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cached(cache: OrderedDict[str, _Kept], fragment: Fragment, make: Callable[[], _Kept]) -> _Kept:
    """Return what is kept for a fragment, made on first sight; the longest unused is dropped."""
    key = fragment.fingerprint
    with _CACHING:  # an in-process pilot runs several workers on threads of one process
        if key not in cache:
            cache[key] = make()
            if len(cache) > CACHED_FRAGMENTS:
                cache.popitem(last=False)
        cache.move_to_end(key)
        return cache[key]


def _way_to_fit(fragment: Fragment, times_too_large: int, most_qubits: int) -> str:
    """Return how a circuit is cut so that its states would fit: each qubit less halves them."""
    width = fragment.width - times_too_large.bit_length()
    if fragment.width > most_qubits and width >= 1:
        return f"cut it narrower: more cuts, or max_width={width}"
    return f"its cuts are too many: cut it less, or max_width={most_qubits}"


def _state_outcomes(state: np.ndarray, axes: list[Axis], wires: Sequence[int]) -> StateOutcomes:
    """Return a group's state as outcomes, the axes of sites first."""
    sites = tuple(k for kind, k in axes if kind == "site")
    own = tuple(k for kind, k in axes if kind == "wire")
    order = [axes.index(("site", s)) for s in sites] + [axes.index(("wire", w)) for w in own]
    ending = tuple(w for w in own if w in wires)
    return StateOutcomes(state.transpose(order), sites, own, ending)


# Brings a constant to an engine's device and dtype.
_Put = Callable[[np.ndarray], torch.Tensor]


# -- running -----------------------------------------------------------------------------


class _Schedule:
    """A planned fragment with its constants on a device."""

    def __init__(self, plan: StatevectorPlan, device: torch.device, dtype: torch.dtype) -> None:
        self.plan, fragment = plan, plan.fragment
        self._device, self._dtype = device, dtype
        self._real = torch.float64 if dtype == torch.complex128 else torch.float32
        native = self.plan.native
        self._linear = torch.as_tensor(native.linear, dtype=self._real, device=device)
        self._offset = torch.as_tensor(native.offset, dtype=self._real, device=device)
        self._harmonics = {n: self._complex(np.array(h)) for n, h in self.plan.harmonics.items()}
        self._eye = torch.eye(2, dtype=dtype, device=device)
        alike: dict[tuple[object, ...], list[int]] = {}
        for number, operation in enumerate(self.plan.operations):
            if operation.matrix is not None:
                alike.setdefault(operation.matrix.pattern, []).append(number)
        self._products = [
            _Product([self.plan.operations[k].matrix for k in some], some, self._complex)
            for some in alike.values()
        ]
        self._grams = [_Gram(fragment, axes, self._complex) for axes in self.plan.axes.values()]
        self._outer = _Outer(fragment, [gram.sites for gram in self._grams])

    def _complex(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=self._dtype, device=self._device)

    def run(self, angles: torch.Tensor) -> torch.Tensor:
        """Return the tensor (rows, observables, *R^2) for angles (rows, angles)."""
        states = self.states(angles)
        grams = [
            gram(states[group]) for group, gram in zip(self.plan.axes, self._grams, strict=True)
        ]
        return self._outer(grams)

    def states(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return the final state of each group, (rows, *axes of the plan)."""
        rows = len(angles)
        free = self._free_matrices(angles.to(self._real))
        matrices = {n: m for product in self._products for n, m in product(free)}
        states: dict[int, torch.Tensor] = {}
        for number, operation in enumerate(self.plan.operations):
            if operation.kind == "apply":
                state = states[operation.group].permute(0, *(k + 1 for k in operation.order))
                matrix = matrices[number]
                flat = matrix @ state.reshape(rows, matrix.shape[-1], -1)
                states[operation.group] = flat.reshape(rows, *operation.shape)
            elif operation.kind == "join":
                a, b = (states.pop(k) for k in operation.sources)
                outer = a.reshape(rows, -1, 1) * b.reshape(rows, 1, -1)
                states[operation.group] = outer.reshape(rows, *a.shape[1:], *b.shape[1:])
            else:
                fresh = self._eye if operation.kind == "open" else self._eye[0]
                states[operation.group] = fresh.expand(rows, *fresh.shape)
        return states

    def _free_matrices(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return all free gates' matrices, size -> (gates, rows, d, d)."""
        half = (angles @ self._linear + self._offset) / 2
        free = {}
        for size, columns in self.plan.angles.items():
            if columns:
                x = half[:, columns].T
                harmonics = torch.stack([torch.ones_like(x), torch.cos(x), torch.sin(x)], dim=-1)
                free[size] = torch.einsum(
                    "nrk,nkij->nrij", harmonics.to(self._dtype), self._harmonics[size]
                )
        return free


class _Product:
    """Multiplies the factors of many matrices of one pattern as one batch."""

    def __init__(self, matrices: Sequence[Matrix | None], numbers: list[int], put: _Put) -> None:
        some = [matrix for matrix in matrices if matrix is not None]
        self._numbers = numbers
        self._before = [self._chain([m.before[w] for m in some], put) for w in _wires(some)]
        self._after = [self._chain([m.after[w] for m in some], put) for w in _wires(some)]
        own = [m.own for m in some if m.own is not None]
        self._own = self._stack(own, put) if own else None
        self._size = len(self._before)
        self._eye = put(np.eye(2))

    def _chain(self, chains: list[Chain], put: _Put) -> list[torch.Tensor | list[int]]:
        return [self._stack(list(factors), put) for factors in zip(*chains, strict=True)]

    @staticmethod
    def _stack(factors: list[Factor], put: _Put) -> torch.Tensor | list[int]:
        """Return constants (matrices, 1, d, d), or the numbers of free gates."""
        constants = [f.constant for f in factors if f.constant is not None]
        return put(np.array(constants)[:, None]) if constants else [f.index for f in factors]

    def __call__(self, free: dict[int, torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (operation, matrix (rows or 1, D, d)) for free gates (gates, rows, d, d)."""
        result = self._both([self._multiplied(c, free) for c in self._before])
        if self._own is not None:
            own = _value(self._own, free, self._size)
            result = own if result is None else own @ result
        after = self._both([self._multiplied(c, free) for c in self._after])
        assert result is not None
        if after is not None:
            # A site's branches stand above each other: the factor applies to each of them.
            height = after.shape[-1]
            tall = result.reshape(*result.shape[:2], -1, height, result.shape[-1])
            result = (after[:, :, None] @ tall).flatten(2, 3)
        return zip(self._numbers, result, strict=True)

    def _multiplied(
        self, chain: list[torch.Tensor | list[int]], free: dict[int, torch.Tensor]
    ) -> torch.Tensor | None:
        product = None
        for factor in chain:
            value = _value(factor, free, 1)
            product = value if product is None else value @ product
        return product

    def _both(self, sides: list[torch.Tensor | None]) -> torch.Tensor | None:
        """Return the Kronecker product of both wires' matrices, or the one wire's."""
        if len(sides) == 1 or all(side is None for side in sides):
            return sides[0]
        a, b = (self._eye[None, None] if side is None else side for side in sides)
        product = a[..., :, None, :, None] * b[..., None, :, None, :]
        return product.reshape(*product.shape[:2], 4, 4)


def _wires(matrices: Sequence[Matrix]) -> range:
    return range(len(matrices[0].before))


def _value(
    factor: torch.Tensor | list[int], free: dict[int, torch.Tensor], size: int
) -> torch.Tensor:
    return factor if isinstance(factor, torch.Tensor) else free[size][factor]


class _Gram:
    """Gram matrices of one group's branches, for the letters that stand on its wires."""

    def __init__(self, fragment: Fragment, axes: list[Axis], put: _Put) -> None:
        self.sites = [k for kind, k in axes if kind == "site"]
        wires = [k for kind, k in axes if kind == "wire"]
        self._order = [0, *(1 + axes.index(("site", s)) for s in self.sites)]
        self._order += [1 + axes.index(("wire", w)) for w in wires]
        self._branches = prod(fragment.sites[s].rank for s in self.sites)
        both = np.hstack([fragment.observables.x[:, wires], fragment.observables.z[:, wires]])
        letters, self._index = np.unique(both, axis=0, return_inverse=True)
        self._index = self._index.reshape(-1)
        width = len(wires)
        self._flips = [[int(k) + 2 for k in np.flatnonzero(row[:width])] for row in letters]
        self._phases = [put(_phases(row[:width], row[width:])) for row in letters]
        self._trivial = [not row.any() and not self.sites for row in letters]
        self._shape = (2,) * width

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        """Return (rows, observables, ket branches, bra branches)."""
        rows = len(state)
        ket = state.permute(self._order).reshape(rows, self._branches, *self._shape)
        bra = ket.reshape(rows, self._branches, -1).conj().transpose(1, 2)
        grams = []
        for flips, phases, trivial in zip(self._flips, self._phases, self._trivial, strict=True):
            if trivial:  # gates keep the norm
                grams.append(torch.ones_like(bra[:, :1, :1]))
                continue
            changed = ket.flip(flips) if flips else ket
            grams.append((changed.reshape(rows, self._branches, -1) * phases) @ bra)
        return torch.stack(grams, dim=1)[:, self._index]


def _phases(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return what a Pauli multiplies each amplitude with, after its flips, (2^wires,)."""
    phases = np.ones(1, dtype=complex)
    for flip, sign in zip(x, z, strict=True):
        one = [1, 1] if not sign else [-1j, 1j] if flip else [1, -1]
        phases = np.kron(phases, one)
    return phases


class _Outer:
    """Puts the groups' Gram matrices together in the order of the fragment's sites."""

    def __init__(self, fragment: Fragment, groups: list[list[int]]) -> None:
        ranks = [site.rank for site in fragment.sites]
        self._shapes = [tuple(2 * [ranks[s] for s in sites]) for sites in groups]
        axes = [(s, side) for sites in groups for side in (0, 1) for s in sites]
        order = [axes.index((s, side)) for s in range(len(ranks)) for side in (0, 1)]
        self._order = (0, 1, *(k + 2 for k in order))
        self._final = tuple(rank**2 for rank in ranks)

    def __call__(self, grams: list[torch.Tensor]) -> torch.Tensor:
        rows, observables = grams[0].shape[:2]
        whole = grams[0].reshape(rows, observables, -1)
        for gram in grams[1:]:
            whole = whole[..., :, None] * gram.reshape(rows, observables, 1, -1)
            whole = whole.reshape(rows, observables, -1)
        shape = [size for one in self._shapes for size in one]
        whole = whole.reshape(rows, observables, *shape).permute(self._order)
        return whole.reshape(rows, observables, *self._final)
