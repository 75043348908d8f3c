"""Arrays, heterogeneous jobs, jobs of several sizes; needs no Slurm, commands stand for it."""

import pytest
from support.slurm_commands import NAME, line

from pilotcut.errors import DescriptionError
from pilotcut.pilots import PilotState
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.pilots.elastic_pilots import members_of
from pilotcut.pilots.slurm.array import groups_of
from pilotcut.pilots.slurm.commands import OwnJob, cancel, query_jobs
from pilotcut.pilots.slurm.job_info import JobInfo
from pilotcut.pilots.slurm.job_script import make_array, make_hetjob, make_job
from pilotcut.pilots.slurm.pilot import SlurmPilot

ELEMENTS = [OwnJob("7", NAME, element=f"7_{index}") for index in (0, 1)]


def described(**fields):
    return PilotDescription(**{"name": "p", "resource": "slurm"} | fields)


# -- arrays ----------------------------------------------------------------------------


def test_pilots_of_an_entry_with_array_are_one_submission_and_others_are_alone():
    entry = described(array=True, elastic={"most": 3})
    array = [SlurmPilot(one) for one in members_of([entry])]
    alone = SlurmPilot(described(name="q"))
    assert list(groups_of([array[0], alone, *array[1:]])) == [[alone], array]


def test_one_that_has_a_job_already_is_not_submitted_again():
    pilots = [SlurmPilot(described(name=f"p-{k}", array=True)) for k in range(2)]
    pilots[0].take_over(OwnJob("5", NAME))
    assert list(groups_of(pilots)) == [[pilots[0]], [pilots[1]]]


def test_entries_whose_names_end_in_numbers_are_not_taken_for_one():
    pilots = [SlurmPilot(described(name=f"p-{k}", array=True, nodes=k)) for k in (1, 2)]
    assert list(groups_of(pilots)) == [[pilots[0]], [pilots[1]]]


def test_the_script_of_an_array_runs_each_pilot_s_own_agent(tmp_path):
    members = [(described(name=f"p-{k}", array=True), f"p-{k}~2") for k in range(3)]
    script = make_array(members, tmp_path / "connection.json", tmp_path).job_script()
    assert "#SBATCH --array=0-2\n" in script
    assert f"#SBATCH --output={tmp_path}/p-%A_%a.log\n" in script
    cases = [text for text in script.splitlines() if text.startswith(("0)", "1)", "2)"))]
    assert ["p-0~2" in cases[0], "p-1~2" in cases[1], "p-2~2" in cases[2]] == [True] * 3


def test_elements_are_asked_for_and_canceled_by_their_own_names(slurm):
    slurm.let("squeue", line("7_0", state="PENDING") + line("7_1"))
    known = query_jobs(ELEMENTS)
    assert [known[job].state for job in ELEMENTS] == ["PENDING", "RUNNING"]
    (asked,) = slurm.calls("squeue")
    assert "--array" in asked
    assert "--jobs=7_0,7_1" in asked
    cancel(ELEMENTS[1])
    assert slurm.calls("scancel")[0].endswith(" 7_1")


def test_an_element_that_squeue_does_not_tell_of_is_settled_by_scontrol(slurm):
    slurm.let(
        "scontrol",
        f"JobId=9 ArrayJobId=7 ArrayTaskId=1 JobName={NAME} UserId=me(1) JobState=FAILED\n",
    )
    assert query_jobs(ELEMENTS[1:])[ELEMENTS[1]].state == "FAILED"
    slurm.let("scontrol", complains="Job 7_1 not found", status=1)
    assert query_jobs(ELEMENTS[1:])[ELEMENTS[1]].unknown


def test_without_an_answer_only_the_element_is_canceled(slurm):
    """All elements have one name: by that alone all would go."""
    slurm.let("squeue", status=1)
    slurm.let("scontrol", complains="timed out", status=1)
    cancel(ELEMENTS[0])
    assert slurm.calls("scancel")[0].endswith(" 7_0")


# -- heterogeneous jobs ----------------------------------------------------------------


def test_pilots_that_name_one_hetjob_are_its_components(tmp_path):
    pilots = [
        SlurmPilot(described(name="cpu", hetjob="both", nodes=2)),
        SlurmPilot(described(name="alone")),
        SlurmPilot(described(name="gpu", hetjob="both", queue="gpu", gpus_per_node=2)),
    ]
    assert list(groups_of(pilots)) == [[pilots[1]], [pilots[0], pilots[2]]]
    members = [(pilot.description, pilot.key) for pilot in (pilots[0], pilots[2])]
    script = make_hetjob(members, tmp_path / "connection.json", tmp_path).job_script()
    first, second = script.split("#SBATCH hetjob")
    assert "#SBATCH --nodes=2" in first
    assert "#SBATCH --gres=gpu:2" in second
    steps = [text for text in second.splitlines() if text.startswith("srun")]
    assert ["--het-group=0" in steps[0], "--het-group=1" in steps[1]] == [True, True]


def test_components_are_asked_for_and_canceled_by_their_own_names(slurm):
    components = [OwnJob("7", NAME, element=f"7+{index}") for index in (0, 1)]
    slurm.let("squeue", line("7+0") + line("7+1", state="FAILED"))
    known = query_jobs(components)
    assert [known[job].state for job in components] == ["RUNNING", "FAILED"]
    cancel(components[0])
    assert slurm.calls("scancel")[0].endswith(" 7+0")
    slurm.let("squeue")
    slurm.let(
        "scontrol",
        f"JobId=8 HetJobId=7 HetJobOffset=1 JobName={NAME} UserId=me(1) JobState=TIMEOUT\n",
    )
    assert query_jobs(components[1:])[components[1]].state == "TIMEOUT"


