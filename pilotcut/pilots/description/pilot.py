"""Model of one pilot: the fields of a description, their defaults and what is a fault in them.

This module owns every default value, and the checks that fields have of each other. It refuses to
know files (`files`), the words of the messages (`faults`) and how a pilot is started. Beside it
stand `field_types` (what one value may be), `slurm` (what may stand in a job script), `qpu` (the
fields of a QPU) and `pilot_quantum` (another project's names for the same things).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pilotcut.pilots.description import field_types
from pilotcut.pilots.description.elastic import (
    ElasticDescription,
    SizeDescription,
    check_elastic,
    check_hetjob,
    check_sizes,
)
from pilotcut.pilots.description.faults import EXPECTED, is_count, misfit
from pilotcut.pilots.description.qpu import QpuDescription

_LAYOUT = ("cores_per_node", "threads_per_worker", "workers_per_node")


class _Frozen(BaseModel):
    # strict: "2" is not 2 and true is not 1; YAML already has types.
    # Inputs are shown by `faults`, which hides credentials; pydantic's own text would show them.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class BackendDescription(_Frozen):
    """Backend that runs circuits on the workers of a pilot.

    Attributes
    ----------
    kind
        The backend's family, ``"aer"``.
    device
        ``"CPU"`` or ``"GPU"``.
    method
        Simulation method of the backend; ``"automatic"`` leaves the choice to it.
    qpu
        The QPU that the backend plays, with its couplings and errors; None for an ideal device
        without either.
    """

    kind: Literal["aer"] = "aer"
    device: Literal["CPU", "GPU"] = "CPU"
    method: field_types.Method = "automatic"
    qpu: QpuDescription | None = None


def _check_access(qpu: QpuDescription, given: Mapping[str, Any]) -> None:
    """Raise a fault of a device whose access does not go with the pilot's workers."""
    slots = given["nodes"] * given["workers_per_node"]
    if qpu.slurm is not None and given["resource"] != "slurm":
        raise misfit(f"no qpu.slurm with resource {given['resource']}, which runs no sbatch")
    if qpu.access == "dedicated" and slots > 1:
        raise misfit(f"one worker with access dedicated, and there are {slots}")
    if qpu.way in ("session", "batch") and given["nodes"] > 1:
        raise misfit(f"nodes 1 with access {qpu.way}, and there are {given['nodes']}")
    if qpu.limits.jobs is not None and qpu.limits.jobs < slots:
        raise misfit(f"limits.jobs of at least the number of workers, which is {slots}")


