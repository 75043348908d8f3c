"""Statevector engine: exact fragment tensors, from a state for every branch of the cuts.

In the coherent basis a cut is ``U = sum_r c_r A_r x B_r``. A fragment with sites of rank R
has one statevector ``phi_a`` for each choice ``a`` of branches, and its tensor is the Gram
matrix ``<phi_b|O|phi_a>``, whose pairs (ket a, bra b) are the bond indices. Nothing is
measured and nothing is sampled, so it is exact, and torch differentiates through it.

Gates are fused: what stands on one wire waits as a 2x2 matrix until a two-qubit gate or a site
takes it along. And wires are joined lazily: a wire that no gate has entangled yet is a vector of
its own, so a chain grows to its full width only at its last gate. What is done to a fragment is
written down in `pilotcut.backends.statevector_plan`. Values and first derivatives are computed in
`pilotcut.backends.statevector_adjoint`, which keeps few states; higher derivatives and density
matrices in `pilotcut.backends.statevector_schedule`, which lets autograd record all of them. This
module owns memory, threads, and what is kept from call to call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Protocol

import numpy as np
import torch

from pilotcut.backends.cache import Cache
from pilotcut.backends.outcomes import StateOutcomes
from pilotcut.backends.sign_tensors import BranchStates
from pilotcut.backends.statevector_adjoint import Sweep, SweepPoint
from pilotcut.backends.statevector_plan import MEMORY_BYTES, Axis, StatevectorPlan
from pilotcut.backends.statevector_schedule import Schedule
from pilotcut.cutting.fragment import Fragment
from pilotcut.errors import CutError, UserError
from pilotcut.io.large_numbers import digits
from pilotcut.options import counted
from pilotcut.pilots.worker.payload import worker_threads

#: States smaller than this, all rows together, are worked on by one thread.
THREADED_AMPLITUDES = 2**22

#: Freed memory up to this size, and blocks of up to it, stay with the process.
KEPT_BYTES = 2**29

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Measured with torch 2.13 on one core of two, forwards and backwards: a call, an operation, and an
# amplitude that it makes; half of that where states are real, and by autograd.
_CALL_S, _OPERATION_S, _AMPLITUDE_S, _RECORDED_S = 7e-4, 9e-5, 1e-8, 2e-8

# The same of a product of amplitudes for expectations, and of a term of a sum of such.
_PRODUCT_S, _SUM_S = 2.5e-8, 3e-9

#: Plans and schedules kept by one engine.
CACHED_FRAGMENTS = 64


class StatevectorEngine:
    """Exact tensors of fragments, differentiable by their angles.

    Parameters
    ----------
    device
        A torch device.
    dtype
        Of the states, `torch.complex128` or `torch.complex64`; tensors and derivatives are in
        double precision.
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
        self._plans: Cache[str, StatevectorPlan] = Cache(CACHED_FRAGMENTS)
        self._schedules: Cache[str, Schedule] = Cache(CACHED_FRAGMENTS)
        self._sweeps: Cache[str, Sweep] = Cache(CACHED_FRAGMENTS)

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
        recorded = angles.requires_grad and torch.is_grad_enabled()
        # First: constants are of a state's size.
        size = self.rows_at_once(fragment, recorded=recorded)
        plan = self._plan(fragment)
        if recorded or plan.mixed:
            run = self._schedule(fragment).run
        else:
            run = self._sweep(fragment).tensor
        with threads_for(plan.widest * min(size, len(angles))):
            parts = [run(chunk) for chunk in angles.to(self.device).split(size)]
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
            _state_outcomes(
                states[group][0].resolve_conj().cpu().numpy(),
                axes,
                wires,
                mixed=group in schedule.plan.mixed,
            )
            for group, axes in schedule.plan.axes.items()
        ]

    def branch_states(self, fragment: Fragment, angles: np.ndarray) -> list[BranchStates]:
        """Return the final states of all branches for angles (rows, angles), group by group.

        All at once: rows are the caller's to divide, see `rows_at_once`.
        """
        self.rows_at_once(fragment)
        schedule = self._schedule(fragment)
        with torch.no_grad(), threads_for(schedule.plan.widest * len(angles)):
            states = schedule.states(torch.as_tensor(angles).to(self.device))
        return [
            BranchStates(
                np.broadcast_to(
                    state := states[group].resolve_conj().cpu().numpy(),
                    (len(angles), *state.shape[1:]),
                ),
                tuple(axes),
                group in schedule.plan.mixed,
            )
            for group, axes in schedule.plan.axes.items()
        ]

    def pull_back(
        self,
        fragment: Fragment,
        angles: np.ndarray,
        cotangents: np.ndarray,
        wanted: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return ``Re sum_i cotangent_i dT_i/d angle``, (rows, outputs, angles).

        Parameters
        ----------
        angles
            (rows, angles).
        cotangents
            (rows, outputs, observables, variants) complex: for each output its derivative by
            the tensor, branch pairs flattened.
        wanted
            Boolean (angles,), by which angles; by others it may be anything. None for all.
        """
        return self.linearised(fragment, angles).pull_back(cotangents, wanted)

    def linearised(self, fragment: Fragment, angles: np.ndarray) -> Linearised:
        """Return the tensor at some angles with what its derivatives need."""
        plan, given = self._plan(fragment), torch.as_tensor(angles)
        amplitudes = plan.widest * len(angles)
        if plan.mixed:
            free = given.requires_grad_()
            with torch.enable_grad():  # this may run inside a backward pass, where it is off
                tensor = self.tensor(fragment, free)
            return RecordedStates(free, tensor, amplitudes)
        size, sweep = self.rows_at_once(fragment), self._sweep(fragment)
        with threads_for(amplitudes):
            points = [sweep.at(chunk) for chunk in given.to(self.device).split(size)]
        rows = min(size, len(given))
        outputs = self.memory_bytes // (rows * self._itemsize(plan)) - plan.kept
        return SweptStates(points, amplitudes, max(1, outputs // plan.per_output - 1))

    def rows_at_once(self, fragment: Fragment, *, recorded: bool = False) -> int:
        """Return how many rows fit the memory limit; see `row_bytes`."""
        row_bytes = self.row_bytes(fragment, recorded=recorded)
        if row_bytes > self.memory_bytes:
            raise CutError(
                f"fragment {fragment.label} ({counted(fragment.width, 'qubit')}, "
                f"{digits(prod(s.rank for s in fragment.sites))} branches) needs "
                f"{digits(row_bytes // 2**30)} GiB for one parameter set, expected at most "
                f"{self.memory_bytes / 2**30:.3g} GiB; "
                f"{_way_to_fit(fragment, row_bytes // self.memory_bytes, self._most_qubits)}"
            )
        return int(max(1, self.memory_bytes // row_bytes))

    def row_bytes(self, fragment: Fragment, *, recorded: bool = False) -> int:
        """Return what the states of one row take at the same time, with those of its derivatives.

        Parameters
        ----------
        recorded
            Whether autograd records them, for higher derivatives: it keeps every state.
        """
        plan = self._plan(fragment)
        if recorded:
            return plan.amplitudes * self.dtype.itemsize
        return plan.row_bytes * self.dtype.itemsize // 16

    def _itemsize(self, plan: StatevectorPlan) -> int:
        return self.dtype.itemsize // (2 if plan.real else 1)

    def widest(self, fragment: Fragment) -> int:
        """Return the amplitudes of the largest state of one row."""
        return self._plan(fragment).widest

    def seconds(self, fragment: Fragment, rows: int) -> float:
        """Return about how long values and derivatives of a batch take."""
        plan = self._plan(fragment)
        made_s = _RECORDED_S if plan.mixed else _AMPLITUDE_S / (2 if plan.real else 1)
        made_s *= self.dtype.itemsize / 16
        made = plan.amplitudes * made_s
        made += sum(gram.products * _PRODUCT_S + gram.sums * _SUM_S for gram in plan.grams)
        return _CALL_S + len(plan.operations) * _OPERATION_S + rows * made

    @property
    def _most_qubits(self) -> int:
        """Most qubits of a circuit that surely fits without cuts, in a few states."""
        return max(1, int(np.log2(self.memory_bytes / (8 * self.dtype.itemsize))))

    def _plan(self, fragment: Fragment) -> StatevectorPlan:
        return self._plans.get(fragment.fingerprint, lambda: StatevectorPlan.cheapest(fragment))

    def _schedule(self, fragment: Fragment) -> Schedule:
        plan = self._plan(fragment)
        return self._schedules.get(
            fragment.fingerprint, lambda: Schedule(plan, self.device, self.dtype)
        )

    def _sweep(self, fragment: Fragment) -> Sweep:
        plan = self._plan(fragment)
        return self._sweeps.get(fragment.fingerprint, lambda: Sweep(plan, self.device, self.dtype))


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


class Linearised(Protocol):
    """A fragment's tensor at some angles, with what its derivatives need."""

    @property
    def values(self) -> np.ndarray:
        """The tensor (rows, observables, *R^2 of each site)."""

    def pull_back(
        self, cotangents: np.ndarray, wanted: np.ndarray | None = None, summed: bool = False
    ) -> np.ndarray:
        """Return d outputs / d angles; see `StatevectorEngine.pull_back`.

        With `summed` their sum over rows, (1, outputs, angles).
        """


@dataclass(frozen=True)
class SweptStates:
    """`Linearised` by adjoint sweeps, without the states that were passed through.

    Parameters
    ----------
    points
        Chunks of rows.
    amplitudes
        Of the widest state of all rows.
    outputs
        How many are differentiated at once.
    """

    points: list[SweepPoint]
    amplitudes: int
    outputs: int

    @property
    def values(self) -> np.ndarray:
        """The tensor (rows, observables, *R^2) as an array."""
        return np.concatenate([point.tensor.cpu().numpy() for point in self.points])

    def pull_back(
        self, cotangents: np.ndarray, wanted: np.ndarray | None = None, summed: bool = False
    ) -> np.ndarray:
        """Return d outputs / d angles; see `Linearised.pull_back`."""
        found, first = [], 0
        with threads_for(self.amplitudes):
            for point in self.points:
                rows = slice(first, first := first + len(point.tensor))
                some = _weights(cotangents[rows], point.tensor)
                parts = [point.pull_back(part, wanted) for part in some.split(self.outputs, dim=1)]
                found.append(torch.cat(parts, dim=1))
        slopes: np.ndarray = torch.cat(found).cpu().numpy()
        return slopes.sum(axis=0, keepdims=True) if summed else slopes


@dataclass(frozen=True)
class RecordedStates:
    """`Linearised` by autograd: ``tensor`` (rows, observables, *R^2) of ``angles``."""

    angles: torch.Tensor
    tensor: torch.Tensor
    amplitudes: int  # of the widest state of all rows, which the pull-back works on

    @property
    def values(self) -> np.ndarray:
        """The tensor as an array."""
        return self.tensor.detach().cpu().numpy()

    def pull_back(
        self, cotangents: np.ndarray, wanted: np.ndarray | None = None, summed: bool = False
    ) -> np.ndarray:
        """Return d outputs / d angles, all of them; see `Linearised.pull_back`."""
        if not self.tensor.requires_grad:  # nothing is observed here: the angles do not matter
            rows = 1 if summed else len(self.angles)
            return np.zeros((rows, cotangents.shape[1], self.angles.shape[1]))
        weights = _weights(cotangents, self.tensor)
        with threads_for(self.amplitudes):
            gradients = [
                torch.autograd.grad(self.tensor, self.angles, weights[:, k], retain_graph=True)[0]
                for k in range(weights.shape[1])
            ]
        slopes: np.ndarray = torch.stack(gradients, dim=1).cpu().numpy()
        return slopes.sum(axis=0, keepdims=True) if summed else slopes


def _weights(cotangents: np.ndarray, tensor: torch.Tensor) -> torch.Tensor:
    """Return torch's (rows, outputs, *tensor) for cotangents (rows, outputs, .., variants)."""
    # Re(c T) has the slopes Re(c) and -Im(c) by the parts of T: to torch that is conj(c).
    weights = torch.as_tensor(cotangents).to(tensor.device, tensor.dtype).conj()
    return weights.reshape(*weights.shape[:2], *tensor.shape[1:])


@contextmanager
def threads_for(amplitudes: int) -> Iterator[None]:
    """Use one thread for small states: handing work around costs more than doing it.

    Measured on two cores with another process running: a 36-qubit circuit in three
    fragments 15 ms with one thread, 380 to 630 ms with two.
    """
    before = torch.get_num_threads()
    # Workers that are threads of one process would each take all that the process has.
    threads = 1 if amplitudes < THREADED_AMPLITUDES else worker_threads() or before
    if threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _way_to_fit(fragment: Fragment, times_too_large: int, most_qubits: int) -> str:
    """Return how a circuit is cut so that its states would fit: each qubit less halves them."""
    width = fragment.width - times_too_large.bit_length()
    if fragment.width > most_qubits and width >= 1:
        return f"cut it narrower: more cuts, or max_width={width}"
    return f"its cuts are too many: cut it less, or max_width={most_qubits}"


def _state_outcomes(
    state: np.ndarray, axes: list[Axis], wires: Sequence[int], *, mixed: bool
) -> StateOutcomes:
    """Return a group's state as outcomes, the axes of sites first."""
    sites = tuple(k for kind, k in axes if kind == "site")
    own = tuple(k for kind, k in axes if kind == "wire")
    order = [axes.index(("site", s)) for s in sites] + [axes.index(("wire", w)) for w in own]
    ending = tuple(w for w in own if w in wires)
    if mixed:
        state = _purified(state)
        order.append(len(axes))
        own += (-1,)  # nobody's wire, which is summed over
    return StateOutcomes(state.transpose(order), sites, own, ending)


def _purified(rho: np.ndarray) -> np.ndarray:
    """Return a state (*axes, size) whose density matrix over the axes is rho, (*axes, *axes)."""
    shape = rho.shape[: rho.ndim // 2]
    values, vectors = np.linalg.eigh(rho.reshape(prod(shape), -1))
    return (vectors * np.sqrt(values.clip(0.0))).reshape(*shape, -1)
