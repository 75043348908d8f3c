"""Where a batch is put together: in this process while it runs, or by the ranks of a pilot."""

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
from pilotcut.execution.results import Compiled, Contracting, Evaluation
from pilotcut.pilots import PilotState
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch
from pilotcut.reconstruction.tensor_store import TensorStore
from pilotcut.tasks import TaskManager

_log = logging.getLogger(__name__)

#: What is predicted to take less is not worth a task: files, dispatch, and nothing streams.
LEAST_MPI_S = 1.0


@dataclass(frozen=True)
class Here:
    """Contract in this process, rows that are complete while others still run."""

    reason: str

    def start(self, compiled: Compiled, matrices: Sequence[np.ndarray]) -> Contracting:
        """Return what takes the rows."""
        return Contracting(compiled, matrices)


@dataclass(frozen=True)
class OverRanks:
    """Contract on the ranks of an MPI pilot, once everything is there.

    Where nobody asked for it (`is_asked`) and it fails, this process contracts.
    """

    reason: str
    tasks: TaskManager
    ranks: int
    pilots: tuple[str, ...]
    is_asked: bool = True

    def start(self, compiled: Compiled, matrices: Sequence[np.ndarray]) -> RankContracting:
        """Return what takes the rows."""
        return RankContracting(compiled, matrices, how=self)

    def directory(self) -> Path:
        """Return a new directory that the ranks can read."""
        file = self.tasks.pilots.connection_file
        assert file is not None, "MPI pilots have a scheduler"
        made = file.parent / f"reconstruction-{uuid.uuid4().hex[:12]}"
        made.mkdir(mode=0o700)
        return made


@dataclass
class RankContracting(Contracting):
    """A batch that the ranks of a pilot put together, from files that all of them read."""

    how: OverRanks | None = None

    def add(self, rows: slice, tensors: Sequence[FragmentTensor]) -> None:
        """Do nothing yet: what is divided is the whole."""

    def evaluation(self, tensors: Sequence[FragmentTensor]) -> Evaluation:
        """Return what is known once all rows were added."""
        assert self.how is not None
        try:
            return self._over_ranks(self.how, tensors)
        except (TaskError, PilotError, OSError) as error:
            if self.how.is_asked and isinstance(error, OSError):
                raise UserError(
                    f"tensors for the ranks cannot be written ({error}), expected a place with "
                    f"space left beside {self.how.tasks.pilots.connection_file}; make room, or "
                    f"give reconstruction='local'"
                ) from error
            if self.how.is_asked:
                raise
            _log.warning("reconstruction over ranks failed, it goes on in this process: %s", error)
        here = Contracting(self.compiled, self.matrices)
        here.add(slice(0, len(tensors[0].values)), tensors)
        return here.evaluation(tensors)

    def _over_ranks(self, how: OverRanks, tensors: Sequence[FragmentTensor]) -> Evaluation:
        contraction = self.compiled.contraction
        assert isinstance(contraction, Contraction)
        directory = how.directory()
        try:
            values_only = [FragmentTensor(tensor.values, ()) for tensor in tensors]
            TensorStore.write(directory, values_only, self.matrices)
            how.tasks.submit_task(
                contract_on_ranks,
                directory,
                contraction,
                ranks=how.ranks,
                pilot=how.pilots,
                name="reconstruction",
            ).result()
            values = np.load(directory / "values.npy")
            count = len(contraction.indices)
            environments = [np.load(directory / f"environment-{k}.npy") for k in range(count)]
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        operands = contraction.operands(tensors, self.matrices)
        return Evaluation(self.compiled, values.real, tensors, operands, environments)


def contract_on_ranks(directory: Path, contraction: Contraction) -> None:
    """Contract what a directory holds, on all ranks of this process's world; write the result."""
    from mpi4py import MPI

    from pilotcut.reconstruction.mpi_contraction import contract

    found = contract(contraction, TensorStore(directory), MPI.COMM_WORLD, environments=True)
    if found is not None:
        np.save(directory / "values.npy", found.values)
        for k, environment in enumerate(found.environments):
            np.save(directory / f"environment-{k}.npy", environment)


def choose(
    wanted: str, tasks: TaskManager | None, compiled: Compiled, rows: int, exact: bool
) -> Here | OverRanks:
    """Return where a batch is put together, with the reason.

    Parameters
    ----------
    wanted
        One of `pilotcut.options.RECONSTRUCTIONS`.
    tasks
        Whose pilots may be used.
    compiled, rows, exact
        What is contracted, for how many parameter sets, and whether in complex numbers.

    Raises
    ------
    UserError
        If ranks are wanted and no pilot has any.
    """
    contraction = compiled.contraction
    if wanted == "local":
        return Here("local, as asked")
    if not isinstance(contraction, Contraction):
        return Here("local: terms are sampled, which leaves nothing to contract")
    pilots = [
        pilot
        for pilot in (tasks.pilots.pilots if tasks is not None else ())
        if pilot.description.ranks > 1 and not pilot.state.final
    ]
    if not pilots:
        if wanted == "auto":
            return Here("local: no pilot has ranks")
        raise UserError(
            "reconstruction is 'mpi', expected a pilot with ranks of 2 or more among those "
            "described; add one (see pilot_descriptions/laptop_mpi.yaml) or use 'auto'"
        )
    cost = cost_of_batch(contraction, rows, environments=True, itemsize=16 if exact else 8)
    seconds = cost.seconds
    says = f"{seconds:.2g} s and {cost.bytes / 2**20:.3g} MiB are predicted here"
    if wanted == "auto" and seconds < LEAST_MPI_S:
        return Here(f"local: {says}")
    if wanted == "auto":  # one that waits in a queue may come tomorrow
        pilots = [pilot for pilot in pilots if pilot.state is PilotState.ACTIVE]
        if not pilots:
            return Here(f"local: no pilot with ranks is active yet; {says}")
    assert tasks is not None
    ranks = max(pilot.description.ranks for pilot in pilots)
    names = tuple(pilot.name for pilot in pilots if pilot.description.ranks == ranks)
    reason = f"mpi on {ranks} ranks: {says}"
    return OverRanks(reason, tasks, ranks, names, is_asked=wanted == "mpi")
