"""What a Slurm pilot makes of what Slurm says and of the workers there are; needs no Slurm."""

import subprocess
import sys
import textwrap

import pytest

from pilotcut.pilots import PilotState
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.slurm.commands import OwnJob
from pilotcut.pilots.slurm.job_info import UNKNOWN_JOB, JobInfo, parse_jobs
from pilotcut.pilots.slurm.pilot import SlurmPilot

RUNNING = JobInfo("RUNNING", ends=10_000.0)


@pytest.fixture
def pilot(monkeypatch):
    """Return a pilot of two workers whose job 7 is submitted; what it cancels is kept."""
    description = PilotDescription(
        name="p", resource="slurm", workers_per_node=2, walltime="00:10:00"
    )
    pilot = SlurmPilot(description)
    pilot._job = OwnJob("7", "pilotcut-p-0a1b2c3d")
    pilot.canceled = []
    monkeypatch.setattr(pilot, "_cancel", lambda: pilot.canceled.append("7"))
    return pilot


def active(pilot):
    pilot.observe(2, RUNNING, 100.0)
    assert pilot.state is PilotState.ACTIVE
    return pilot


def test_a_job_goes_from_waiting_to_work(pilot):
    pilot.observe(0, JobInfo("PENDING", "Resources"), 1.0)
    assert (pilot.state, pilot.reason) == (
        PilotState.PENDING,
        "job 7: waiting for nodes to become free",
    )
    pilot.observe(0, RUNNING, 2.0)
    assert (pilot.state, pilot.reason) == (
        PilotState.STARTING,
        "job 7: waiting for its workers",
    )
    pilot.observe(1, RUNNING, 3.0)
    assert pilot.state is PilotState.STARTING
    pilot.observe(2, RUNNING, 4.0)
    assert (pilot.state, pilot.reason) == (PilotState.ACTIVE, "job 7")


def test_workers_that_are_there_do_not_wait_for_the_last_one_for_ever(pilot):
    pilot.observe(1, RUNNING, 1.0)
    pilot.observe(1, RUNNING, 7.0)
    assert pilot.state is PilotState.ACTIVE


@pytest.mark.parametrize(
    ("state", "ends_as", "words"),
    [
        ("CANCELLED", PilotState.CANCELED, "its job was canceled"),
        ("NODE_FAIL", PilotState.FAILED, "a node of its job failed"),
        ("TIMEOUT", PilotState.FAILED, "its job reached its time limit"),
        ("OUT_OF_MEMORY", PilotState.FAILED, "its job ran out of memory"),
        ("PREEMPTED", PilotState.FAILED, "its job was preempted"),
    ],
)
@pytest.mark.parametrize("seen_ending", [True, False])
def test_how_a_job_ended_is_the_state_of_its_pilot(pilot, state, ends_as, words, seen_ending):
    active(pilot)
    if seen_ending:  # squeue then says that the job ends now
        pilot.observe(2, JobInfo("COMPLETING", ends=101.0), 101.0)
        assert "time limit is near" not in pilot.reason
    pilot.observe(0, JobInfo(state, ends=101.0), 102.0)
    assert (pilot.state, pilot.reason) == (ends_as, f"job 7: {words}")


def test_no_task_is_bound_to_a_pilot_whose_job_is_ending(pilot):
    active(pilot)  # processes have half a minute to end, by Slurm's default
    pilot.observe(0, JobInfo("COMPLETING", ends=101.0), 101.0)
    assert pilot.state is PilotState.DRAINING


def test_a_pilot_near_its_time_limit_is_drained_and_given_back(pilot):
    active(pilot)
    pilot._in_flight["a task"] = lambda report: None
    pilot.observe(2, JobInfo("RUNNING", ends=115.0), 101.0)
    assert (pilot.state, pilot.reason) == (
        PilotState.DRAINING,
        "job 7: its time limit is near",
    )
    assert pilot.canceled == []
    pilot._in_flight.clear()
    pilot.observe(2, JobInfo("RUNNING", ends=115.0), 102.0)
    assert pilot.state is PilotState.DONE
    assert pilot.canceled == ["7"]


def test_a_job_whose_workers_never_come_is_given_up_with_its_log(pilot, tmp_path):
    pilot._logs = tmp_path
    pilot.log.write_text("no route to the scheduler\n")
    pilot.observe(0, RUNNING, 1.0)
    pilot.observe(0, RUNNING, 80.0)
    assert pilot.state is PilotState.STARTING
    pilot.observe(0, RUNNING, 100.0)
    assert pilot.state is PilotState.FAILED
    assert "job 7 has no workers after 90 s" in pilot.reason
    assert pilot.reason.endswith("\n  no route to the scheduler")
    assert pilot.canceled == ["7"]


