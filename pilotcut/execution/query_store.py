"""Queries on disk: what one was, its blocks as workers wrote them, and its reconstruction.

A directory holds ``query.pkl``, what was asked, and ``blocks/``, what was measured. Whoever
finds it, after the run has ended or been killed, measures what is missing or torn and puts
the values together, in one process or over MPI ranks.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import cloudpickle
import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import SharedFaultError, UserError
from pilotcut.execution.results import Evaluation
from pilotcut.execution.running import measure
from pilotcut.execution.work_units import Request, WorkUnit
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten
from pilotcut.reconstruction.block_store import BlockStore
from pilotcut.reconstruction.boxes import Region
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.tensor_store import TensorStore

#: Folder of a run's directory with its queries, and what each of them has.
FOLDER, FILE_NAME, BLOCKS = "tensors", "query.pkl", "blocks"
#: Queries that a directory keeps; older ones are removed.
MOST_QUERIES = 16


#: Coefficients (observables, terms) and constants (observables,).
Outputs: TypeAlias = tuple[np.ndarray, np.ndarray]


def _version() -> str:
    return metadata.version("pilotcut")


@dataclass(frozen=True)
class Query:
    """What was asked of a batch, with all that decides the answer.

    Parameters
    ----------
    contraction
        How the plan's terms are put together.
    requests
        What is evaluated of each fragment.
    units
        What has to be run, with seeds, backend and devices.
    matrices
        The bond matrices, (rows or 1, d0, d1).
    exact
        Whether there are no shots.
    coefficients
        (observables, terms): what is asked for; None for the terms themselves.
    constant
        (observables,): what identities add.
    """

    contraction: Contraction
    requests: Sequence[Request]
    units: Sequence[WorkUnit]
    matrices: Sequence[np.ndarray]
    exact: bool
    coefficients: np.ndarray | None = None
    constant: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """Number of parameter sets."""
        return len(self.requests[0].angles)

    @property
    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (observables, terms) and constants (observables,) of what is asked."""
        if self.coefficients is None or self.constant is None:
            count = len(self.contraction.plan.terms)
            return np.eye(count), np.zeros(count)
        return self.coefficients, self.constant


def directory_of(root: Path, batch: int) -> Path:
    """Return where a batch of a run is kept."""
    return root / f"query-{batch:06d}"


def write_query(root: Path, batch: int, query: Query) -> BlockStore:
    """Write down what is asked and return where its blocks go; old queries make room.

    Parameters
    ----------
    root
        Directory of all queries of a run.
    batch
        Number of the batch.
    query
        What is asked. Blocks that are there already stay, and count if they fit it.
    """
    directory = directory_of(root, batch)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = cloudpickle.dumps((_version(), query), protocol=5)
        write_atomically(directory / FILE_NAME, content)
    except OSError as error:
        raise UserError(
            f"store is {root}, expected a directory that can be written to, with space left: "
            f"{error.filename or directory}: {why_unwritten(error, directory)}; make room, then "
            f"resume"
        ) from error
    _make_room(root)
    return BlockStore(directory / BLOCKS)


def writer(
    root: Path, query: Query, batch: int, all_units: Sequence[WorkUnit] = ()
) -> Callable[[Sequence[WorkUnit]], BlockStore]:
    """Return what writes a query down with its units, and says where their blocks go.

    `all_units` are those of all stages, where a query runs in several.
    """
    return lambda units: write_query(root, batch, replace(query, units=all_units or units))


def begun(root: Path, batch: int) -> BlockStore:
    """Return where the blocks of a query go of which not all is known yet.

    It is no query before `write_query`, which keeps its blocks.
    """
    return BlockStore(directory_of(root, batch) / BLOCKS)


def _make_room(root: Path) -> None:
    """Remove the queries that were written first: of another run, their numbers say nothing."""
    # What still ran when its query went has written blocks since, without a query beside them.
    left = [path.parent for path in root.glob(f"query-*/{BLOCKS}") if _number(path.parent.name)]
    written = {directory_of(root, number) for number in numbers(root)} | set(left)
    # By numbers, a new run in the directory of an older one would lose its first query as soon as
    # that is written.
    for old in sorted(written, key=_written)[:-MOST_QUERIES]:
        shutil.rmtree(old, ignore_errors=True)


def _written(directory: Path) -> tuple[int, str]:
    for path in (directory / FILE_NAME, directory):
        with contextlib.suppress(OSError):  # it may have gone
            return path.stat().st_mtime_ns, directory.name
    return 0, directory.name