# -- several sizes ---------------------------------------------------------------------

SIZES = [{"nodes": 8, "walltime": "00:30:00"}, {"nodes": 2}]
BIG, SMALL = OwnJob("7", f"{NAME}-a"), OwnJob("8", f"{NAME}-b")
PENDING, RUNNING, CANCELED = JobInfo("PENDING"), JobInfo("RUNNING"), JobInfo("CANCELLED")


@pytest.fixture
def pilot(tmp_path, monkeypatch):
    """Return a pilot of two sizes whose jobs are submitted; what it cancels is kept."""
    path = tmp_path / "pilots.yaml"
    path.write_text(f"pilots: [{{name: p, resource: slurm, cores_per_node: 2, sizes: {SIZES}}}]")
    pilot = SlurmPilot(load_descriptions(path)[0])
    pilot._rivals = list(zip([BIG, SMALL], pilot._sizes, strict=True))
    pilot.follow(BIG)
    pilot.canceled = []
    monkeypatch.setattr("pilotcut.pilots.slurm.pilot.cancel", pilot.canceled.append)
    return pilot


def test_until_one_has_started_a_pilot_is_what_the_smallest_would_be(pilot):
    assert (pilot.slots, pilot.jobs) == (4, (BIG, SMALL))
    assert pilot.chosen({BIG: PENDING, SMALL: PENDING}) == BIG
    assert pilot.canceled == []


@pytest.mark.parametrize(
    ("first", "other", "slots", "walltime"),
    [(SMALL, BIG, 4, "01:00:00"), (BIG, SMALL, 16, "00:30:00")],
)
def test_whichever_starts_first_is_the_pilot_and_the_other_is_canceled(
    pilot, first, other, slots, walltime
):
    assert pilot.chosen({first: RUNNING, other: PENDING}) == first
    assert (pilot.slots, pilot.description.walltime) == (slots, walltime)
    assert pilot.canceled == [other]
    assert pilot.jobs == (first,)


def test_of_two_that_start_at_once_the_one_that_stays_is_the_pilot(pilot):
    assert pilot.chosen({BIG: RUNNING, SMALL: RUNNING}) == BIG
    assert pilot.canceled == []
    assert pilot.chosen({BIG: JobInfo("COMPLETED"), SMALL: RUNNING}) == SMALL
    assert pilot.slots == 4


def test_one_that_is_canceled_leaves_the_other(pilot):
    assert pilot.chosen({BIG: CANCELED, SMALL: PENDING}) == SMALL
    assert pilot.chosen({SMALL: PENDING}) == SMALL
    assert pilot.jobs == (SMALL,)


def test_where_all_are_gone_the_pilot_ends(pilot):
    job = pilot.chosen({BIG: CANCELED, SMALL: CANCELED})
    pilot.observe(0, CANCELED, 1.0)
    assert job in (BIG, SMALL)
    assert pilot.state is PilotState.CANCELED


def test_the_end_cancels_all_that_wait(pilot):
    pilot.close()
    assert pilot.canceled == [BIG, SMALL]


def test_what_first_jobs_of_another_time_have_left_keeps_no_job_from_starting(
    pilot, tmp_path, monkeypatch
):
    (tmp_path / "p.started").mkdir()
    monkeypatch.setattr(pilot, "submit", lambda _: SMALL)
    pilot._submit_sizes(tmp_path / "connection.json", tmp_path)
    assert not (tmp_path / "p.started").exists()


def test_a_job_that_comes_second_ends_by_itself(tmp_path):
    script = make_job(
        described(), "p~1", tmp_path / "connection.json", tmp_path, is_rival=True
    ).job_script()
    assert f"mkdir {tmp_path}/p~1.started || " in script or f"mkdir '{tmp_path}/p~1" in script


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("resource: local, sizes: [{nodes: 1}, {nodes: 2}]", "none with resource local"),
        ("resource: slurm, sizes: [{nodes: 2}]", "two or more sizes"),
        ("resource: slurm, sizes: [{nodes: 2}, {nodes: 2}]", "sizes that differ"),
        ("resource: slurm, sizes: [{}, {nodes: 1, walltime: '01:00:00'}]", "sizes that differ"),
        ("resource: slurm, sizes: [{nodes: 2}, {node: 1}]", "sizes[1].node is an unknown key; did"),
        ("resource: slurm, sizes: [{nodes: 2}, {walltime: 90}]", "sizes is"),
        ("resource: slurm, sizes: [{nodes: 2}, {walltime: '00:00:00'}]", "walltime 'HH:MM:SS'"),
        ("resource: slurm, sizes: [{nodes: 2}, {nodes: 99999}]", "nodes of at most"),
        ("resource: slurm, ranks: 4, nodes: 2, sizes: [{nodes: 2}, {nodes: 4}]", "no ranks"),
        ("resource: slurm, elastic: {most: 2}, sizes: [{nodes: 2}, {nodes: 4}]", "no elastic"),
        ("resource: slurm, replace: true, hetjob: h", "no replace beside it"),
        ("resource: slurm, nodes: 2, ranks: 2, hetjob: h", "no ranks beside it"),
        ("resource: local, hetjob: h", "none with resource local"),
        ("resource: local, array: true", "array is True, expected false with resource local"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, fields, fault):
    path = tmp_path / "pilots.yaml"
    path.write_text("pilots:\n  - {name: p, " + fields + "}\n")
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(path)
    assert len(caught.value.faults) == 1
    assert fault in str(caught.value)
