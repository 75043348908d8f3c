"""Tasks: results, failures, dependencies and losses, in this process and on local workers."""

import asyncio
import functools
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.tasks import TaskManager, TaskState, as_completed, wait
from pilotcut.tasks.policies import eager


@pytest.fixture(scope="module")
def here():
    with PilotManager(embedded(2)) as pilots:
        yield pilots


@pytest.fixture(scope="module")
def cluster():
    descriptions = [
        PilotDescription(name="left", resource="local"),
        PilotDescription(name="right", resource="local"),
    ]
    with PilotManager(descriptions) as pilots:
        yield pilots


@pytest.fixture(params=["here", "cluster"])
def tasks(request):
    with TaskManager(request.getfixturevalue(request.param)) as manager:
        yield manager


@pytest.fixture
def local_tasks(cluster):
    with TaskManager(cluster) as manager:
        yield manager


@pytest.fixture
def own_tasks(here):
    with TaskManager(here) as manager:
        yield manager


class BrokenError(Exception):
    pass


def fail(text):
    raise BrokenError(text)


def add(*terms, more=0):
    return sum(terms) + more


# -- results ---------------------------------------------------------------------------


def test_results_come_back_whichever_way_they_are_asked_for(tasks):
    futures = [tasks.submit_task(add, i, more=1) for i in range(40)]
    assert [future.result(20) for future in futures] == list(range(1, 41))
    assert {future.result() for future in as_completed(futures)} == set(range(1, 41))
    assert wait(futures).not_done == set()
    assert all(future.task.state is TaskState.DONE for future in futures)


def test_the_times_of_a_task_are_in_order(tasks):
    task = (future := tasks.submit_task(time.sleep, 0.01, name="nap")).result(20) or future.task
    assert task.name == "nap"
    assert task.worker.startswith(task.pilot)
    assert task.submitted <= task.bound <= task.started < task.finished


def test_a_future_can_be_awaited(tasks):
    async def both():
        return await asyncio.gather(tasks.submit_task(add, 1), tasks.submit_task(add, 2))

    assert asyncio.run(both()) == [1, 2]


def test_closures_and_partials_travel(tasks):
    base = 10
    futures = [
        tasks.submit_task(lambda x: base + x, 1),
        tasks.submit_task(functools.partial(add, 5), 1),
    ]
    assert [future.result(20) for future in futures] == [11, 6]


