"""Fields of pilots that follow the load: what is accepted, and faults in one line each."""

import pytest

from pilotcut.errors import DescriptionError, UserError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import load_descriptions, notes


def loaded(folder, fields):
    path = folder / "pilots.yaml"
    path.write_text("pilots:\n  - {name: p, " + fields + "}\n")
    return load_descriptions(path)


def test_times_have_defaults_and_whole_numbers_are_seconds(tmp_path):
    (pilot,) = loaded(tmp_path, "resource: local, elastic: {most: 4, idle_s: 60}")
    assert (pilot.elastic.least, pilot.elastic.most) == (0, 4)
    assert (pilot.elastic.idle_s, pilot.elastic.wait_s) == (60.0, 30.0)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("resource: local, elastic: {}", "elastic.most is missing, expected a whole number from 1"),
        ("resource: local, elastic: {most: 0}", "elastic.most is 0, expected a whole number"),
        ("resource: local, elastic: {most: 2, least: 3}", "least of at most most, which is 2"),
        ("resource: local, elastic: {most: 2, idle_s: 0}", "elastic.idle_s is 0, expected seconds"),
        ("resource: local, elastic: {most: 2, idel_s: 9}", "did you mean 'idle_s'?"),
        ("resource: local, elastic: 8", "elastic is 8, expected a mapping such as {least: 0"),
        ("resource: inprocess, elastic: {most: 2}", "none with resource inprocess; use local"),
        ("resource: local, count: 2, elastic: {most: 2}", "no count beside it: most says how"),
        ("resource: local, replace: true, elastic: {most: 2}", "no replace beside it"),
        (
            "resource: local, backend: {qpu: {like: FakeManilaV2}}, elastic: {most: 2}",
            "none beside backend.qpu",
        ),
    ],
)
def test_a_fault_is_one_line_with_what_was_expected(tmp_path, fields, fault):
    with pytest.raises(DescriptionError) as caught:
        loaded(tmp_path, fields)
    assert len(caught.value.faults) == 1
    assert fault in str(caught.value)


def test_all_that_there_may_be_count_as_threads_of_this_machine(tmp_path):
    described = loaded(tmp_path, "resource: local, elastic: {most: 8}")
    assert notes(described, cores=4)[0].startswith("8 worker threads share the 4 cores")


def test_a_manager_has_all_that_there_may_be_and_refuses_two_of_one_name(tmp_path):
    (pilot,) = loaded(tmp_path, "resource: local, elastic: {most: 2}")
    assert [p.name for p in PilotManager([pilot]).pilots] == ["p-0", "p-1"]
    other = pilot.model_copy(update={"name": "p-1", "elastic": None})
    with pytest.raises(UserError, match="'p-1': name is given 2 times"):
        PilotManager([pilot, other])
