"""Contraction over the ranks of an MPI communicator.

Rank 0 has the question; what it passes decides, and the others may pass None. Each rank
contracts its share of a `Division` (rows of the batch first, then terms, then slices of bond
indices) from the blocks that the share needs: sent by rank 0 out of its arrays, or read from
a `TensorStore`. Values and standard errors are added by one ``Reduce``, or ``Allreduce``
where everyone wants them. Environments go block by block (`pilotcut.reconstruction.mpi_sums`).

Start ranks with ``python -m mpi4py``, so that one that fails aborts the others, which would
wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mpi4py import MPI

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.reconstruction.contraction import (
    BATCH,
    TERM,
    Contraction,
    sensitivities,
    standard_errors,
)
from pilotcut.reconstruction.mpi_job import Entries, Operands, RankJob
from pilotcut.reconstruction.mpi_sums import DistributedSum
from pilotcut.reconstruction.tensor_store import TensorStore


class Sums(NamedTuple):
    """Values (batch, terms), and for each operand d value / d operand if that was asked."""

    values: np.ndarray
    environments: list[np.ndarray]


class Estimate(NamedTuple):
    """Values and standard errors of sums of terms, (batch, observables) both."""

    values: np.ndarray
    errors: np.ndarray


def contract(
    contraction: Contraction | None,
    operands: Operands | None,
    comm: MPI.Intracomm,
    *,
    environments: bool = False,
    everywhere: bool = False,
) -> Sums | None:
    """Return what `Contraction.values` or `values_and_environments` do, from all ranks.

    Parameters
    ----------
    contraction, operands, environments, everywhere
        As rank 0 passes them. `operands` are arrays as of `Contraction.operands`, of which
        each rank is sent its part, or a `TensorStore` from which each reads it.
    comm
        Who takes part; all of its ranks call this.
    everywhere
        Whether every rank gets the result, or rank 0 alone (None elsewhere).

    Raises
    ------
    ValueError, OSError
        On all ranks, where the operands do not fit the contraction or cannot be read.

    Notes
    -----
    Memory: a rank holds its blocks of the operands (of a store: those of one box at a time),
    the arrays of one box, and its blocks of the environments. Whoever gets the environments
    holds all of them.
    """
    environments, everywhere = comm.bcast((environments, everywhere))
    job = RankJob.agreed(comm, contraction, operands)
    values = np.zeros((job.rows, job.terms), job.dtype)
    axes = job.environment_axes if environments else []
    slopes = [DistributedSum.of(job, *one) for one in axes]
    for box, some, parts in job.contract_share(operands, environments):
        # Added, as slices of one row and term are parts of one value.
        values[box[BATCH], box[TERM]] += some
        for slope, part in zip(slopes, parts, strict=True):
            slope.add(box, part)
    added = _reduced(comm, values, everywhere)
    whole = [slope.on_first(everywhere) for slope in slopes]
    return None if added is None else Sums(added, whole)


def estimate(
    contraction: Contraction | None,
    entries: Entries | None,
    tensors: Sequence[FragmentTensor] | TensorStore | None,
    bonds: Sequence[np.ndarray] | None,
    coefficients: np.ndarray | None,
    comm: MPI.Intracomm,
    *,
    everywhere: bool = False,
) -> Estimate | None:
    """Return sums of terms with their standard errors, from all ranks.

    A rank turns environments into `sensitivities` box by box, so that no environment is ever
    whole. Each rank then adds up those of some rows, of which it computes the errors.

    Parameters
    ----------
    contraction, entries, tensors, bonds, coefficients, everywhere
        As rank 0 passes them. `coefficients` are (observables, terms) or (batch, observables,
        terms); a `TensorStore` has the bonds as well. Tensors without covariances are exact.
    comm
        Who takes part; all of its ranks call this.

    Raises
    ------
    ValueError, OSError
        On all ranks, where the tensors do not fit the contraction or cannot be read.
    """
    noisy = _noisy(tensors)
    entries, coefficients, noisy, everywhere = comm.bcast(
        (entries, coefficients, noisy, everywhere)
    )
    operands = _operands(contraction, tensors, bonds)
    job = RankJob.agreed(comm, contraction, operands)
    if entries is None or coefficients is None:
        raise ValueError("rank 0 passes no entries or coefficients, expected both from it")
    weights = np.broadcast_to(coefficients, (job.rows, *coefficients.shape[-2:]))
    both = np.zeros((2, *weights.shape[:2]))  # values, errors
    axes = job.sensitivity_axes(weights) if noisy else []
    slopes = [DistributedSum.of(job, *one) for one in axes]
    for box, some, parts in job.contract_share(operands, noisy):
        rows, terms = box[BATCH], box[TERM]
        both[0, rows] += np.einsum("rot,rt->ro", weights[rows, :, terms], some.real)
        for f, slope in enumerate(slopes):
            index = job.contraction.term_index[terms, f]
            part = sensitivities(index, parts[f], weights[rows, :, terms], slope.shape[2])
            slope.add(box, part.reshape(*part.shape[:3], *parts[f].shape[2:]))
    if noisy:
        noise = job.covariances(entries, tensors)
        both[1, job.own_rows] = standard_errors(entries, noise, [s.on_owners() for s in slopes])
    added = _reduced(comm, both, everywhere)
    return None if added is None else Estimate(added[0], added[1])


def _noisy(tensors: Sequence[FragmentTensor] | TensorStore | None) -> bool:
    if isinstance(tensors, TensorStore):
        return tensors.has_covariances()
    return any(tensor.covariances for tensor in tensors or ())


def _operands(
    contraction: Contraction | None,
    tensors: Sequence[FragmentTensor] | TensorStore | None,
    bonds: Sequence[np.ndarray] | None,
) -> Operands | None:
    if isinstance(tensors, TensorStore) or contraction is None or tensors is None:
        return tensors if isinstance(tensors, TensorStore) else None
    return contraction.operands(tensors, bonds or ())


def _reduced(comm: MPI.Intracomm, part: np.ndarray, everywhere: bool) -> np.ndarray | None:
    """Return the sum over ranks, on rank 0 or everywhere."""
    if everywhere:
        comm.Allreduce(MPI.IN_PLACE, part)
        return part
    if comm.rank == 0:
        comm.Reduce(MPI.IN_PLACE, part)
        return part
    comm.Reduce(part, None)
    return None