def test_tasks_can_be_submitted_from_many_threads(tasks):
    futures = []
    threads = [
        threading.Thread(
            target=lambda: futures.extend(tasks.submit_task(add, i) for i in range(25))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(future.result(20) for future in futures) == 4 * sum(range(25))


def test_a_callback_may_submit_and_wait(tasks):
    seen, done = [], threading.Event()

    def go_on(future):
        seen.append(tasks.submit_task(add, future.result(), 1).result(20))
        done.set()

    tasks.submit_task(add, 1).add_done_callback(go_on)
    assert done.wait(20)
    assert seen == [2]


def test_a_task_runs_on_the_pilot_that_it_names(local_tasks):
    futures = [local_tasks.submit_task(os.getpid, pilot="right") for _ in range(6)]
    assert len({future.result(20) for future in futures}) == 1
    assert {future.task.pilot for future in futures} == {"right"}


def test_a_pilot_may_be_named_before_the_binder_has_heard_of_it():
    with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as tasks:
        (pilot,) = pilots.pilots
        tasks._binder._accounts.clear()  # as in the moment after it came
        assert tasks.submit_task(max, 3, 7, pilot=pilot.name).result(timeout=10) == 7


def test_short_tasks_after_each_other_use_all_workers(local_tasks):
    futures = [local_tasks.submit_task(os.getpid) for _ in range(600)]
    assert len({future.result(20) for future in futures}) == 2


# -- failures --------------------------------------------------------------------------


def test_an_exception_keeps_its_type_and_carries_the_workers_traceback(tasks):
    future = tasks.submit_task(fail, "broken", name="bad")
    with pytest.raises(BrokenError, match="broken") as caught:
        future.result(20)
    note = "\n".join(caught.value.__notes__)
    assert "task 'bad' failed on worker" in note
    assert "raise BrokenError(text)" in note
    assert (future.task.state, future.task.retries) == (TaskState.FAILED, 0)


def test_leaving_python_is_a_failure_of_the_task_alone(tasks):
    with pytest.raises(TaskError, match=r"raised SystemExit\(3\)"):
        tasks.submit_task(exit_with, 3).result(20)


def exit_with(code):
    raise SystemExit(code)


def test_what_cannot_travel_fails_with_the_reason(local_tasks):
    with pytest.raises(TaskError, match="an argument cannot travel to a worker"):
        local_tasks.submit_task(add, threading.Lock()).result(20)
    with pytest.raises(TaskError, match="the result, a lock, cannot travel back"):
        local_tasks.submit_task(threading.Lock).result(20)
    with pytest.raises(TaskError, match=r"a TaskFuture is found in .* lists, tuples and dicts"):
        local_tasks.submit_task(len, {local_tasks.submit_task(add, 1)}).result(20)


@pytest.mark.parametrize(
    ("wishes", "fault"),
    [
        ({"cores": 3}, "task 't': cores is 3 and gpus is 0, more than any pilot has: pilot 'here'"),
        ({"gpus": 1}, "task 't': cores is 1 and gpus is 1, more than any pilot has"),
        ({"cores": 0}, "task 't': cores is 0, expected a whole number from 1 up"),
        ({"ranks": 3}, "task 't': cores is 3 and gpus is 0, more than any pilot has"),
        ({"ranks": 0}, "task 't': ranks is 0, expected a whole number from 1 up"),
        ({"error_retries": -1}, "task 't': error_retries is -1, expected a whole number from 0"),
        ({"pilot": "hree"}, "pilot names pilot 'hree', expected one of 'here'; did you mean 'h"),
        ({"pilot": ()}, "task 't': pilot is an empty list"),
        ({"after": [3]}, "task 't': after has 3, expected futures"),
    ],
)
def test_what_no_pilot_could_run_is_refused_at_once(own_tasks, wishes, fault):
    with pytest.raises(UserError, match=fault) as caught:
        own_tasks.submit_task(add, name="t", **wishes)
    assert len(caught.value.faults) == 1


def test_an_unknown_policy_is_refused(here):
    with pytest.raises(UserError, match="did you mean 'longest_first'"):
        TaskManager(here, policy="longest-fist")


# -- dependencies ----------------------------------------------------------------------


def test_futures_among_arguments_become_their_results(tasks):
    one, two = tasks.submit_task(add, 1), tasks.submit_task(add, 2)
    nested = tasks.submit_task(add, one, more=two)
    assert nested.result(20) == 3
    assert tasks.submit_task(sum, [one, nested]).result(20) == 4
    assert tasks.submit_task(dict, {"x": (two, [nested])}).result(20) == {"x": (2, [3])}


def test_after_orders_tasks(tasks):
    first = tasks.submit_task(time.sleep, 0.1)
    second = tasks.submit_task(time.time, after=first)
    assert second.result(20) >= first.task.finished


def test_what_depends_on_a_failure_fails_with_it(tasks):
    bad = tasks.submit_task(fail, "broken", name="bad")
    last = tasks.submit_task(add, tasks.submit_task(add, bad, name="middle"), name="last")
    with pytest.raises(TaskError, match=r"by way of task 'middle', on task 'bad'") as told:
        last.result(20)
    assert isinstance(told.value.__cause__, BrokenError)


def test_a_canceled_task_never_runs_and_takes_its_dependents_along(own_tasks):
    gate, ran = threading.Event(), []
    blocking = [own_tasks.submit_task(gate.wait) for _ in range(2)]
    waiting = own_tasks.submit_task(ran.append, 1)
    dependent = own_tasks.submit_task(add, waiting)
    while blocking[1].task.state is not TaskState.BOUND:
        time.sleep(0.001)
    assert waiting.cancel()
    assert waiting.cancel()
    assert not blocking[0].cancel()
    gate.set()
    assert wait([waiting, dependent, *blocking], 5).not_done == set()
    assert waiting.cancelled()
    with pytest.raises(TaskError, match="it was canceled"):
        dependent.result()
    assert ran == []


# -- placement -------------------------------------------------------------------------


def test_a_task_of_two_cores_has_both_slots_for_itself(own_tasks):
    lock, running, most = threading.Lock(), [0], [0]

    def count(width):
        with lock:
            running[0] += width
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= width

    futures = [own_tasks.submit_task(count, 1 + i % 2, cores=1 + i % 2) for i in range(12)]
    assert wait(futures, 20).not_done == set()
    assert most[0] == 2


def test_longest_first_starts_the_expensive_tasks_first():
    order, gate = [], threading.Event()
    with (
        PilotManager(embedded()) as pilots,
        TaskManager(pilots, policy="longest_first") as tasks,
    ):
        tasks.submit_task(gate.wait)
        for cost in (1, 3, 2):
            tasks.submit_task(order.append, cost, cost_s=cost)
        gate.set()
    assert order == [3, 2, 1]


def test_whoever_submits_many_tasks_leaves_time_to_bind_the_first():
    def slow(ready, pilots, now):
        time.sleep(0.05)
        return eager(ready, pilots, now)

    with PilotManager(embedded(300)) as pilots, TaskManager(pilots, policy=slow) as manager:
        futures = [manager.submit_task(time.sleep, 0.2) for _ in range(300)]
        last = futures[-1].task.submitted
        bound = [future.task.bound for future in futures if future.task.bound is not None]
        # All at once they are submitted within a turn of the binder, and none is bound by then.
        assert sum(when < last for when in bound) > 20


def test_a_policy_of_the_users_is_asked_and_its_mistakes_are_told(here):
    with TaskManager(here, policy=lambda ready, pilots, now: [(ready[-1].id, "here")]) as tasks:
        assert tasks.submit_task(add, 1).result(5) == 1
    with (
        TaskManager(here, policy=lambda ready, pilots, now: [(-1, "here")]) as tasks,
        pytest.raises(TaskError, match=r"policy '.*lambda.*' failed"),
    ):
        tasks.submit_task(add, 1).result(5)


# -- closing ---------------------------------------------------------------------------


def test_close_waits_for_all_tasks_and_then_refuses_more(here):
    tasks = TaskManager(here)
    futures = [tasks.submit_task(time.sleep, 0.01) for _ in range(6)]
    tasks.close()
    tasks.close()
    assert all(future.done() for future in futures)
    with pytest.raises(UserError, match="the task manager is closed"):
        tasks.submit_task(add)


def test_an_exception_in_the_with_block_does_not_wait_for_the_tasks(here):
    gate, futures = threading.Event(), []

    def submit_and_fail():
        with TaskManager(here) as tasks:
            futures.extend(tasks.submit_task(gate.wait, 20) for _ in range(5))
            fail("here")

    with pytest.raises(BrokenError, match="here"):
        submit_and_fail()
    gate.set()
    assert all(future.done() for future in futures)


# -- shared objects --------------------------------------------------------------------


class Counted:
    """Writes a line into a file each time it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return rebuild, (self.path,)


def rebuild(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return Counted(path)


def path_and_process(shared):
    return shared.get().path, os.getpid()


def test_a_shared_object_is_unpickled_once_on_each_worker(local_tasks, tmp_path):
    path = str(tmp_path / "unpickled")
    handle = local_tasks.share(Counted(path), key="counted")
    assert local_tasks.share(Counted(path), key="counted") is handle
    futures = [local_tasks.submit_task(path_and_process, handle) for _ in range(30)]
    assert {future.result(20)[0] for future in futures} == {path}
    unpickled = [int(line) for line in Path(path).read_text().split()]
    assert sorted(unpickled) == sorted({future.result()[1] for future in futures})


def test_a_shared_object_in_this_process_is_the_object_itself(own_tasks):
    handle = own_tasks.share(obj := [])
    assert own_tasks.submit_task(handle.get).result(5) is obj
    assert own_tasks.share(obj) is handle


# -- losses ----------------------------------------------------------------------------


def nap(number):
    time.sleep(0.02)
    return number, os.getpid()


def kill_first_time(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_costs_time_and_no_results(local_tasks, tmp_path):
    path = str(tmp_path / "unpickled")
    shared = local_tasks.share(Counted(path))
    victim = local_tasks.submit_task(os.getpid, pilot="left").result(20)
    futures = [local_tasks.submit_task(nap, i) for i in range(60)]
    futures[5].result(20)
    os.kill(victim, signal.SIGKILL)
    assert [future.result(30)[0] for future in futures] == list(range(60))
    assert any(future.task.retries for future in futures)
    # The worker that took its place has the shared objects too.
    new = local_tasks.submit_task(path_and_process, shared, pilot="left").result(30)
    assert new[0] == path
    assert new[1] != victim


def test_a_task_that_kills_its_worker_is_tried_again_as_often_as_it_says(local_tasks, tmp_path):
    once = local_tasks.submit_task(kill_first_time, str(tmp_path / "once"))
    assert once.result(30)
    assert once.task.retries == 1
    poison = local_tasks.submit_task(kill, name="poison", retries=1, pilot="left")
    innocent = [local_tasks.submit_task(nap, i, pilot="left") for i in range(4)]
    with pytest.raises(TaskError, match=r"'poison' was lost 2 times \(retries is 1\)"):
        poison.result(30)
    assert [future.result(30)[0] for future in innocent] == list(range(4))


def test_when_the_last_pilot_is_lost_its_tasks_say_so():
    with PilotManager([PilotDescription(name="p", resource="local")]) as pilots:
        tasks = TaskManager(pilots)
        futures = [tasks.submit_task(time.sleep, 30) for _ in range(5)]
        while futures[0].task.state is not TaskState.BOUND:
            time.sleep(0.01)
        os.kill(pilots.pilots[0]._agent.process.pid, signal.SIGKILL)
        for future in futures:
            with pytest.raises(PilotError, match="is left to run it: p was ended by SIGKILL"):
                future.result(10)
        assert pilots.pilots[0].state is PilotState.FAILED
        tasks.close()


def test_a_pilot_that_ends_while_the_policy_chooses_fails_no_task():
    with PilotManager(
        [PilotDescription(name=name, resource="inprocess", cores_per_node=1) for name in "ab"]
    ) as pilots:
        ending = pilots.pilots[1]

        def choose(ready, views, now):
            free = [view.name for view in views for _ in range(view.free)]
            ending.move(PilotState.FAILED, "it ended just now")
            return [(task.id, name) for task, name in zip(ready, reversed(free), strict=False)]

        with TaskManager(pilots, policy=choose) as tasks:
            futures = [tasks.submit_task(pow, k, 2) for k in range(6)]
            assert [future.result(20) for future in futures] == [k**2 for k in range(6)]
