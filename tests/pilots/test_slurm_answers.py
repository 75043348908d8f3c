"""What Slurm says of jobs is read, and told from what it does not say; needs no Slurm."""

import pytest
from support.slurm_commands import NAME, NO_SUCH_JOB, OURS, line

from pilotcut.pilots.slurm.commands import OwnJob, cancel, query_jobs

# -- whose it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uid", "name", "stranger"),
    [
        (OURS, NAME, False),
        (OURS + 1, NAME, True),
        (OURS, "pilotcut-p-ffffffff", True),
        (OURS, f"{NAME}|", True),
        (OURS, "", True),
        ("", NAME, True),
        ("nobody", NAME, True),
    ],
)
def test_a_job_is_ours_by_its_name_and_its_user(slurm, uid, name, stranger):
    slurm.let("squeue", line(6, uid=uid, name=name))
    job = OwnJob("6", NAME)
    assert query_jobs([job])[job].stranger is stranger


def test_all_jobs_of_a_cluster_are_asked_for_at_once_and_each_cluster_for_its_own(slurm):
    slurm.let("squeue", "CLUSTER: alpha\n" + line(6) + line(16, name="other") + "Bye 6|7\n")
    asked = [OwnJob("6", NAME, "alpha"), OwnJob("16", "other", "alpha"), OwnJob("7", NAME)]
    assert [info.unknown for info in query_jobs(asked).values()] == [False, False, True]
    here, there = slurm.calls("squeue")[::-1]
    assert "--clusters=alpha --jobs=16,6" in there
    assert "--jobs=7" in here
    assert "--clusters" not in here


def test_nothing_is_asked_about_no_jobs(slurm):
    assert query_jobs([]) == {}
    assert slurm.calls("squeue") == []


def test_an_array_s_element_is_not_taken_for_the_job_of_its_number(slurm):
    slurm.let("squeue", line("6_1") + line(61))
    assert answer(slurm).unknown


def test_settings_of_the_user_s_do_not_narrow_the_question(slurm, monkeypatch):
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    monkeypatch.setenv("SCANCEL_INTERACTIVE", "1")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    slurm.let("squeue", line(6))
    cancel(OwnJob("6", NAME))
    for command in ("squeue", "scancel"):
        said = slurm.environment(command)
        assert not [entry for entry in said if entry.startswith(("SQUEUE_", "SCANCEL_"))]
        assert "SLURM_TIME_FORMAT=standard" in said


# -- an answer, none, and no such job --------------------------------------------------

SHOWN = (
    f"JobId=6 JobName={NAME} UserId=me({OURS}) GroupId=us(7) JobState=RUNNING Reason=None "
    "EndTime=2026-01-01T01:00:00 NodeList=n1\n"
)


def answer(slurm):
    return query_jobs([OwnJob("6", NAME)]).get(OwnJob("6", NAME))


@pytest.mark.parametrize("complains", ["slurm_load_jobs error: Unable to contact", "", "Bye\n"])
def test_a_squeue_that_fails_says_nothing_of_the_job(slurm, complains):
    slurm.let("squeue", complains=complains, status=1)
    assert answer(slurm) is None


@pytest.mark.parametrize(("complains", "status"), [(NO_SUCH_JOB, 1), ("", 0)])
def test_a_job_that_all_commands_do_not_know_is_unknown(slurm, complains, status):
    slurm.let("squeue", complains=complains, status=status)
    assert answer(slurm).unknown
    assert not answer(slurm).stranger


def test_scontrol_settles_what_a_wrapper_of_squeue_hides(slurm):
    slurm.let("squeue", "squeue is slow today, please be patient\n")
    slurm.let("scontrol", SHOWN)
    found = answer(slurm)
    assert (found.state, found.nodes, found.stranger) == ("RUNNING", "n1", False)
    slurm.let("scontrol", SHOWN.replace(NAME, "theirs"))
    assert answer(slurm).stranger


def test_a_scontrol_that_fails_settles_nothing(slurm):
    slurm.let("squeue")
    slurm.let("scontrol", complains="Unable to contact slurm controller\n", status=1)
    assert answer(slurm) is None


def test_the_accounting_knows_jobs_that_the_controller_has_forgotten(slurm):
    slurm.let("squeue", complains=NO_SUCH_JOB, status=1)
    slurm.let("sacct", f"6|TIMEOUT|2026-01-01T01:00:00|n1|{OURS}|{NAME}\n")
    found = answer(slurm)
    assert found.ended
    assert found.in_words == "its job reached its time limit"
