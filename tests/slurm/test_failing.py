"""Pilots on Slurm that wait, are refused, die, or are replaced."""

import time
from types import SimpleNamespace

import pytest

from pilotcut.errors import PilotError
from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import named, pilot_events, slurm_pilot, times_done, wait_active
from .testbed import slurm, wait_until

pytestmark = pytest.mark.slurm

#: Slurm schedules every second here and we ask every second; the rest is for slow machines.
REASON_S = 10
DYING_S = 30


def square(number):
    time.sleep(0.2)
    return number**2


# -- waiting ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def waiting(cluster, tmp_path_factory):
    """Return pilots that wait: one for full nodes, two for what their queue does not allow."""
    run_dir = tmp_path_factory.mktemp("waiting") / "run"
    hog = testbed.sbatch(
        *["--partition=gpu", "--nodes=2", "--exclusive", "--output=/dev/null"],
        "--wrap=exec sleep 600",
        cwd=run_dir.parent,
    )
    wait_until(lambda: testbed.state_of(hog) == "RUNNING")
    described = [
        slurm_pilot("late", queue="gpu"),
        slurm_pilot("many", nodes=3),
        slurm_pilot("long", walltime="2-00:00:00"),
    ]
    with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        yield SimpleNamespace(pilots=pilots, tasks=tasks, run_dir=run_dir, hog=hog)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("late", "waiting for nodes to become free"),
        ("many", "will not start: asks for more nodes than its queue has; check nodes"),
        ("long", "will not start: asks for more time than its queue allows; check walltime"),
    ],
)
def test_why_a_pilot_waits_is_soon_told_in_plain_words(waiting, name, words):
    pilot = named(waiting.pilots, name)

    def told():
        events = pilot_events(waiting.run_dir, name)
        return [e for e in events if e["reason"] == f"job {pilot.job_id}: {words}"]

    event = wait_until(told, REASON_S)[0]
    assert event["state"] == "pending"
    assert event["time"] - pilot.since[PilotState.PENDING] < REASON_S
    assert pilot.state is PilotState.PENDING


def test_tasks_wait_for_a_pilot_that_comes_late(waiting):
    future = waiting.tasks.submit_task(square, 12)
    assert not future.done()
    slurm("scancel", waiting.hog)
    assert future.result(testbed.PATIENCE_S) == 144
    assert future.task.pilot == "late"


def test_pilots_that_never_came_are_canceled_with_their_manager(waiting):
    pilots = [named(waiting.pilots, name) for name in ("many", "long")]
    waiting.pilots.close()
    assert [pilot.state for pilot in pilots] == [PilotState.CANCELED] * 2
    wait_until(lambda: not {pilot.job_id for pilot in waiting.pilots.pilots} & set(testbed.jobs()))


# -- refused, or dead at once ----------------------------------------------------------


@pytest.fixture(scope="module")
def refused(cluster, tmp_path_factory):
    """Return what is left of two pilots of which one was refused, and the other had to wait."""
    before = set(testbed.jobs())
    waits = slurm_pilot("good", directives=("--hold",))
    described = [waits, slurm_pilot("bad", queue="no-such-queue")]
    manager = PilotManager(described, run_dir=tmp_path_factory.mktemp("refused") / "run")
    with pytest.raises(PilotError) as error:
        manager.start()
    yield SimpleNamespace(manager=manager, text=str(error.value), before=before)
    if left := set(testbed.jobs()) - before:
        slurm("scancel", *left)


def test_a_queue_that_does_not_exist_is_told_in_the_words_of_sbatch(refused):
    expected = "pilot 'bad': sbatch refused it: invalid partition specified: no-such-queue"
    assert refused.text.startswith(expected)
    assert "\n" not in refused.text
    assert [pilot.state for pilot in refused.manager.pilots] == [PilotState.FAILED] * 2
    assert refused.manager.scheduler is None


def test_pilots_beside_a_refused_one_are_taken_back(refused):
    wait_until(lambda: set(testbed.jobs()) <= refused.before, 5)


@pytest.fixture(scope="module")
def dying(cluster, tmp_path_factory):
    """Return pilots whose jobs die before there is a worker, one of them to be replaced."""
    run_dir = tmp_path_factory.mktemp("dying") / "run"
    setup = ("echo the module qiskit/9 does not exist >&2", "exit 3")
    described = [
        slurm_pilot("once", setup=setup),
        slurm_pilot("again", setup=setup, replace=True, most_replacements=9),
    ]
    with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        first = named(pilots, "again")
        doomed = tasks.submit_task(square, 1)
        yield SimpleNamespace(pilots=pilots, run_dir=run_dir, doomed=doomed, first=first)


def test_a_job_that_dies_at_its_start_is_told_with_the_end_of_its_log(dying):
    pilot = named(dying.pilots, "once")
    wait_until(lambda: pilot.state is PilotState.FAILED, DYING_S)
    assert pilot.reason.startswith(f"job {pilot.job_id}: its job failed; its log, ")
    assert pilot.reason.splitlines()[-1] == "  the module qiskit/9 does not exist"