def is_store(root: Path) -> bool:
    """Return whether a directory holds queries, or nothing, and nothing else."""
    return root.is_dir() and all(_number(path.name) for path in root.iterdir())


def numbers(root: Path) -> list[int]:
    """Return the batches that are kept."""
    names = [path.parent.name for path in root.glob(f"query-*/{FILE_NAME}")]
    return sorted(int(digits) for digits in map(_number, names) if digits)


def _number(name: str) -> str:
    """Return the digits of the name of a query's directory, '' of any other."""
    found = re.fullmatch(r"query-([0-9]{6,})", name)
    return found[1] if found else ""


def load(root: Path, batch: int) -> StoredQuery:
    """Return a query that is kept.

    Raises
    ------
    UserError
        If there is none of this number, or another version of pilotcut wrote it.
    """
    directory = directory_of(root, batch)
    # A pickle: only stores of one's own are to be read. It holds this package's objects, which no
    # other version promises to know.
    try:
        version, query = pickle.loads((directory / FILE_NAME).read_bytes())
    except OSError as error:
        known = ", ".join(map(str, numbers(root))) or "none"
        raise UserError(f"query is {batch}, expected one that {root} keeps: {known}") from error
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{directory / FILE_NAME} was written by another pilotcut ({error}), expected "
            f"{_version()} as it is installed here; put it together by the pilotcut that wrote it"
        ) from error
    except Exception as error:  # whatever unpickling raises
        raise UserError(
            f"{directory / FILE_NAME} cannot be read ({error!r}), expected a query written by "
            f"pilotcut {_version()}"
        ) from error
    if version != _version():
        raise UserError(
            f"query {batch} was written by pilotcut {version}, expected {_version()}, which is "
            f"installed here; install that version"
        )
    return StoredQuery(query, directory / BLOCKS)


