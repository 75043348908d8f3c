"""Contraction of a batch: in this process while it runs, or by the ranks of an MPI pilot.

Owns the choice between them. Refuses to know how fragments were measured.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.execution.results import Contracting, Evaluation
from pilotcut.options import counted
from pilotcut.pilots import PilotState
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch
from pilotcut.reconstruction.tensor_store import TensorStore
from pilotcut.reconstruction.term_sampling import TermSample
from pilotcut.tasks import TaskManager

_log = logging.getLogger(__name__)

#: What is predicted to take less is not worth a task: files, dispatch, and nothing streams.
#: Chains, rings and grids of up to 12 cuts take at most 7 ms here in the median. Contractions of
#: half a second to five are 1.8 to 4 times as fast on two ranks (benchmarks/reconstruction.py).
LEAST_MPI_S = 1.0


@dataclass(kw_only=True)
class RankContracting(Contracting):
    """A batch that the ranks of a pilot put together, from files that all of them read.

    Parameters
    ----------
    tasks, ranks, pilots
        Where: how many ranks, on one of these pilots of a task manager.
    is_asked
        Whether somebody asked for ranks. Where nobody did and they fail, this process contracts.
    """

    tasks: TaskManager
    ranks: int
    pilots: tuple[str, ...]
    is_asked: bool

    def add(self, rows: slice, tensors: Sequence[FragmentTensor]) -> None:
        """Do nothing yet: what is divided is the whole."""

    def evaluation(self, tensors: Sequence[FragmentTensor]) -> Evaluation:
        """Return what is known once all rows were added."""
        try:
            return self._over_ranks(tensors)
        except (TaskError, PilotError, OSError) as error:
            if self.is_asked and isinstance(error, OSError):
                raise UserError(
                    f"tensors for the ranks cannot be written ({error}), expected a place with "
                    f"space left beside {self.tasks.pilots.connection_file}; make room, or "
                    f"give reconstruction='local'"
                ) from error
            if self.is_asked:
                raise
            _log.warning("reconstruction over ranks failed, it goes on in this process: %s", error)
        here = Contracting(self.contraction, self.matrices)
        here.add(slice(0, len(tensors[0].values)), tensors)
        return here.evaluation(tensors)

    def _over_ranks(self, tensors: Sequence[FragmentTensor]) -> Evaluation:
        contraction = self.contraction
        assert isinstance(contraction, Contraction)
        directory = self._directory()
        try:
            # Covariances are for standard errors, which are made of the environments here.
            values_only = [FragmentTensor(tensor.values, ()) for tensor in tensors]
            TensorStore.write(directory, values_only, self.matrices)
            self.tasks.submit_task(
                contract_on_ranks,
                directory,
                contraction.without_plan(),
                ranks=self.ranks,
                pilot=self.pilots,
                name="reconstruction",
            ).result()
            values = np.load(directory / "values.npy")
            count = len(contraction.indices)
            environments = [np.load(directory / f"environment-{k}.npy") for k in range(count)]
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return Evaluation(contraction, values.real, tensors, environments)

    def _directory(self) -> Path:
        """Return a new directory that the ranks can read."""
        file = self.tasks.pilots.connection_file
        assert file is not None, "MPI pilots have a scheduler"
        # Beside the connection file, which all nodes of the pilots read.
        made = file.parent / f"reconstruction-{uuid.uuid4().hex[:12]}"
        made.mkdir(mode=0o700)
        return made


def contract_on_ranks(directory: Path, contraction: Contraction) -> None:
    """Contract what a directory holds, on all ranks of this process's world; write the result."""
    from mpi4py import MPI

    from pilotcut.reconstruction.mpi_contraction import contract

    found = contract(contraction, TensorStore(directory), MPI.COMM_WORLD, environments=True)
    if found is not None:
        np.save(directory / "values.npy", found.values)
        for k, environment in enumerate(found.environments):
            np.save(directory / f"environment-{k}.npy", environment)


def contracting_for(
    wanted: str,
    tasks: TaskManager | None,
    contraction: Contraction | TermSample,
    matrices: Sequence[np.ndarray],
    *,
    rows: int,
    exact: bool,
) -> Contracting:
    """Return what puts a batch together, here or on ranks, with the reason.

    Parameters
    ----------
    wanted
        One of `pilotcut.options.RECONSTRUCTIONS`.
    tasks
        Whose pilots may be used.
    contraction, matrices
        What is contracted, see `Contracting`.
    rows, exact
        For how many parameter sets, and whether in complex numbers.

    Raises
    ------
    UserError
        If ranks are wanted and no pilot has any.
    """

    def here(reason: str) -> Contracting:
        return Contracting(contraction, matrices, reason)

    if wanted == "local":
        return here("local, as asked")
    if not isinstance(contraction, Contraction):
        return here("local: terms are sampled, which leaves nothing to contract")
    pilots = [
        pilot
        for pilot in (tasks.takers if tasks is not None else ())
        if pilot.description.ranks > 1 and not pilot.state.final
    ]
    if not pilots:
        if wanted == "auto":
            return here("local: no pilot has ranks")
        raise UserError(
            "reconstruction is 'mpi', expected a pilot with ranks of 2 or more among those "
            "described; add one (see: pilotcut pilots show laptop_mpi --yaml) or use 'auto'"
        )
    cost = cost_of_batch(contraction, rows, environments=True, itemsize=16 if exact else 8)
    seconds = cost.seconds
    says = f"{seconds:.2g} s and {cost.bytes / 2**20:.3g} MiB are predicted here"
    if wanted == "auto" and seconds < LEAST_MPI_S:
        return here(f"local: {says}")
    if wanted == "auto":  # one that waits in a queue may come tomorrow
        pilots = [pilot for pilot in pilots if pilot.state is PilotState.ACTIVE]
        if not pilots:
            return here(f"local: no pilot with ranks is active yet; {says}")
    assert tasks is not None
    ranks = max(pilot.description.ranks for pilot in pilots)
    names = tuple(pilot.name for pilot in pilots if pilot.description.ranks == ranks)
    return RankContracting(
        contraction,
        matrices,
        f"mpi on {counted(ranks, 'rank')}: {says}",
        tasks=tasks,
        ranks=ranks,
        pilots=names,
        is_asked=wanted == "mpi",
    )
