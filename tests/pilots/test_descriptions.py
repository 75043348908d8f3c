"""Descriptions: what is accepted, what is derived, and every fault in one clear line."""

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.descriptions import faults_of, write

from pilotcut.errors import DescriptionError
from pilotcut.pilots.description import (
    BackendDescription,
    PilotDescription,
    embedded,
    load_descriptions,
    notes,
)
from pilotcut.pilots.description.files import SHIPPED, file_of, shipped_names
from pilotcut.pilots.description.pilot_quantum import NAMES


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_descriptions_are_valid_and_have_nothing_without_effect(path):
    pilots = load_descriptions(path)
    assert pilots
    assert notes(pilots, cores=64) == ()


def test_what_the_issue_asks_to_ship_is_there():
    names = {path.stem for path in SHIPPED.glob("*.yaml")}
    assert {"laptop", "slurm_cpu", "slurm_gpu", "slurm_hybrid", "qpu_fleet"} <= names
    assert {"laptop_mpi", "slurm_mpi"} <= names


@pytest.mark.parametrize("name", shipped_names())
def test_a_description_that_comes_along_goes_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_descriptions(name) == load_descriptions(SHIPPED / f"{name}.yaml")
    assert load_descriptions(Path(name)) == load_descriptions(name)


def test_a_file_of_the_same_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("laptop").write_text("pilots: [{name: mine, resource: inprocess}]")
    assert [pilot.name for pilot in load_descriptions("laptop")] == ["mine"]
    assert file_of("./laptop") == file_of("laptop") == Path("laptop")


def test_a_name_that_is_none_is_one_line_with_those_that_are():
    with pytest.raises(DescriptionError) as caught:
        load_descriptions("labtop")
    (line,) = caught.value.faults
    assert line.startswith("labtop: does not exist, expected a YAML file or one of inprocess, lap")
    assert line.endswith("which come with pilotcut; did you mean 'laptop'?")
    assert all(name in line for name in shipped_names())


def test_the_hybrid_description_fits_four_small_nodes_and_runs_without_a_real_gpu():
    cpu, gpu = load_descriptions(SHIPPED / "slurm_hybrid.yaml")
    assert (cpu.queue, gpu.queue) == ("cpu", "gpu")
    assert (cpu.account, gpu.account) == (None, None)
    for pilot in (cpu, gpu):
        assert (pilot.nodes, pilot.resource) == (1, "slurm")
        assert pilot.cores_per_node <= 4
        assert pilot.memory_bytes <= 4000 * 2**20
    assert (cpu.gpus, gpu.gpus, gpu.backend.device) == (0, 1, "GPU")
    # The GPUs of a test cluster are pretended: Slurm gives them out, Aer computes on the CPU.
    pretended = gpu.model_copy(update={"backend": BackendDescription(device="CPU")})
    assert (pretended.gpus, pretended.backend.device) == (1, "CPU")


def test_the_fleet_is_of_ten_qpus_with_errors_and_times_of_their_own():
    fleet = [pilot.backend.qpu for pilot in load_descriptions(SHIPPED / "qpu_fleet.yaml")]
    assert len(set(fleet)) == len(fleet) == 10
    assert {qpu.topology for qpu in fleet} == {"line", "ring", "star", "grid"}


def test_workers_default_to_the_cores_divided_by_the_threads():
    pilot = PilotDescription(name="p", resource="local", cores_per_node=8, threads_per_worker=4)
    assert (pilot.workers_per_node, pilot.slots) == (2, 2)


def test_cores_default_to_what_the_workers_need():
    pilot = PilotDescription(name="p", resource="slurm", workers_per_node=3, nodes=2)
    assert (pilot.cores_per_node, pilot.slots) == (3, 6)


