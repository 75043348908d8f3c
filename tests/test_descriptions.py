"""Descriptions: what is accepted, what is derived, and every fault in one clear line."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotcut.descriptions import PilotDescription, embedded, load_descriptions, notes
from pilotcut.errors import DescriptionError

SHIPPED = Path(__file__).parent.parent / "pilot_descriptions"


def write(folder: Path, text: str) -> Path:
    path = folder / "pilots.yaml"
    path.write_text(text)
    return path


def faults_of(folder: Path, text: str) -> list[str]:
    """Return the faults without the file's name, which must start each of them."""
    path = write(folder, text)
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(path)
    assert all(fault.startswith(f"{path}: ") for fault in caught.value.faults)
    return [fault.removeprefix(f"{path}: ") for fault in caught.value.faults]


@pytest.mark.parametrize("name", ["laptop.yaml", "inprocess.yaml"])
def test_the_shipped_descriptions_are_valid(name):
    assert load_descriptions(SHIPPED / name)


def test_workers_default_to_the_cores_divided_by_the_threads():
    pilot = PilotDescription(name="p", resource="local", cores_per_node=8, threads_per_worker=4)
    assert (pilot.workers_per_node, pilot.slots) == (2, 2)


def test_cores_default_to_what_the_workers_need():
    pilot = PilotDescription(name="p", resource="slurm", workers_per_node=3, nodes=2)
    assert (pilot.cores_per_node, pilot.slots) == (3, 6)


def test_count_makes_that_many_pilots_with_numbered_names(tmp_path):
    path = write(tmp_path, "pilots:\n  - {name: p, resource: local, count: 2}")
    assert [pilot.name for pilot in load_descriptions(path)] == ["p-0", "p-1"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("01:30:00", 5400), ("10:30:00", 37800), ("1-00:00:01", 86401)]
)
def test_a_walltime_without_quotes_is_hours_minutes_seconds(tmp_path, text, seconds):
    path = write(tmp_path, f"pilots: [{{name: p, resource: slurm, walltime: {text}}}]")
    assert load_descriptions(path)[0].walltime_s == seconds


@pytest.mark.parametrize(
    ("text", "amount"), [("4GiB", 4 * 2**30), ("500 MB", 500_000_000), ("1.5KiB", 1536)]
)
def test_memory_is_read_with_its_unit(text, amount):
    pilot = PilotDescription(name="p", resource="local", memory_per_node=text)
    assert pilot.memory_bytes == amount


def test_all_faults_of_a_file_are_told_at_once_each_with_its_remedy(tmp_path):
    text = """
        pilots:
          - name: a100
            resource: slrm
            walltime: 90
            memory_per_node: 4G
            wokers_per_node: 3
            cores_per_node: "4"
            backend: {kind: air, devise: GPU}
          - name: b
            resource: local
            nodes: 2
            directives: --exclusive
          - 7
    """
    assert faults_of(tmp_path, text) == [
        "pilot 'a100': resource is 'slrm', expected inprocess, local, slurm or allocation; "
        "did you mean 'slurm'?",
        "pilot 'a100': cores_per_node is '4', expected a whole number from 1 up; did you mean 4?",
        "pilot 'a100': memory_per_node is '4G', expected an amount such as '4GiB'; "
        "did you mean '4GiB'?",
        "pilot 'a100': walltime is 90, expected 'HH:MM:SS'; did you mean '01:30:00'?",
        "pilot 'a100': backend.kind is 'air', expected aer; did you mean 'aer'?",
        "pilot 'a100': backend.devise is an unknown key; did you mean 'device'?",
        "pilot 'a100': wokers_per_node is an unknown key; did you mean 'workers_per_node'?",
        "pilot 'b': nodes is 2, expected 1, for resource local is this machine",
        "pilot 'b': directives is '--exclusive', expected a list of texts; "
        "did you mean ['--exclusive']?",
        "pilot 3: is 7, expected a mapping of fields",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty, expected a mapping with the key 'pilots'"),
        ("- 1", "holds [1], expected a mapping with the key 'pilots'"),
        ("pilots: []", "pilots is [], expected a list of at least one pilot"),
        ("pilots:\n  - {name: p\n  - x", "line 3, column 6: not valid YAML: "),
        ("pilots: \t- {", "line 1, column 9: not valid YAML: "),
        ("pilots:\n- name: p\n  name: q", "line 3, column 3: not valid YAML: 'name' is given "),
        ("pilots:\n- resource: local", "pilot 1: name is missing, expected "),
        (
            "pilots: [{name: p, resource: local, backend: {device: GPU}}]",
            "pilot 'p': backend is {'device': 'GPU'}, expected gpus_per_node of at least 1",
        ),
        (
            "pilots: [{name: p, resource: local, cores_per_node: 2, workers_per_node: 3}]",
            "pilot 'p': workers_per_node is 3, expected at most 2: cores_per_node is 2 and ",
        ),
        (
            "pilots: [{name: p, resource: local, cores_per_node: 2, threads_per_worker: 3}]",
            "pilot 'p': threads_per_worker is 3, expected at most cores_per_node, which is 2",
        ),
        (
            "pilots: [{name: p, resource: local}, {name: p, resource: local}]",
            "pilot 'p': name is given 2 times, expected different names",
        ),
    ],
)
def test_a_single_fault_is_a_single_line(tmp_path, text, fault):
    (told,) = faults_of(tmp_path, text)
    assert told.startswith(fault)
    assert "\n" not in told


def test_a_misspelt_top_level_key_is_hinted_at(tmp_path):
    faults = faults_of(tmp_path, "pilot:\n  - {name: p, resource: local}")
    assert faults[0] == "'pilot' is an unknown key, expected 'pilots'; did you mean 'pilots'?"


def test_a_missing_file_is_told_with_its_likely_name(tmp_path):
    write(tmp_path, "")
    with pytest.raises(DescriptionError, match=r"does not exist; did you mean '.*pilots.yaml'\?"):
        load_descriptions(tmp_path / "pilot.yaml")


def test_a_folder_and_a_binary_file_are_refused_in_one_line(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(DescriptionError) as caught:
            load_descriptions(path)
        assert len(caught.value.faults) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(list(PilotDescription.model_fields)), inner, max_size=6
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_file_no_other_exception_than_ours_gets_out(tmp_path_factory, data):
    import yaml

    path = write(tmp_path_factory.getbasetemp(), yaml.safe_dump({"pilots": data}))
    with contextlib.suppress(DescriptionError):
        load_descriptions(path)


def test_more_threads_than_cores_is_noted_and_not_refused():
    assert "4 worker threads share the 2 cores" in notes(embedded(workers=2, threads=2), cores=2)[0]
    assert notes(embedded(workers=2), cores=2) == ()


def test_a_slurm_field_without_effect_is_noted():
    pilot = PilotDescription(name="p", resource="local", queue="gpu")
    assert notes([pilot], cores=2) == ("pilot 'p': queue has no effect for resource local",)