def test_after_three_failures_in_a_row_no_more_pilots_are_asked_for(dying):
    def given_up():
        return [e for e in pilot_events(dying.run_dir, "again") if e["event"] == "note"]

    (note,) = wait_until(given_up, DYING_S)
    assert note["reason"] == "no more are asked for: 3 failed in a row"
    events = pilot_events(dying.run_dir, "again")
    assert [e["state"] for e in events if e["event"] == "pilot"].count("failed") == 3
    submitted = len(list((dying.run_dir / "logs").glob("again*.log")))
    time.sleep(2)
    assert len(list((dying.run_dir / "logs").glob("again*.log"))) == submitted == 3


def test_tasks_that_no_pilot_is_left_for_fail_and_say_why(dying):
    with pytest.raises(PilotError, match=r"no pilot is left to run it: job \d+: its job failed"):
        dying.doomed.result(DYING_S)


# -- lost in the middle of work --------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(cluster, tmp_path_factory):
    """Return four running pilots: two will be canceled, one will lose its node."""
    run_dir = tmp_path_factory.mktemp("fleet") / "run"
    described = [
        slurm_pilot("steady"),
        slurm_pilot("canceled", replace=True, most_replacements=1),
        slurm_pilot("on-gpu2", queue="gpu", directives=("--nodelist=gpu2",)),
        slurm_pilot("blamed"),
    ]
    with (
        PilotManager(described, run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        wait_active(pilots)
        yield SimpleNamespace(pilots=pilots, tasks=tasks, run_dir=run_dir)
    bring_back("gpu2")


def bring_back(node):
    """Make a node usable that was taken down; it may have come back by itself."""
    if slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%t").startswith("down"):
        slurm("scontrol", "update", f"nodename={node}", "state=resume")


def lose(fleet, name, harm, count=24, **options):
    """Do harm to a pilot in the middle of its work; return what becomes of it all."""
    pilot = named(fleet.pilots, name)
    label = f"{pilot.key}-task"
    futures = [
        fleet.tasks.submit_task(square, n, name=f"{label}-{n}", **options) for n in range(count)
    ]
    wait_until(lambda: any(f.done() and f.task.pilot == name for f in futures))
    harm(pilot)
    assert [f.result(testbed.PATIENCE_S) for f in futures] == [n**2 for n in range(count)]
    done = times_done(fleet.run_dir)
    assert [done[f.task.name] for f in futures] == [1] * count
    assert any(f.task.retries for f in futures), "no task was under way"
    wait_until(lambda: pilot.state.final)
    return pilot


def cancel(pilot):
    slurm("scancel", pilot.job_id)


def test_nothing_is_lost_when_a_node_goes_down(fleet):
    def take_down(pilot):
        slurm("scontrol", "update", "nodename=gpu2", "state=down", "reason=test")

    pilot = lose(fleet, "on-gpu2", take_down)
    assert pilot.reason == f"job {pilot.job_id}: a node of its job failed"


def test_the_end_of_a_pilot_does_not_count_against_the_retries_of_a_task(fleet):
    lose(fleet, "blamed", cancel, retries=0)


def test_nothing_is_lost_when_a_pilot_is_canceled_and_another_comes_for_it(fleet):
    pilot = lose(fleet, "canceled", cancel)
    assert pilot.reason == f"job {pilot.job_id}: its job was canceled"
    # A task for this name only waits for the new pilot.
    future = fleet.tasks.submit_task(square, 7, pilot="canceled")
    assert future.result(testbed.PATIENCE_S) == 49
    assert future.task.worker == "canceled~1-0"
    assert named(fleet.pilots, "canceled").generation == 1


def test_how_a_pilot_was_lost_is_its_state(fleet):
    records = [r for r in read_jsonl(fleet.run_dir / "events.jsonl") if r["event"] == "pilot"]
    ends = {r["reason"].partition(": ")[2]: r["state"] for r in records}
    assert ends["a node of its job failed"] == "failed"
    assert ends["its job was canceled"] == "canceled"
    assert "its time limit is near" not in ends


def test_no_more_pilots_come_than_may_be_replaced(fleet):
    first = named(fleet.pilots, "canceled")
    assert first.generation == 1
    lose(fleet, "canceled", cancel)
    (note,) = wait_until(
        lambda: [e for e in pilot_events(fleet.run_dir, "canceled") if e["event"] == "note"]
    )
    assert note["reason"] == "no more are asked for: 1 were replaced"


def test_tasks_are_told_only_of_pilots_that_they_could_have_run_on(fleet):
    future = fleet.tasks.submit_task(square, 7, pilot="canceled")
    expected = r"no pilot is left to run it: job \d+: its job was canceled$"
    with pytest.raises(PilotError, match=expected):
        future.result(testbed.PATIENCE_S)