def test_the_ranks_of_a_pilot_are_one_slot_and_have_a_core_each_by_default():
    pilot = PilotDescription(name="p", resource="slurm", nodes=2, ranks=5, threads_per_worker=2)
    assert (pilot.slots, pilot.workers_per_node) == (1, 1)
    assert (pilot.processes_per_node, pilot.cores_per_node, pilot.cores_per_slot) == (3, 6, 10)
    roomy = PilotDescription(name="p", resource="local", ranks=2, cores_per_node=8)
    assert (roomy.slots, roomy.workers_per_node, roomy.cores_per_slot) == (1, 1, 2)
    assert "2 worker threads share the 1 cores" in notes([roomy], cores=1)[0]


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
            "pilots: [{name: p, resource: inprocess, ranks: 2}]",
            "pilot 'p': ranks is 2, expected 1, for resource inprocess starts no processes; use ",
        ),
        (
            "pilots: [{name: p, resource: local, ranks: 4, workers_per_node: 2}]",
            "pilot 'p': ranks is 4, expected 1 beside workers_per_node 2: all ranks are one worker",
        ),
        (
            "pilots: [{name: p, resource: slurm, nodes: 2, cores_per_node: 3, ranks: 7}]",
            "pilot 'p': ranks is 7, expected at most 6: nodes is 2, cores_per_node is 3 and th",
        ),
        (
            "pilots: [{name: p, resource: slurm, nodes: 3, ranks: 2}]",
            "pilot 'p': ranks is 2, expected at least nodes, which is 3",
        ),
        (
            "pilots: [{name: p, resource: local, ranks: two}]",
            "pilot 'p': ranks is 'two', expected a whole number from 1 up",
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
                st.sampled_from([*PilotDescription.model_fields, *sorted(NAMES)]), inner, max_size=6
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_file_no_other_exception_than_ours_gets_out(tmp_path_factory, data):
    path = write(tmp_path_factory.getbasetemp(), yaml.safe_dump({"pilots": data}))
    with contextlib.suppress(DescriptionError):
        load_descriptions(path)


@pytest.mark.parametrize("text", ["pilots: 2026-99-99", "pilots: " + "[" * 5000, "pilots: \0"])
def test_text_that_is_hard_on_the_yaml_reader_is_refused_in_one_line(tmp_path, text):
    (told,) = faults_of(tmp_path, text)
    assert "not valid YAML: " in told or "is nested too deeply" in told


def test_more_threads_than_cores_is_noted_and_not_refused():
    assert "4 worker threads share the 2 cores" in notes(embedded(workers=2, threads=2), cores=2)[0]
    assert notes(embedded(workers=2), cores=2) == ()


@pytest.mark.parametrize("resource", ["inprocess", "local", "allocation"])
def test_a_slurm_field_without_effect_is_noted(resource):
    pilot = PilotDescription(name="p", resource=resource, queue="gpu")
    assert notes([pilot], cores=2) == (f"pilot 'p': queue has no effect for resource {resource}",)


def test_a_directive_among_the_shell_lines_is_noted():
    pilot = PilotDescription(name="p", resource="slurm", setup=("#SBATCH --exclusive",))
    (note,) = notes([pilot])
    assert note == "pilot 'p': '#SBATCH --exclusive' has no effect in setup; put it in directives"


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("queue: 12", "queue is 12, expected a name of Slurm's: .*; did you mean '12'\\?"),
        ("queue: gpu; rm -rf ~", "queue is 'gpu; rm -rf ~', expected a name of Slurm's: .*"),
        (
            "python: ~/python",
            "python is '~/python', expected .*; did you mean '/home/me/python'\\?",
        ),
        ("python: $HOME/python", "python is .*; did you mean '/home/me/python'\\?"),
        ("walltime: '00:00:00'", "walltime is '00:00:00', expected more than none"),
        ("memory_per_node: 0GiB", "memory_per_node is '0GiB', expected more than none"),
        ("setup: [7]", r"setup\[0\] is 7, expected a text"),
        ("directives: [-x a, [], -N 2]", r"directives\[1\] is \[\], expected a text"),
        ('"que\\nue": x', r"'que\\nue' is an unknown key; did you mean 'queue'\?"),
        ("_notes: [x]", "_notes is an unknown key; .*"),
    ],
)
def test_a_fault_of_a_field_names_what_was_found_and_expected(tmp_path, monkeypatch, field, fault):
    monkeypatch.setenv("HOME", "/home/me")
    told = faults_of(tmp_path, f"pilots:\n- name: p\n  resource: slurm\n  {field}")
    assert re.fullmatch(f"pilot 'p': {fault}", told[0])


def test_a_name_over_two_lines_is_told_on_one(tmp_path):
    (told,) = faults_of(tmp_path, 'pilots: [{name: "p\\nq", resource: local}]')
    assert told.startswith(r"pilot 'p\nq': name is 'p\nq', expected letters, digits")