@dataclass(frozen=True)
class StoredQuery(TensorStore):
    """The tensors of a query, put together from its blocks part by part."""

    query: Query

    def __init__(self, query: Query, directory: Path) -> None:
        object.__setattr__(self, "query", query)
        object.__setattr__(self, "directory", directory)

    @property
    def blocks(self) -> BlockStore:
        """The blocks."""
        return BlockStore(self.directory)

    @property
    def contraction(self) -> Contraction:
        """How its tensors are contracted."""
        return self.query.contraction

    def missing(self) -> list[WorkUnit]:
        """Return what has to be measured: what is not there, or torn."""
        return [u for u in self.query.units if not self.blocks.has(u.block, key=self._key(u))]

    def measure(self, units: Sequence[WorkUnit]) -> None:
        """Run some units in this process and keep their results.

        Raises
        ------
        UserError
            If they cannot be written.
        """
        for unit in units:
            fragment = self.query.requests[unit.request].fragment
            found = measure(unit, fragment, self.blocks)
            try:
                unit.write(self.blocks, fragment, found)
            except OSError as error:
                raise self.blocks.unwritten(unit.block, error) from error

    def _key(self, unit: WorkUnit) -> str:
        return unit.key(self.query.requests[unit.request].fragment)

    def evaluation(self) -> Evaluation:
        """Return everything that is known of the query, put together in this process."""
        contraction = self.contraction
        operands = [
            self.load(contraction, k, tuple(slice(0, size) for size in shape))
            for k, (shape, _) in enumerate(self.layout(contraction))
        ]
        values, environments = contraction.values_and_environments(operands)
        rows = slice(0, self.query.rows)
        noise = [
            FragmentTensor(np.empty(0), self.covariances(f, len(request.fragment.groups), rows))
            if self.has_covariances()
            else FragmentTensor(np.empty(0), ())
            for f, request in enumerate(self.query.requests)
        ]
        return Evaluation(contraction, values.real, noise, environments)

    # -- as operands of a contraction ----------------------------------------------------

    def layout(self, contraction: Contraction) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and type of every operand (batch, terms or 1, *sites)."""
        terms = len(contraction.term_index)
        kind = np.dtype(complex if self.query.exact else float)
        found = []
        for k, names in enumerate(contraction.indices):
            sites = tuple(contraction.sizes[name] for name in names[2:])
            if k < len(self.query.requests):
                found.append(((self.query.rows, terms, *sites), kind))
            else:
                matrix = self.query.matrices[k - len(self.query.requests)]
                found.append(((len(matrix), 1, *sites), matrix.dtype))
        return found

    def load(self, contraction: Contraction, operand: int, region: Region) -> np.ndarray:
        """Return a part of an operand (batch, terms, *sites), read from the blocks it is in."""
        rows, terms, *sites = region
        if operand >= len(self.query.requests):
            return self.query.matrices[operand - len(self.query.requests)][(rows, *sites)][:, None]
        chosen, which = np.unique(contraction.term_index[terms, operand], return_inverse=True)
        part = self._part(operand, rows, chosen, sites)
        return part[:, which.reshape(-1)]

    def _part(
        self, fragment: int, rows: slice, chosen: np.ndarray, sites: Sequence[slice]
    ) -> np.ndarray:
        """Return (rows, chosen sub-observables, *sites) of a fragment's tensor."""
        shape = [one.stop - one.start for one in sites]
        if self.query.exact:
            part = np.empty((rows.stop - rows.start, len(chosen), *shape), complex)
            for own, there, values in self._found(fragment, rows):
                part[own] = values[(there, slice(None), *sites)][:, chosen]
            return part
        whole = self.query.requests[fragment].fragment
        trivial = whole.trivial[chosen][(slice(None), *sites)]
        # NaN, so that an entry that no block fills is seen in every value it belongs to.
        part = np.repeat(np.where(trivial, 1.0, np.nan)[None], rows.stop - rows.start, axis=0)
        flat = part.reshape(*part.shape[:2], -1)
        place = np.full(whole.variant_shape, -1)
        place[tuple(sites)] = np.arange(flat.shape[2]).reshape(shape)
        place = place.reshape(-1)
        column = np.full(len(whole.observables), -1)
        column[chosen] = np.arange(len(chosen))
        rowwise = flat.reshape(len(part), -1)
        for own, there, measured in self._found(fragment, rows):
            for block in measured.blocks:
                entries = whole.entries[block.group][block.variants]
                sub, variant = np.divmod(entries, whole.num_variants)
                inside = (column[sub] >= 0) & (place[variant] >= 0)
                where = column[sub] * flat.shape[2] + place[variant]
                rowwise[own, where[inside]] = block.means[there][:, inside]
        return part

    def _found(self, fragment: int, rows: slice) -> Iterator[tuple[slice, slice, Any]]:
        """Yield which of some rows are there, which of its own a unit has, and its result."""
        for unit in self.query.units:
            first, last = max(unit.rows.start, rows.start), min(unit.rows.stop, rows.stop)
            if unit.request == fragment and first < last:
                own = slice(first - rows.start, last - rows.start)
                there = slice(first - unit.rows.start, last - unit.rows.start)
                yield own, there, unit.read(self.blocks, self.query.requests[fragment].fragment)

    def covariances(self, fragment: int, groups: int, rows: slice) -> tuple[np.ndarray, ...]:
        """Return some rows of the covariances of a fragment's groups."""
        whole = self.query.requests[fragment].fragment
        count = rows.stop - rows.start
        found = tuple(np.zeros((count, *some.shape, some.shape[1])) for some in whole.entries)
        for own, there, measured in self._found(fragment, rows):
            for block in measured.blocks:
                found[block.group][own, block.variants] = block.covariances[there]
        return found[:groups]

    def has_covariances(self) -> bool:
        """Whether there were shots."""
        return not self.query.exact


def reconstruct(stored: StoredQuery, comm: Any = None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return values and standard errors, both (rows, observables).

    What is missing or torn is measured first, by each rank its share.

    Parameters
    ----------
    stored
        The query.
    comm
        An MPI communicator, all ranks of which call this; None for this process alone.

    Returns
    -------
    tuple or None
        None on ranks other than 0.

    Raises
    ------
    UserError
        On all ranks, if one cannot write what it measured.
    """
    if comm is None:
        stored.measure(stored.missing())
        evaluation = stored.evaluation()
        coefficients, constant = stored.query.outputs
        values = evaluation.values @ coefficients.T + constant
        return values, evaluation.errors(coefficients)
    from pilotcut.reconstruction.mpi_contraction import estimate

    # Rank 0 looks for all: beside a run that still writes, ranks that look for themselves find
    # different lists, and some units would be nobody's.
    missing = comm.bcast(stored.missing() if comm.rank == 0 else None)
    fault = None
    try:
        stored.measure(missing[comm.rank :: comm.size])
    except UserError as error:  # a full disk, say: the others must not wait for this rank
        fault = f"{error} (rank {comm.rank})"
    if fault := next((one for one in comm.allgather(fault) if one), None):
        raise SharedFaultError(fault)
    coefficients, constant = stored.query.outputs
    entries = [request.fragment.entries for request in stored.query.requests]
    contraction = stored.contraction
    found = estimate(contraction, entries, stored, stored.query.matrices, coefficients, comm)
    return None if found is None else (found.values + constant, found.errors)
