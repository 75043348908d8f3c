"""Descriptions in Pilot-Quantum's names: what they mean here, and what cannot be taken over."""

import pickle
import re

import pytest
from support.descriptions import faults_of, write

from pilotcut.pilots.description import (
    PilotDescription,
    load_descriptions,
    notes,
)

PILOT_QUANTUM = """
pilots:
  - name: cpu
    resource: slurm://localhost
    working_directory: /scratch/me/work
    type: ray
    number_of_nodes: 2
    cores_per_node: 4
    gpus_per_node: 2
    queue: premium
    walltime: 90
    project: m1234
    conda_environment: /shared/conda/quantum
    scheduler_script_commands:
      - "#SBATCH --constraint=gpu&hbm80g"
      - "#SBATCH --gpu-bind=none"
      - "#SBATCH --gres=gpu:a100:2"
      - module load conda
"""


def test_a_description_in_pilot_quantum_s_names_means_the_same(tmp_path):
    ours = PilotDescription(
        name="cpu",
        resource="slurm",
        nodes=2,
        cores_per_node=4,
        gpus_per_node=2,
        queue="premium",
        walltime="01:30:00",
        account="m1234",
        python="/shared/conda/quantum/bin/python",
        constraint="gpu&hbm80g",
        directives=("--gpu-bind=none", "--gres=gpu:a100:2"),
        setup=("module load conda",),
    )
    (theirs,) = load_descriptions(write(tmp_path, PILOT_QUANTUM))
    assert theirs == ours
    assert hash(theirs) == hash(ours)
    assert ours.notes == ()


def test_every_one_of_its_names_is_noted(tmp_path):
    pilots = load_descriptions(write(tmp_path, PILOT_QUANTUM + "    count: 2"))
    told = notes(pilots, cores=1)
    assert told == pilots[1].notes
    assert pickle.loads(pickle.dumps(pilots[1])).notes == told
    assert all(note.startswith("pilot 'cpu': ") for note in told)
    for note, start in zip(
        told,
        (
            "resource slurm://localhost of Pilot-Quantum is slurm here",
            "walltime 90 is minutes in Pilot-Quantum: 01:30:00",
            "queue is a partition here (sbatch -p); some versions of Pilot-Quantum ",
            "number_of_nodes is Pilot-Quantum's name for nodes",
            "project is Pilot-Quantum's name for account",
            "type ray of Pilot-Quantum has no effect",
            "working_directory of Pilot-Quantum has no effect",
            "scheduler_script_commands[0] of Pilot-Quantum is constraint: gpu&hbm80g here",
            "scheduler_script_commands[1] of Pilot-Quantum is a directive here",
            "scheduler_script_commands[2] of Pilot-Quantum is a directive here",
            "scheduler_script_commands[3] of Pilot-Quantum is a line of setup here",
            "conda_environment of Pilot-Quantum is python: /shared/conda/quantum/bin/python here",
        ),
        strict=True,
    ):
        assert note.removeprefix("pilot 'cpu': ").startswith(start)


def test_a_conda_environment_with_a_name_is_activated_by_setup(tmp_path):
    text = "pilots: [{name: p, resource: 'ssh://localhost', conda_environment: q 1, setup: [a]}]"
    (pilot,) = load_descriptions(write(tmp_path, text))
    assert (pilot.resource, pilot.python) == ("local", "python")
    assert pilot.setup == ("a", 'eval "$(conda shell.bash hook)"', "conda activate 'q 1'")


def test_a_walltime_in_minutes_is_only_understood_in_company(tmp_path):
    text = "pilots: [{name: p, resource: slurm, walltime: 90}]"
    assert faults_of(tmp_path, text)[0].endswith("expected 'HH:MM:SS'; did you mean '01:30:00'?")
    path = write(tmp_path, "pilots: [{name: p, resource: slurm, project: x, walltime: 90}]")
    assert load_descriptions(path)[0].walltime == "01:30:00"


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ("number_of_nodes: 2, nodes: 2", []),
        ("number_of_nodes: 2, nodes: 3", ["number_of_nodes is 2 and nodes is 3, expected one of "]),
        ("project: a, account: b", ["project is 'a' and account is 'b', expected one of them"]),
        (
            "queue: a, scheduler_script_commands: ['#SBATCH -p b']",
            ["scheduler_script_commands[0] is 'b' and queue is 'a', expected one of them"],
        ),
        (
            "project: a, scheduler_script_commands: ['#SBATCH -A b']",
            ["scheduler_script_commands[0] is 'b' and project is 'a', expected one of them"],
        ),
        (
            "conda_environment: /a, python: /b/bin/python",
            ["conda_environment is '/a/bin/python' and python is '/b/bin/python', expected one "],
        ),
        (
            "number_of_nodes: '2'",
            ["number_of_nodes is '2', expected a whole number from 1 up; did"],
        ),
        ("project: a b", ["project is 'a b', expected a name of Slurm's: "]),
        ("type: spark", ["type is 'spark', expected dask, or nothing"]),
        ("conda_environment: 7", ["conda_environment is 7, expected a path or a name"]),
        (
            "scheduler_script_commands: '#SBATCH -x a'",
            ["scheduler_script_commands is '#SBATCH -x a', expected a list of texts; "],
        ),
        (
            "directives: [--exclusive], scheduler_script_commands: ['#SBATCH -c 32', 7]",
            [
                "scheduler_script_commands[0] is '#SBATCH -c 32', expected no -c here; use the ",
                "scheduler_script_commands[1] is 7, expected a text",
            ],
        ),
        (
            "dask_cores: 4, quantum: {token: secret}, dreamer_enabled: true",
            [
                "dask_cores is Pilot-Quantum's and has no counterpart here; use cores_per_node",
                "quantum is Pilot-Quantum's and has no counterpart here; describe each QPU as a ",
                "dreamer_enabled is Pilot-Quantum's and has no counterpart here; leave it out: ",
            ],
        ),
    ],
)
def test_what_of_pilot_quantum_cannot_be_taken_over_is_refused(tmp_path, fields, faults):
    text = f"pilots: [{{name: p, resource: slurm, {fields}}}]"
    if not faults:
        load_descriptions(write(tmp_path, text))
        return
    told = faults_of(tmp_path, text)
    assert len(told) == len(faults)
    for line, fault in zip(told, faults, strict=True):
        assert line.startswith(f"pilot 'p': {fault}")
        assert "secret" not in line


@pytest.mark.parametrize(
    ("resource", "fault"),
    [
        ("ssh://node7", "expected this machine, .*; start pilotcut on node7 with resource: local"),
        ("slurm+ssh://me@hpc/", "expected this machine, .* on me@hpc with resource: slurm"),
        ("pbs://localhost", "expected inprocess, local, slurm or allocation"),
    ],
)
def test_a_resource_elsewhere_is_refused_with_what_to_do(tmp_path, resource, fault):
    (told,) = faults_of(tmp_path, f"pilots: [{{name: p, resource: '{resource}'}}]")
    assert re.fullmatch(f"pilot 'p': resource is '{re.escape(resource)}', {fault}", told)


def test_more_than_one_node_here_is_told_in_the_file_s_own_words(tmp_path):
    text = "pilots: [{name: p, resource: 'ssh://localhost', number_of_nodes: 2}]"
    (told,) = faults_of(tmp_path, text)
    assert told == "pilot 'p': number_of_nodes is 2, expected 1, for resource local is this machine"
