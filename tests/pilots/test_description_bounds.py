"""Files that say more than they seem to: merge keys, aliases, levels, numbers of pilots."""

import time

import pytest
import yaml

from pilotcut.errors import DescriptionError, UserError
from pilotcut.io.yaml_reader import MOST_LEVELS, MOST_VALUES, load_yaml
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription, load_descriptions

#: What is refused is refused within this time, on a machine that does other things too.
PATIENCE_S = 30.0


def doubling(line, levels=64):
    """Return lines of which each stands for twice what the one before does."""
    first, *others = [line.format(here=k, last=k - 1) for k in range(levels)]
    return "".join([first.replace("*a-1", "x"), *others, f"pilots: [*a{levels - 1}]\n"])


def fault_of(tmp_path, text):
    path = tmp_path / "pilots.yaml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(DescriptionError) as refused:
        load_descriptions(path)
    assert time.monotonic() - began < PATIENCE_S
    (fault,) = refused.value.faults
    return fault.removeprefix(f"{path}: ")


def names_and_cores(tmp_path, text):
    path = tmp_path / "pilots.yaml"
    path.write_text(text)
    return [(pilot.name, pilot.resource, pilot.cores_per_node) for pilot in load_descriptions(path)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "x-node: &node {resource: local, cores_per_node: 2}\n"
            "pilots:\n- {<<: *node, name: p}\n- {name: q, <<: *node, cores_per_node: 3}\n",
            [("p", "local", 2), ("q", "local", 3)],
        ),
        (
            "pilots:\n- &a {name: p, resource: local}\n"
            "- &b {name: q, resource: inprocess, cores_per_node: 3}\n- {<<: [*a, *b], name: r}\n",
            [("p", "local", 1), ("q", "inprocess", 3), ("r", "local", 3)],
        ),
        (  # merged from what merges, which has a key of it as well
            "x: &x\n".replace("x:", "x-a:") + "  deep: {deeper: &one {<<: &none "
            "{cores_per_node: 2, resource: local}, cores_per_node: 4}}\n"
            "pilots:\n- {<<: *one, name: p}\n- {<<: *none, name: q}\n",
            [("p", "local", 4), ("q", "local", 2)],
        ),
    ],
)
def test_merge_keys_mean_what_they_mean_in_yaml(tmp_path, text, expected):
    assert names_and_cores(tmp_path, text) == expected
    plain = yaml.safe_load(text)["pilots"]
    assert [(p["name"], p["resource"], p.get("cores_per_node", 1)) for p in plain] == expected


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (
            "<<: *a\n  name: z\n  name: y",
            "line 5, column 3: not valid YAML: 'name' is given twice, first on line 4",
        ),
        (
            "<<: *a\n  <<: *a\n  name: z",
            "line 4, column 3: not valid YAML: '<<' is given twice, first on line 3; merge several "
            "as <<: [*one, *two]",
        ),
        (
            "<<: *a\n  name: z\n  nods: 2",
            "pilot 'z': nods is an unknown key; did you mean 'nodes'?",
        ),
        (
            "<<: 3\n  name: z",
            "line 3, column 7: not valid YAML: expected a mapping or list of mappings for merging, "
            "but found scalar",
        ),
    ],
)
def test_keys_beside_a_merge_key_are_checked_as_ever(tmp_path, entry, fault):
    assert fault_of(tmp_path, f"pilots:\n- &a {{name: p, resource: local}}\n- {entry}\n") == fault


def test_a_key_that_only_holds_what_others_merge_is_called_so(tmp_path):
    fault = fault_of(tmp_path, "node: &n {resource: local}\npilots: [{<<: *n, name: p}]\n")
    assert fault == (
        "'node' is an unknown key, expected 'pilots'; call it x-... if it only holds what others "
        "merge"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (doubling("x-{here}: &a{here} [*a{last}, *a{last}]\n"), f"expected at most {MOST_VALUES}"),
        (
            "x-0: &a0 {x: 1}\n"
            + doubling("x-{here}: &a{here} {{<<: [*a{last}, *a{last}]}}\n").partition("\n")[2],
            f"expected at most {MOST_VALUES}",
        ),
        ("pilots: [&a {name: p, resource: local}" + ", *a" * 100_000 + "]", "too many values"),
        ("pilots: &p [*p]", "an alias is part of what it stands for"),
        ("pilots: [&a {name: p, <<: *a}]", "an alias is part of what it stands for"),
        ("pilots: " + "[" * 100_000, f"expected at most {MOST_LEVELS} levels"),
        ("pilots: " + "{a: " * 3000 + "1" + "}" * 3000, f"expected at most {MOST_LEVELS} levels"),
        ("pilots:\n" + "- " * 50_000 + "x", f"expected at most {MOST_LEVELS} levels"),
        (  # deep by its aliases
            doubling("x-{here}: &a{here} [*a{last}]\n"),
            f"expected at most {MOST_LEVELS} levels",
        ),
        ("pilots: [{name: " + "x" * 2_000_000 + "}]", "has more than 524288 bytes"),
        (
            "pilots:\n" + "".join(f"- {{name: p{k}, resource: local}}\n" for k in range(20_000)),
            "has more than 524288 bytes, expected at most so many; say what pilots have in common",
        ),
        (
            "pilots:\n" + "".join(f"- {{name: p{k}, resource: local}}\n" for k in range(1_001)),
            "more than 1000 pilots are described, expected at most so many; give each of them more "
            "workers instead",
        ),
        (
            "pilots: [{name: p, resource: local, count: 600}, {name: q, resource: local, count: "
            "600}]",
            "more than 1000 pilots are described",
        ),
    ],
)
def test_more_than_anybody_needs_is_refused_in_one_line(tmp_path, text, fault):
    found = fault_of(tmp_path, text)
    assert fault in found
    assert len(found) < 200


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("count: 20000", "count is 20000, expected at most 1000"),
        ("count: 1000000000000", "count is 1000000000000, expected at most 1000"),
        (
            "workers_per_node: 1000000000",
            "workers_per_node is 1000000000, expected at most 65536, with nodes 1",
        ),
        (
            "cores_per_node: 1000000000",
            "cores_per_node is 1000000000, expected at most 65536",
        ),
        ("ranks: 1000000000", "ranks is 1000000000, expected at most 65536"),
    ],
)
def test_numbers_that_nothing_could_hold_are_refused(tmp_path, fields, fault):
    entry = f"pilots: [{{name: p, resource: local, {fields}}}]"
    assert fault_of(tmp_path, entry) == f"pilot 'p': {fault}"


def test_a_thousand_pilots_are_fine_and_more_are_refused_by_the_manager_too(tmp_path):
    text = "pilots: [{name: p, resource: inprocess, count: 1000}]"
    assert len(names_and_cores(tmp_path, text)) == 1000
    pilots = [PilotDescription(name=f"p{k}", resource="inprocess") for k in range(1001)]
    with pytest.raises(UserError, match="more than 1000 pilots are described"):
        PilotManager(pilots)


def test_every_reader_of_yaml_has_the_bounds():
    with pytest.raises(yaml.YAMLError, match="too many values"):
        load_yaml(doubling("x-{here}: &a{here} [*a{last}, *a{last}]\n"))
    with pytest.raises(yaml.YAMLError, match="day is out of range"):
        load_yaml("when: 2026-02-31")
