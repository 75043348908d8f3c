"""Slurm's commands are used on jobs of ours alone; needs no Slurm, other commands stand for it."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from support.slurm_commands import NAME, OURS, line

from pilotcut.errors import PilotError
from pilotcut.pilots import PilotState
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.slurm import commands
from pilotcut.pilots.slurm.commands import (
    OwnJob,
    cancel,
    parse_submission,
    query_jobs,
    submit,
    unique_name,
)
from pilotcut.pilots.slurm.job_script import make_job
from pilotcut.pilots.slurm.pilot import SlurmPilot

# -- which job it is -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("6\n", ("6", "")),
        ("6", ("6", "")),
        ("  6 \r\n", ("6", "")),
        ("6;alpha\n", ("6", "alpha")),
        ("6;alpha-2.x\n", ("6", "alpha-2.x")),
        ("Welcome to Cluster4\n6\n", ("6", "")),
        ("6\nYou have used 17 of 100 hours\n", ("6", "")),
        ("\n*** 2 jobs are yours ***\n6;alpha\nBye 9\n", ("6", "alpha")),
        ("20260102030405\n6\n", ("6", "")),  # a date; job numbers have 32 bits
        ("6\n6\n", ("6", "")),
        ("4294967295\n", ("4294967295", "")),
    ],
)
def test_a_number_that_stands_alone_on_its_line_is_the_job_s(printed, found):
    assert parse_submission(printed) == found


UNCERTAIN = [
    "",
    "\n",
    "Welcome to Cluster4\n",
    "Submitted batch job 6\n",
    "Welcome to Cluster4\nSubmitted batch job 6\n",
    "4\n6\n",
    "6\n6;alpha\n",
    "6;alpha\n6;beta\n",
    "Quota: 6",
    "Welcome 6\n",
    "6;\n",
    "6;alpha;beta\n",
    "6;al pha\n",
    "6 alpha\n",
    "6_1\n",
    "6+0\n",
    "-6\n",
    "0\n",
    "06\n",
    "6.0\n",
    "6,7\n",
    "٦\n",
    "\x1b[1m6\x1b[0m\n",
    "6\u20287\n",
    "Cluster\x0b4\n",
    "99999999999\n",
]


@pytest.mark.parametrize("printed", UNCERTAIN)
def test_what_can_be_read_in_another_way_is_no_number(printed):
    assert parse_submission(printed) is None


def test_sbatch_is_asked_for_the_number_alone_and_the_job_gets_a_name_of_its_own(slurm):
    slurm.let("sbatch", b"Welcome to Cluster\xb44\n6;alpha\n", complains="Submitted batch job 9")
    assert submit("job.sh", NAME) == OwnJob("6", NAME, "alpha")
    assert slurm.calls("sbatch") == [f"--parsable --job-name={NAME} job.sh"]


def test_no_two_jobs_have_the_same_name():
    names = {unique_name("p~1") for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch("pilotcut-p~1-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize("printed", ["Welcome to Cluster4\nSubmitted batch job 6\n", "4\n6\n", ""])
def test_a_job_whose_number_is_not_certain_is_left_alone_and_the_message_says_how_to_find_it(
    slurm, printed
):
    slurm.let("sbatch", printed)
    with pytest.raises(PilotError) as caught:
        submit("job.sh", NAME)
    text = str(caught.value)
    assert "\n" not in text
    assert f"sbatch --parsable printed {printed.strip()!r}, expected one line with" in text
    assert f"'squeue --name={NAME}'" in text
    assert f"'scancel --name={NAME}'" in text
    assert slurm.calls("squeue") == slurm.calls("scancel") == []


def test_a_long_banner_is_shown_in_part(slurm):
    slurm.let("sbatch", "Welcome to Cluster4. " * 1000)
    with pytest.raises(PilotError) as caught:
        submit("job.sh", NAME)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("says", "complains", "words"),
    [
        ("", "sbatch: error: invalid partition\n", "sbatch refused it: invalid partition"),
        ("4\n", "", "sbatch refused it: 4; if there is a job all the same, find it with"),
        ("", "", "sbatch refused it: no reason given (exit status 3)"),
    ],
)
def test_an_sbatch_that_fails_has_submitted_nothing(slurm, says, complains, words):
    slurm.let("sbatch", says, complains, status=3)
    with pytest.raises(PilotError, match=re.escape(words)):
        submit("job.sh", NAME)
    assert slurm.calls("scancel") == []


def test_an_sbatch_that_hangs_is_ended_with_what_it_has_started(slurm, monkeypatch):
    monkeypatch.setattr(commands, "SUBMIT_S", 0.5)
    slurm.replace("sbatch", f"#!/bin/bash\nsleep 60 & echo $! > {slurm.home}/child\nwait\n")
    began = time.monotonic()
    with pytest.raises(PilotError, match=f"there may be a job or none; .*--name={NAME}"):
        submit("job.sh", NAME)
    assert time.monotonic() - began < 10
    stat = Path(f"/proc/{(slurm.home / 'child').read_text().strip()}/stat")
    limit = time.monotonic() + 10
    while stat.exists() and ") Z " not in stat.read_text():  # nobody may have collected it
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_job_of_an_sbatch_that_hangs_is_found_by_its_name(slurm, monkeypatch):
    monkeypatch.setattr(commands, "SUBMIT_S", 0.3)
    slurm.replace("sbatch", "#!/bin/bash\nsleep 60\n")
    slurm.let("squeue", line(6, state="PENDING"))
    assert submit("job.sh", NAME) == OwnJob("6", NAME)
    assert f"--name={NAME} --user={OURS}" in slurm.calls("squeue")[0]


@pytest.mark.parametrize("says", ["", line(6) + line(7), line(6, name="theirs"), "Welcome\n"])
def test_a_job_of_an_sbatch_that_hangs_is_not_guessed(slurm, monkeypatch, says):
    monkeypatch.setattr(commands, "SUBMIT_S", 0.3)
    slurm.replace("sbatch", "#!/bin/bash\nsleep 60\n")
    slurm.let("squeue", says)
    with pytest.raises(PilotError, match="sbatch did not answer within"):
        submit("job.sh", NAME)


#: Fails as many times as stands in a file, in the words that stand in another.
AWAY = """#!/bin/bash
echo >> '{home}/sbatch.called'
[[ $(wc -l < '{home}/sbatch.called') -gt {times} ]] && {{ echo 6; exit 0; }}
echo "sbatch: error: {words}" >&2
exit 1
"""
UNREACHED = "Batch job submission failed: Unable to contact slurm controller (connect failure)"
UNSURE = "Batch job submission failed: Socket timed out on send/recv operation"


def submitted(slurm, monkeypatch, times, words):
    monkeypatch.setattr(commands, "PAUSES_S", (0.0, 0.0, 0.0))
    slurm.replace("sbatch", AWAY.format(home=slurm.home, times=times, words=words))
    try:
        return submit("job.sh", NAME), len(slurm.calls("sbatch"))
    except PilotError as error:
        return str(error), len(slurm.calls("sbatch"))


@pytest.mark.parametrize("words", [UNREACHED, UNSURE])
def test_an_sbatch_that_does_not_reach_the_controller_is_tried_again(slurm, monkeypatch, words):
    assert submitted(slurm, monkeypatch, 2, words) == (OwnJob("6", NAME), 3)
    (slurm.home / "sbatch.called").unlink()
    fault, times = submitted(slurm, monkeypatch, 9, words)
    assert (fault, times) == (f"sbatch refused it: {words}", 4)


def test_a_job_of_which_sbatch_is_not_sure_is_not_submitted_twice(slurm, monkeypatch):
    """It is found by its name; and where squeue does not answer either, none is risked."""
    slurm.let("squeue", line(7))
    assert submitted(slurm, monkeypatch, 1, UNSURE) == (OwnJob("7", NAME), 1)
    (slurm.home / "sbatch.called").unlink()
    slurm.let("squeue", complains="slurm_load_jobs error: Unable to contact\n", status=1)
    assert submitted(slurm, monkeypatch, 1, UNSURE)[1] == 1
    (slurm.home / "sbatch.called").unlink()
    assert submitted(slurm, monkeypatch, 1, UNREACHED) == (OwnJob("6", NAME), 2)


# -- what is canceled ------------------------------------------------------------------


def test_a_job_of_ours_is_canceled_by_number_name_and_user(slurm):
    slurm.let("squeue", line(6))
    cancel(OwnJob("6", NAME))
    assert slurm.calls("scancel") == [f"--user={OURS} --name={NAME} 6"]


def test_a_job_on_another_cluster_is_canceled_there(slurm):
    slurm.let("squeue", line(6))
    cancel(OwnJob("6", NAME, "alpha"))
    assert slurm.calls("scancel") == [f"--user={OURS} --name={NAME} --clusters=alpha 6"]


@pytest.mark.parametrize(
    "other", [{"uid": OURS + 1}, {"name": "theirs"}, {"name": ""}, {"state": "COMPLETED"}]
)
def test_a_job_of_somebody_else_s_or_one_that_has_ended_is_not_canceled(slurm, other):
    slurm.let("squeue", line(6, **other))
    cancel(OwnJob("6", NAME))
    assert slurm.calls("scancel") == []


@pytest.mark.parametrize(
    "answer",
    [
        {"says": "", "complains": "slurm_load_jobs error: Unable to contact", "status": 1},
        {"says": "", "complains": "slurm_load_jobs error: Invalid job id specified", "status": 1},
        {"says": "4\n6\nsqueue: 6\n"},
    ],
)
def test_where_slurm_does_not_say_whose_a_number_is_no_number_is_canceled(slurm, answer):
    slurm.let("squeue", **answer)
    cancel(OwnJob("6", NAME))
    assert slurm.calls("scancel") == [f"--user={OURS} --name={NAME}"]


def test_a_job_that_may_be_left_is_told_of_and_the_end_goes_on(slurm, caplog):
    slurm.let("squeue", line(6))
    slurm.let("scancel", complains="scancel: error: Unable to contact controller\n", status=1)
    cancel(OwnJob("6", NAME))
    (record,) = caplog.records
    assert "job 6 may not be canceled (scancel: error: Unable to contact" in record.getMessage()
    assert f"end it with 'scancel --name={NAME}'" in record.getMessage()


def test_no_command_that_hangs_holds_up_the_end(slurm, monkeypatch, caplog):
    monkeypatch.setattr(commands, "COMMAND_S", 0.3)
    for command in ("squeue", "scancel"):
        slurm.replace(command, "#!/bin/bash\nsleep 60\n")
    cancel(OwnJob("6", NAME))
    assert "no answer" in caplog.text


# -- pilots and dask-jobqueue ----------------------------------------------------------


@pytest.fixture
def pilot():
    pilot = SlurmPilot(PilotDescription(name="p", resource="slurm"))
    pilot._job = OwnJob("4", NAME)
    return pilot


def observe(pilot, joined=0, now=1.0):
    pilot.observe(joined, query_jobs([pilot.job]).get(pilot.job), now)


def test_a_number_that_is_another_job_s_fails_the_pilot_and_harms_nobody(slurm, pilot):
    slurm.let("squeue", line(4, uid=OURS + 1, name="theirs"))
    observe(pilot)
    assert pilot.state is PilotState.FAILED
    assert "\n" not in pilot.reason
    assert pilot.reason.startswith(f"job 4 is 'theirs' of the user with uid {OURS + 1}, expected ")
    assert f"find it with 'squeue --name={NAME}'" in pilot.reason
    pilot.close()
    assert slurm.calls("scancel") == []


def test_a_number_that_becomes_another_job_s_is_let_go(slurm, pilot):
    slurm.let("squeue", line(4))
    observe(pilot, joined=1)
    assert pilot.state is PilotState.ACTIVE
    slurm.let("squeue", line(4, name="theirs"))
    observe(pilot, joined=1, now=2.0)
    assert pilot.state is PilotState.FAILED
    pilot.close()
    assert slurm.calls("scancel") == []


def test_the_end_of_a_pilot_that_nobody_has_looked_at_cancels_its_own_job_only(slurm, pilot):
    slurm.let("squeue", line(4, name="theirs"))
    pilot.close()
    assert slurm.calls("scancel") == []
    assert pilot.state is PilotState.CANCELED


def test_a_pilot_that_was_never_submitted_cancels_nothing(slurm):
    SlurmPilot(PilotDescription(name="p", resource="slurm")).close()
    assert slurm.calls("squeue") == slurm.calls("scancel") == []


def dask_job(tmp_path):
    description = PilotDescription(name="p", resource="slurm")
    return make_job(description, "p", tmp_path / "connection.json", tmp_path / "logs")


def test_dask_jobqueue_submits_and_cancels_in_the_same_way(slurm, tmp_path):
    async def live():
        job = dask_job(tmp_path)
        await job.close()  # before there is one
        await job.start()
        slurm.let("squeue", line(6, name=job.own.name))
        await job.close()
        return job

    slurm.let("sbatch", "Welcome to Cluster4\n6\n")
    job = asyncio.run(live())
    assert (job.job_id, job.own.number) == ("6", "6")
    assert slurm.calls("scancel") == [f"--user={OURS} --name={job.own.name} 6"]
    (called,) = slurm.calls("sbatch")
    assert called.startswith(f"--parsable --job-name={job.own.name} ")


def test_dask_jobqueue_cancels_nothing_that_it_has_not_understood(slurm, tmp_path):
    async def live():
        job = dask_job(tmp_path)
        with pytest.raises(PilotError, match="Welcome to Cluster4"):
            await job.start()
        await job.close()
        return job

    slurm.let("sbatch", "Welcome to Cluster4\nSubmitted batch job 6\n")
    job = asyncio.run(live())
    assert job.job_id is None
    assert slurm.calls("scancel") == []