def test_a_job_that_slurm_does_not_know_is_given_up_after_a_while(pilot):
    active(pilot)
    pilot.observe(2, UNKNOWN_JOB, 101.0)
    pilot.observe(0, UNKNOWN_JOB, 102.0)
    pilot.observe(0, UNKNOWN_JOB, 150.0)
    assert pilot.state is PilotState.ACTIVE
    pilot.observe(0, UNKNOWN_JOB, 170.0)
    assert pilot.state is PilotState.FAILED
    assert pilot.reason == "Slurm does not know job 7 any more"


def test_no_answer_about_a_job_that_waits_is_not_its_end(pilot):
    """A squeue that failed for a minute made a second job of a replaced pilot."""
    pilot.observe(0, JobInfo("PENDING", "Resources"), 1.0)
    for now in (2.0, 100.0, 1000.0):
        pilot.observe(0, None, now)
    assert (pilot.state, pilot.reason) == (PilotState.PENDING, "job 7: Slurm does not answer")
    pilot.observe(0, JobInfo("PENDING", "Resources"), 1001.0)
    assert pilot.reason == "job 7: waiting for nodes to become free"
    assert pilot.canceled == []


def test_workers_that_went_while_slurm_does_not_answer_are_waited_for_and_then_given_up(pilot):
    active(pilot)
    pilot.observe(0, None, 101.0)
    pilot.observe(0, None, 160.0)
    assert pilot.state is PilotState.ACTIVE
    pilot.observe(0, None, 162.0)
    assert pilot.state is PilotState.FAILED
    assert "job 7 has lost all its workers, and Slurm does not answer for 60 s" in pilot.reason
    assert pilot.canceled == ["7"]


def given_up(pilot):
    pilot.observe(0, UNKNOWN_JOB, 1.0)
    pilot.observe(0, UNKNOWN_JOB, 62.0)
    assert pilot.state is PilotState.FAILED
    assert pilot.may_be_left
    return pilot


def test_a_job_that_was_given_up_is_canceled_when_it_turns_up(pilot):
    """Once in a while, until Slurm says that it is over."""
    given_up(pilot)
    for now in (63.0, 64.0):
        pilot.observe_left(None, now)
        pilot.observe_left(UNKNOWN_JOB, now)
    assert pilot.canceled == []
    for now in (100.0, 101.0, 111.0):
        pilot.observe_left(RUNNING, now)
    assert pilot.canceled == ["7", "7"]
    pilot.observe_left(JobInfo("CANCELLED"), 112.0)
    assert not pilot.may_be_left


def test_a_number_that_became_somebody_else_s_is_not_canceled_afterwards(pilot):
    given_up(pilot).observe_left(JobInfo("RUNNING", stranger=True), 100.0)
    assert pilot.canceled == []
    assert not pilot.may_be_left


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "waiting behind jobs of higher priority"),
        ("(ReqNodeNotAvail, UnavailableNodes:n1)", "the nodes it needs are down, drained or"),
        ("QOSMaxJobsPerUserLimit", "a limit of its account or qos is reached (QOSMaxJobsPer"),
        ("AssocGrpCpuLimit", "a limit of its account or qos is reached (AssocGrpCpuLimit)"),
        ("SomethingNew", "waiting (SomethingNew)"),
        ("", "waiting"),
    ],
)
def test_why_a_job_waits_is_said_in_words(reason, words):
    job = parse_jobs(f"7|PENDING|{reason}|N/A|N/A||0|a-name")["7"]
    assert job.pending
    assert job.in_words.startswith(words)


def test_lines_that_squeue_has_torn_are_passed_over():
    torn = "7|RUNNING|None|2026\nslurm_load_jobs error\n8|RUNNING|None|a|b|n1|0|name|of|it"
    assert {number: job.name for number, job in parse_jobs(torn).items()} == {"8": "name|of|it"}


def test_to_ask_for_a_job_leaves_signals_alone_and_can_be_done_in_a_thread():
    script = """
        import signal, threading
        from pathlib import Path
        from pilotcut.pilots.description import PilotDescription
        from pilotcut.pilots.slurm.job_script import make_job

        def make():
            pilot = PilotDescription(name="p", resource="slurm")
            made.append(make_job(pilot, "p", Path("connection.json"), Path("logs")))

        made = []
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        make()
        assert len(made) == 2
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)