class PilotDescription(_Frozen):
    """Resources that a pilot asks for, and the layout of its workers.

    With ``ranks`` of more than 1 it is an MPI pilot: so many MPI processes, of
    ``threads_per_worker`` threads each, that run a task all together. They are one worker and
    one slot, whatever the nodes, and ``cores_per_node`` is by default what they need.

    Attributes
    ----------
    name
        How tasks, commands and files call it: letters, digits, ``.``, ``_`` and ``-``.
    resource
        What it is: ``inprocess`` (threads of this process), ``local`` (processes of this machine),
        ``slurm`` (a job of its own), ``allocation`` (a step of the job that we are in), or the
        name of a kind of another package.
    nodes, cores_per_node
        Size: nodes, and cores on each; by default the cores that its workers need.
    gpus_per_node
        GPUs on each node. Workers share them out.
    memory_per_node
        Memory of a node, such as ``4GiB``; left out, the partition's default.
    walltime
        Time limit, ``HH:MM:SS`` or ``D-HH:MM:SS``, between quotes.
    queue, account, qos, constraint, reservation
        Slurm's partition and the options of sbatch of these names.
    directives
        More options of sbatch, such as ``--exclusive``, that no field has.
    setup
        Lines of shell that run on each node before its workers start.
    python
        Interpreter there; left out, the one that runs here.
    threads_per_worker, workers_per_node
        Cores that a task of one worker has, and workers of a node; by default as many as fit.
    ranks
        MPI processes of an MPI pilot.
    mpi, launcher
        Which MPI starts its ranks, and by which command: left out, what suits is found.
    backend
        What runs circuits on its workers.
    allow_version_mismatch
        Whether workers may have another Qiskit, Aer or pilotcut than we.
    replace, most_replacements
        Whether another pilot is asked for when it ends early, and how often at most.
    count
        Number of such pilots, which are called ``NAME-0`` and so on.
    groups
        Groups of tasks that it takes; left out, any task.
    elastic
        Has the number of pilots follow the load.
    array
        Whether those that are asked for together are one ``sbatch --array``.
    sizes
        Other sizes of the same job: a job of each is submitted, and the first to start stays.
    hetjob
        Name of the heterogeneous job that it is a component of.

    Examples
    --------
    >>> pilot = PilotDescription(name="laptop", resource="local", cores_per_node=4)
    >>> pilot.slots, pilot.walltime_s
    (4, 3600)
    >>> mpi = PilotDescription(name="mpi", resource="slurm", nodes=2, ranks=8)
    >>> mpi.slots, mpi.cores_per_node
    (1, 4)
    """

    _notes: tuple[str, ...] = PrivateAttr(())

    # The order matters: pydantic validates the fields as they stand, and a validator sees those
    # before its own only (`info.data`). `nodes` asks for `resource`, `directives` for the GPUs,
    # `threads_per_worker`, `workers_per_node` and `ranks` for the cores.
    name: field_types.Name
    resource: field_types.Resource
    nodes: int = Field(default=1, ge=1)
    cores_per_node: field_types.Cores = 1
    gpus_per_node: int = Field(default=0, ge=0)
    memory_per_node: field_types.Memory | None = None
    walltime: field_types.Walltime = "01:00:00"
    queue: field_types.SlurmName | None = None
    account: field_types.SlurmName | None = None
    qos: field_types.SlurmName | None = None
    constraint: field_types.Constraint | None = None
    reservation: field_types.SlurmName | None = None
    directives: tuple[field_types.Directive, ...] = ()
    setup: tuple[field_types.Shell, ...] = ()
    python: field_types.Python | None = None
    threads_per_worker: int = Field(default=1, ge=1)
    workers_per_node: int = Field(default=1, ge=1)
    ranks: field_types.Cores = 1
    mpi: Literal["auto", "mpich", "openmpi", "intel"] = "auto"
    launcher: field_types.Launcher | None = None
    backend: BackendDescription = BackendDescription()
    allow_version_mismatch: bool = False
    replace: bool = False
    most_replacements: int = Field(default=3, ge=0)
    count: field_types.Count = 1
    groups: tuple[field_types.Group, ...] = ()
    elastic: ElasticDescription | None = None
    array: bool = False
    sizes: tuple[SizeDescription, ...] = ()
    hetjob: field_types.Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive_layout(cls, data: Any) -> Any:
        """Fill in whichever of cores and workers was left out from the other."""
        if not isinstance(data, Mapping):
            return data
        # A strict model takes no list for a tuple, and YAML has lists only.
        data = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        threads = data.get("threads_per_worker", 1)
        cores, workers = data.get("cores_per_node"), data.get("workers_per_node")
        ranks, nodes = data.get("ranks", 1), data.get("nodes", 1)
        if not is_count(threads):
            return data
        if is_count(ranks) and ranks > 1:
            if cores is None and is_count(nodes):
                data["cores_per_node"] = min(field_types.MOST_SLOTS, threads * -(-ranks // nodes))
        elif cores is None and (workers is None or is_count(workers)):
            if (
                threads * (workers or 1) <= field_types.MOST_SLOTS
            ):  # else `workers_per_node` is the fault
                data["cores_per_node"] = threads * (workers or 1)
        elif workers is None and is_count(cores):
            data["workers_per_node"] = max(1, cores // threads)
        return {key: value for key, value in data.items() if value is not None}

    @field_validator("nodes")
    @classmethod
    def _one_node_here(cls, value: int, info: ValidationInfo) -> int:
        resource = info.data.get("resource")
        if value > 1 and resource in ("inprocess", "local"):
            raise misfit(f"1, for resource {resource} is this machine")
        if value > field_types.MOST_SLOTS:
            raise misfit(f"at most {field_types.MOST_SLOTS}")
        return value

    @field_validator("threads_per_worker")
    @classmethod
    def _worker_fits(cls, value: int, info: ValidationInfo) -> int:
        cores = info.data.get("cores_per_node", value)
        if value > cores:
            raise misfit(f"at most cores_per_node, which is {cores}")
        return value

    @field_validator("workers_per_node")
    @classmethod
    def _workers_fit(cls, value: int, info: ValidationInfo) -> int:
        cores, threads = info.data.get("cores_per_node"), info.data.get("threads_per_worker")
        if cores is None:
            return value
        nodes = info.data.get("nodes", 1)
        most = field_types.MOST_SLOTS // nodes
        if value > most:
            raise misfit(f"at most {most}, with nodes {nodes}")
        if threads and value * threads > cores:
            raise misfit(
                f"at most {cores // threads}: cores_per_node is {cores} "
                f"and threads_per_worker is {threads}"
            )
        return value

    @field_validator("ranks")
    @classmethod
    def _ranks_fit(cls, value: int, info: ValidationInfo) -> int:
        given = info.data
        if value == 1 or not {"resource", "nodes", *_LAYOUT} <= given.keys():
            return value
        if given["resource"] == "inprocess":
            raise misfit("1, for resource inprocess starts no processes; use local")
        if given["workers_per_node"] > 1:
            workers = given["workers_per_node"]
            raise misfit(f"1 beside workers_per_node {workers}: all ranks are one worker")
        nodes, cores, threads = given["nodes"], given["cores_per_node"], given["threads_per_worker"]
        if value < nodes:
            raise misfit(f"at least nodes, which is {nodes}")
        if -(-value // nodes) * threads > cores:
            raise misfit(
                f"at most {cores // threads * nodes}: nodes is {nodes}, cores_per_node is {cores} "
                f"and threads_per_worker is {threads}"
            )
        return value

    @field_validator("mpi", "launcher")
    @classmethod
    def _starts_processes(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("resource") == "inprocess" and value not in (None, "auto"):
            raise misfit("none, for resource inprocess starts no processes; use local")
        return value

    @field_validator("backend")
    @classmethod
    def _gpu_exists(cls, value: BackendDescription, info: ValidationInfo) -> BackendDescription:
        if value.device == "GPU" and info.data.get("gpus_per_node") == 0:
            raise misfit("gpus_per_node of at least 1 beside device GPU")
        if value.qpu is not None and {"resource", "nodes", *_LAYOUT, "ranks"} <= info.data.keys():
            _check_access(value.qpu, info.data)
        return value

    @field_validator("elastic")
    @classmethod
    def _elastic_alone(
        cls, value: ElasticDescription | None, info: ValidationInfo
    ) -> ElasticDescription | None:
        if value is not None and "resource" in info.data:
            check_elastic(value, info.data)
        return value

    @field_validator("array")
    @classmethod
    def _array_of_jobs(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("resource", "slurm") != "slurm":
            raise misfit(f"false with resource {info.data['resource']}, which submits no jobs")
        return value

    @field_validator("sizes")
    @classmethod
    def _sizes_fit(
        cls, value: tuple[SizeDescription, ...], info: ValidationInfo
    ) -> tuple[SizeDescription, ...]:
        if value and {"resource", "workers_per_node"} <= info.data.keys():
            check_sizes(value, info.data)
            most = field_types.MOST_SLOTS // info.data["workers_per_node"]
            for size in value:
                if size.nodes is not None and size.nodes > most:
                    raise misfit(f"nodes of at most {most}")
                if size.walltime is not None and not field_types.is_walltime(size.walltime):
                    raise misfit(f"walltime {EXPECTED['walltime']}, more than none")
        return value

    @field_validator("hetjob")
    @classmethod
    def _component(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "resource" in info.data:
            check_hetjob(info.data)
        return value

    def __eq__(self, other: object) -> bool:
        """Whether two descriptions ask for the same, in whatever words."""
        # pydantic's own equality would compare private attributes too, which are the notes here.
        return isinstance(other, PilotDescription) and self.__dict__ == other.__dict__

    @property
    def notes(self) -> tuple[str, ...]:
        """What was made of another project's names for the fields, a line each."""
        return self._notes

    @property
    def kind(self) -> str:
        """What the pilots of one entry have in common: the name, without a number behind it."""
        return re.sub(r"-\d+\Z", "", self.name)

    @property
    def slots(self) -> int:
        """Number of workers, each of which runs one task at a time; 1 for all ranks together."""
        return 1 if self.ranks > 1 else self.nodes * self.workers_per_node

    @property
    def processes_per_node(self) -> int:
        """Most workers, or ranks, on one node."""
        return -(-self.ranks // self.nodes) if self.ranks > 1 else self.workers_per_node

    @property
    def cores_per_slot(self) -> int:
        """Number of cores that one task may use, on an MPI pilot those of all ranks."""
        return self.threads_per_worker * self.ranks

    @property
    def mpi_environment(self) -> dict[str, str]:
        """What tells its processes which MPI to use, where the description says so."""
        named = {"PILOTCUT_MPI": self.mpi} if self.mpi != "auto" else {}
        return named | ({"PILOTCUT_MPI_LAUNCHER": self.launcher} if self.launcher else {})

    @property
    def in_sizes(self) -> tuple[PilotDescription, ...]:
        """One description for each of its sizes, or itself."""
        given = [size.model_dump(exclude_none=True) for size in self.sizes]
        return tuple(self.model_copy(update={**one, "sizes": ()}) for one in given) or (self,)

    @property
    def cores(self) -> int:
        """Number of cores of the whole pilot."""
        return self.nodes * self.cores_per_node

    @property
    def gpus(self) -> int:
        """Number of GPUs of the whole pilot."""
        return self.nodes * self.gpus_per_node

    @property
    def gpus_per_worker(self) -> int:
        """GPUs that one worker, or rank, may have to itself, at least 1 where there is any."""
        return min(self.gpus_per_node, max(1, self.gpus_per_node // self.processes_per_node))

    @property
    def walltime_s(self) -> int:
        """Walltime in seconds."""
        match = field_types.WALLTIME.fullmatch(self.walltime)
        assert match is not None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def memory_bytes(self) -> int | None:
        """Memory of a node in bytes, None where the description does not say."""
        if self.memory_per_node is None:
            return None
        match = field_types.MEMORY.fullmatch(self.memory_per_node)
        assert match is not None
        return int(float(match[1]) * field_types.MEMORY_UNITS[match[2]])
