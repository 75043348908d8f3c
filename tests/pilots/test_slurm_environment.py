"""What of our environment reaches Slurm's commands; needs no Slurm."""

import pytest

from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.slurm.environment import for_submission
from pilotcut.pilots.worker.step_environment import step_environment


def pilot(**fields):
    return PilotDescription(name="p", resource="slurm", **fields)


def test_a_job_that_we_run_in_gives_nothing_to_those_that_it_submits():
    """SLURM_MEM_PER_CPU of an outer job broke each srun of a pilot with --mem."""
    outer = {"SLURM_MEM_PER_CPU": "1000", "SLURM_JOB_ID": "4", "SRUN_DEBUG": "3", "SLURMD_X": "1"}
    found = for_submission(pilot(), outer | {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf"})
    assert found.variables == {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf"}
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("variable", "field", "value"),
    [
        ("SBATCH_PARTITION", "queue", "gpu"),
        ("SBATCH_ACCOUNT", "account", "them"),
        ("SBATCH_QOS", "qos", "low"),
        ("SBATCH_RESERVATION", "reservation", "lab"),
        ("SBATCH_CONSTRAINT", "constraint", "fast"),
    ],
)
def test_a_description_decides_and_what_it_leaves_open_the_user_s_profile_does(
    variable, field, value
):
    assert for_submission(pilot(), {variable: value}).variables == {variable: value}
    found = for_submission(pilot(**{field: "mine"}), {variable: value})
    assert found.variables == {}
    assert found.left_out == (f"{variable}={value} (the description's {field} is mine)",)


@pytest.mark.parametrize(
    ("variable", "value", "because"),
    [
        ("SBATCH_TIMELIMIT", "5", " (the description's walltime is 01:00:00)"),
        ("SBATCH_ARRAY_INX", "1-9", " (the description's count is 1)"),
        ("SBATCH_GPUS", "4", " (see gpus_per_node)"),
        ("SBATCH_WAIT", "1", ""),
        ("SBATCH_SOMETHING_NEW", "1", ""),
    ],
)
def test_what_would_change_a_pilot_is_left_out_and_said(variable, value, because):
    found = for_submission(pilot(), {variable: value})
    assert found.variables == {}
    assert found.left_out == (f"{variable}={value}{because}",)


def test_a_step_has_memory_for_a_node_or_for_a_core_and_not_both(monkeypatch):
    monkeypatch.setenv("SRUN_CPUS_PER_TASK", "7")
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    assert step_environment()["SLURM_MEM_PER_CPU"] == "100"
    assert "SRUN_CPUS_PER_TASK" not in step_environment()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    assert not [name for name in step_environment() if name.startswith("SLURM_MEM")]
