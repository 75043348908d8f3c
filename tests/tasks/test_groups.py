"""Groups of tasks, and pilots that are a group's own."""

import pytest

from pilotcut.errors import DescriptionError, UserError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.tasks import PilotView, TaskManager, TaskView


def pilot(name, *groups):
    return PilotDescription(name=name, resource="inprocess", groups=groups)


@pytest.fixture(scope="module")
def tasks():
    described = [pilot("any"), pilot("encoder", "encode"), pilot("late", "refine", "merge")]
    with PilotManager(described) as pilots, TaskManager(pilots) as manager:
        yield manager


def ran_on(future):
    future.result(30)
    return future.task.pilot


def test_tasks_of_a_group_run_on_its_own_pilots_and_all_others_elsewhere(tasks):
    own = [tasks.submit_task(max, 1, 2, group="encode") for _ in range(8)]
    named = [tasks.submit_task(max, 1, 2, name=f"merge.{k}") for k in range(8)]
    others = [tasks.submit_task(max, 1, 2, group=g) for g in (None, "other") for _ in range(8)]
    assert set(map(ran_on, own)) == {"encoder"}
    assert set(map(ran_on, named)) == {"late"}
    assert set(map(ran_on, others)) == {"any"}


def test_who_names_a_pilot_gets_it_whatever_the_group(tasks):
    assert ran_on(tasks.submit_task(max, 1, 2, pilot="encoder")) == "encoder"
    assert ran_on(tasks.submit_task(max, 1, 2, group="encode", pilot="any")) == "any"


def test_a_group_is_in_the_name_of_a_task_without_one_and_in_what_is_known_of_it(tasks):
    future = tasks.submit_task(max, 1, 2, group="encode")
    assert future.task.name.startswith("encode.")
    assert future.task.group == "encode"
    assert tasks.submit_task(max, 1, 2, name="first", group="encode").task.name == "first"
    assert tasks.submit_task(max, 1, 2, name="a.b.3").task.group == "a.b"


def test_a_task_that_only_other_groups_pilots_could_run_is_refused_in_one_line():
    with (
        PilotManager([pilot("encoder", "encode")]) as pilots,
        TaskManager(pilots) as manager,
    ):
        with pytest.raises(UserError, match=r"group is 'encod', expected .* did you mean 'encode'"):
            manager.submit_task(max, 1, 2, group="encod")
        with pytest.raises(UserError, match=r"group is None, .*a pilot without groups in its desc"):
            manager.submit_task(max, 1, 2)


@pytest.mark.parametrize("group", ["", "  ", 5, len])
def test_a_group_that_is_no_text_is_refused_in_one_line(tasks, group):
    with pytest.raises(UserError, match=r"group is .*, expected a text"):
        tasks.submit_task(max, 1, 2, group=group)


def test_a_pilot_of_a_group_takes_what_names_it():
    view = PilotView("e", 1, 1, groups=frozenset({"encode"}))
    assert not view.suits(TaskView(1, group="encode"))  # the manager names its pilots
    assert view.suits(TaskView(1, group="encode", pilots=frozenset({"e"})))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("groups: encode", "groups is 'encode', expected a list of groups of tasks"),
        ("groups: ['']", "groups[0] is '', expected a group's name"),
        ("elastic: {most: 2, done_s: 9}", "no done_s without groups"),
        ("groups: [a], elastic: {most: 2, done_s: 0}", "elastic.done_s is 0, expected seconds"),
    ],
)
def test_a_fault_of_groups_is_one_line(tmp_path, fields, fault):
    path = tmp_path / "pilots.yaml"
    path.write_text("pilots:\n  - {name: p, resource: local, " + fields + "}\n")
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(path)
    assert len(caught.value.faults) == 1
    assert fault in str(caught.value)


def test_a_stage_is_the_task_manager_for_tasks_of_a_group(tasks):
    encode = tasks.stage("encode")
    assert isinstance(encode, TaskManager)
    assert ran_on(encode.submit_task(max, 1, 2)) == "encoder"
    assert ran_on(encode.submit_task(max, 1, 2, name="A.0")) == "encoder"
    assert ran_on(encode.submit_task(max, 1, 2, group="merge")) == "late"
    assert encode.submit_task(max, 1, 2, name="A.0").task.group == "encode"
    assert [pilot.name for pilot in encode.takers] == ["encoder"]
    assert [pilot.name for pilot in tasks.stage("other").takers] == ["any"]
    assert (encode.slots, tasks.slots) == (1, 3)


def test_the_end_of_a_stage_leaves_the_task_manager_as_it_is(tasks):
    with tasks.stage("encode") as encode:
        assert ran_on(encode.submit_task(max, 1, 2)) == "encoder"
    assert ran_on(tasks.submit_task(max, 1, 2)) == "any"


@pytest.mark.parametrize("group", ["", None, 5])
def test_a_stage_without_a_name_is_refused_in_one_line(tasks, group):
    with pytest.raises(UserError, match=r"group is .*expected a text"):
        tasks.stage(group)
