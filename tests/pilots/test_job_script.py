"""Job scripts: what a description says arrives in them as it is, and nothing else does."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pilotcut.errors import DescriptionError, PilotError
from pilotcut.pilots.description import PilotDescription, load_descriptions

pytest.importorskip("dask_jobqueue", reason="job scripts are made by dask-jobqueue")

import dask

from pilotcut.pilots.slurm.job_script import make_job

NASTY = [
    "gpu; touch pwned",
    "gpu\ntouch pwned",
    "gpu\n#SBATCH --uid=0",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "'",
    'gpu" --uid=0',
    "gpu --uid=0",
    "gpu\t-N9",
    "gpu#",
    "gpu\\",
    "gpu>pwned",
    "gpu\0",
    "gpu\u2028touch pwned",
    "-N9",
    "",
    " ",
]


def script(tmp_path=Path("/tmp"), *, folder="logs", key="p", **fields):
    description = PilotDescription(name="p", resource="slurm", **fields)
    home = tmp_path / folder
    return make_job(description, key, home / "connection.json", home / "logs").job_script()


def header(text):
    """Return the options that sbatch would read: a list for each #SBATCH line at the top."""
    first, *lines = text.splitlines()
    assert first == "#!/usr/bin/env bash"
    top = []
    for line in lines:
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            top.append(shlex.split(line.removeprefix("#SBATCH")))
    assert text.count("#SBATCH") == len(top)
    return top


def option(text, *names):
    """Return the values of an option, by its long name or its letter."""
    values = []
    for first, *rest in header(text):
        name, _, value = first.partition("=")
        if name in names:
            values.append(value or " ".join(rest))
    return values


def check_syntax(text):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def run(text, tmp_path, **environment):
    """Run a job script as Slurm would, and return what its last command was told."""
    path = tmp_path / "job.sh"
    path.write_text(text)
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(["bash", path], check=True, cwd=work, env=os.environ | environment)
    assert list(work.iterdir()) == []
    return (tmp_path / "arguments").read_text().split("\0")[:-1]


def environment_of(tmp_path):
    pairs = (tmp_path / "environment").read_text().split("\0")[:-1]
    return dict(pair.split("=", 1) for pair in pairs)


# -- values arrive as they are ---------------------------------------------------------


def test_every_field_stands_on_its_line():
    text = script(
        nodes=2,
        cores_per_node=4,
        gpus_per_node=2,
        memory_per_node="3GiB",
        walltime="1-02:30:00",
        queue="cpu,gpu",
        account="ab-12.x",
        qos="high@prio",
        constraint="[rack1*2&rack2*4]|!slow",
        reservation="course_2",
        directives=("#SBATCH  --exclusive", " -w node[1-3],node7 ", "--gres=gpu:a100:2"),
    )
    check_syntax(text)
    assert option(text, "--nodes", "-N") == ["2"]
    assert option(text, "--cpus-per-task", "-c") == ["4"]
    assert option(text, "--ntasks-per-node") == ["1"]
    assert option(text, "--ntasks", "-n") == []
    assert option(text, "--gres") == ["gpu:2", "gpu:a100:2"]  # the last one counts
    assert option(text, "--time", "-t") == ["1-02:30:00"]
    assert option(text, "--partition", "-p") == ["cpu,gpu"]
    assert option(text, "--account", "-A") == ["ab-12.x"]
    assert option(text, "--qos") == ["high@prio"]
    assert option(text, "--constraint") == ["[rack1*2&rack2*4]|!slow"]
    assert option(text, "--reservation") == ["course_2"]
    assert ["--exclusive"] in header(text)
    assert ["-w", "node[1-3],node7"] in header(text)
    assert option(text, "--job-name", "-J") == ["pilotcut-p"]


def test_ranks_get_their_tasks_from_slurm_and_one_agent_starts_them():
    text = script(nodes=2, ranks=5, threads_per_worker=2, cores_per_node=8, memory_per_node="3GiB")
    check_syntax(text)
    assert option(text, "--nodes") == ["2"]
    assert option(text, "--ntasks") == ["5"]
    assert option(text, "--ntasks-per-node") == ["3"]
    assert option(text, "--cpus-per-task") == ["2"]
    assert "srun" not in text
    config = json.loads(shlex.split(text.splitlines()[-1])[-1])
    assert (config["ranks"], config["nodes"], config["threads"]) == (5, 2, 2)
    assert config["memory_bytes"] == 2**30  # of each rank
    assert config["resources"] == [{"pilot:p": 1.0, "threads:p": 2.0}]


def test_what_the_description_leaves_out_is_left_to_slurm():
    text = script()
    names = {first.partition("=")[0] for first, *_ in header(text)}
    assert names <= {
        "-J", "--job-name", "-N", "--nodes", "--ntasks-per-node", "-c", "--cpus-per-task",
        "-t", "--time", "--output", "--no-requeue",
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "mebibytes"), [("3GiB", 3072), ("512MiB", 512)])
def test_memory_is_asked_for_in_units_of_slurm(asked, mebibytes):
    (value,) = option(script(memory_per_node=asked), "--mem")
    number, unit = int(value[:-1]), value[-1]
    assert number * {"M": 1, "G": 1024}[unit] == mebibytes


def test_memory_that_just_fits_a_node_is_not_rounded_up_beyond_it():
    assert option(script(memory_per_node="4000MB"), "--mem") == ["3815M"]


@pytest.mark.parametrize("folder", ["plain", "a b", "it's", 'say "hi" $HOME', "a;b&c `d` #e"])
def test_paths_with_spaces_and_quotes_arrive_whole(tmp_path, stub, folder):
    python = stub(tmp_path / "python 3; touch pwned" / "it's" / 'my "python"')
    text = script(tmp_path, folder=folder, python=python)
    check_syntax(text)
    assert option(text, "--output") == [str(tmp_path / folder / "logs" / "p-%j.log")]
    *start, config = run(text, tmp_path)
    assert start == ["-m", "pilotcut.pilots.agent.main", "node"]
    assert json.loads(config)["connection"] == str(tmp_path / folder / "connection.json")


@pytest.mark.parametrize("folder", ["100%", "a\\b", "a\ntouch pwned"])
def test_paths_that_sbatch_would_change_are_refused(tmp_path, folder):
    with pytest.raises(PilotError, match="expected a path without"):
        script(tmp_path, folder=folder)


def test_setup_is_the_user_s_own_shell(tmp_path, stub):
    text = script(
        tmp_path,
        python=stub(tmp_path / "python"),
        setup=[
            'export GREETING="it\'s" OTHER=\'say "hi"\'',
            "# module load nothing",
            "for n in 1 2; do\n  export LAST=$n\ndone\n",
            'export HERE="$(basename "$PWD")"',
        ],
    )
    check_syntax(text)
    run(text, tmp_path)
    seen = environment_of(tmp_path)
    assert {name: seen[name] for name in ("GREETING", "OTHER", "LAST", "HERE")} == {
        "GREETING": "it's",
        "OTHER": 'say "hi"',
        "LAST": "2",
        "HERE": "work",
    }


def test_a_python_of_its_own_has_its_own_packages_and_pilotcut_alone(tmp_path, stub, monkeypatch):
    """With the manager's search path a GPU environment imported the manager's Aer."""
    monkeypatch.setattr(sys, "path", ["/site-packages", *sys.path])
    run(script(tmp_path, python=stub(tmp_path / "python")), tmp_path)
    path = environment_of(tmp_path)["PYTHONPATH"]
    assert Path(path).name == "package"
    assert "export PYTHONPATH=/site-packages:" in script(tmp_path)


def test_a_failing_line_of_setup_ends_the_job(tmp_path, stub):
    text = script(tmp_path, python=stub(tmp_path / "python"), setup=("false",))
    with pytest.raises(subprocess.CalledProcessError):
        run(text, tmp_path)
    assert not (tmp_path / "arguments").exists()


def test_threads_are_limited_before_python_starts(tmp_path, stub):
    python = stub(tmp_path / "python")
    run(script(tmp_path, python=python, cores_per_node=4, threads_per_worker=2), tmp_path)
    found = environment_of(tmp_path)
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"  # several that spin would keep others waiting


def test_several_nodes_go_through_srun_with_their_cores(tmp_path, stub):
    stub(tmp_path / "bin" / "srun")
    text = script(tmp_path, nodes=2, cores_per_node=3, python="/opt/my python/bin/python")
    check_syntax(text)
    called = run(text, tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    agent = called.index("/opt/my python/bin/python")
    assert {"--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=3", "--export=ALL"} <= set(
        called[:agent]
    )
    assert called[agent + 1 : -1] == ["-m", "pilotcut.pilots.agent.main", "node"]


def test_one_node_needs_no_srun():
    assert "srun" not in script().splitlines()[-1]


# -- nothing else does -----------------------------------------------------------------


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("field", ["queue", "account", "qos", "reservation", "constraint"])
def test_a_value_that_is_no_name_of_slurm_s_is_refused_when_it_is_read(tmp_path, field, value):
    (line,) = refusal(tmp_path, {field: value})
    assert f"{field} is {value!r}, expected " in line


@pytest.mark.parametrize(
    "value", ["p; touch pwned", "p\n#SBATCH -N9", "$(id)", "../p", "p q", "-p"]
)
def test_a_name_that_is_more_than_a_name_is_refused(tmp_path, value):
    (line,) = refusal(tmp_path, {"name": value})
    assert f"name is {value!r}, expected " in line


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("walltime", "01:00:00\n#SBATCH --uid=0"),
        ("walltime", "01:00:00; touch pwned"),
        ("walltime", "٠١:00:00"),
        ("memory_per_node", "4GiB\ntouch pwned"),
        ("memory_per_node", "4GiB; touch pwned"),
        ("python", "python\ntouch pwned"),
        ("python", "-c"),
        ("python", "~/python"),
        ("python", "$HOME/python"),
        ("python", " "),
        ("nodes", "2; touch pwned"),
        ("cores_per_node", "2\n"),
        ("gpus_per_node", "$(nproc)"),
        ("setup", ["true", 7]),
        ("setup", ["a\0b"]),
        ("resource", "slurm; touch pwned"),
        ("backend", {"method": "statevector; touch pwned"}),
        ("backend", {"qpu": {"like": "FakeManilaV2\ntouch pwned"}}),
    ],
)
def test_no_other_field_carries_more_than_its_value(tmp_path, field, value):
    (line,) = refusal(tmp_path, {field: value})
    assert re.match(rf".*: pilot '\w+': {field}\S* is .*, expected ", line)
    assert "\n" not in line


@pytest.mark.parametrize(
    "value",
    [
        *(value for value in NASTY if value != "-N9"),
        "exclusive",
        "--comment=a b",
        "--comment='a'",
        "--exclusive\n#SBATCH --uid=0",
        "--exclusive --mail-type=END",
        "--exclusive -N9",
        "--nodelist -N9",
        "-HN9",
        "-H9",
        "#SBATCH",
        "#SBATCH --begin=now # later",
    ],
)
def test_a_directive_that_is_not_one_option_is_refused(tmp_path, value):
    (line,) = refusal(tmp_path, {"directives": [value]})
    assert f"directives[0] is {value!r}, expected one option of sbatch" in line


@pytest.mark.parametrize(
    ("directive", "field"),
    [
        ("-N 4", "nodes"), ("-N4", "nodes"), ("--nodes=4", "nodes"), ("--nod 4", "nodes"),
        ("#SBATCH -t 10", "walltime"), ("--time=10", "walltime"),
        ("-p gpu", "queue"), ("--part=gpu", "queue"),
        ("-A me", "account"), ("-q high", "qos"), ("-C gpu", "constraint"),
        ("--reservation=x", "reservation"), ("-J other", "name"), ("-a 1-9", "count"),
        ("-n 4", "workers_per_node"), ("--ntasks-per-node=4", "workers_per_node"),
        ("-c 8", "cores_per_node"), ("--cpus-per-task=8", "cores_per_node"),
        ("--mem=4G", "memory_per_node"), ("--mem-per-cpu=1G", "memory_per_node"),
        ("-G 2", "gpus_per_node"), ("--gpus-per-task=1", "gpus_per_node"),
        ("--requeue", "replace"),
    ],
)  # fmt: skip
def test_a_directive_that_contradicts_a_field_names_the_field(tmp_path, directive, field):
    (line,) = refusal(tmp_path, {"directives": [directive]})
    assert line.endswith(f"use the field {field} instead")


@pytest.mark.parametrize("directive", ["--output=x", "-o x", "-e x", "-W", "-M other", "--wrap=ls"])
def test_a_directive_that_would_get_in_the_way_is_refused_with_the_reason(tmp_path, directive):
    (line,) = refusal(tmp_path, {"directives": [directive]})
    assert re.search(r" is .*, expected no --?\w+ here: \w+", line)


def test_gpus_by_type_are_as_many_as_the_field_says(tmp_path):
    (line,) = refusal(tmp_path, {"gpus_per_node": 2, "directives": ["--gres=gpu:a100:4"]})
    assert line.endswith("expected 2 GPUs in it, the number in the field gpus_per_node")
    script(gpus_per_node=2, directives=("--gres=gpu:a100:1,gpu:v100:1,tmp:10G",))
    script(directives=("--gres=tmp:10G", "--gres-flags=enforce-binding", "--mem-bind=local"))


def refusal(tmp_path, fields):
    """Return the faults of a file with one pilot."""
    entry = {"name": "p", "resource": "slurm"} | fields
    path = tmp_path / "pilots.yaml"
    path.write_text(yaml.safe_dump({"pilots": [entry]}))
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(path)
    return caught.value.faults


texts = st.one_of(
    st.text(max_size=12),
    st.text("ab1-=,.& |*[]()!;$`'\"\\#\n\t\0<>%{}~^@/+:", max_size=12),
)


@given(field=st.sampled_from(["queue", "account", "qos", "reservation", "constraint"]), value=texts)
def test_any_text_is_refused_or_stands_in_its_line_alone(field, value):
    names = {"queue": ("-p", "--partition"), "account": ("-A", "--account")}
    with contextlib.suppress(ValidationError):
        text = script(**{field: value})
        assert option(text, *names.get(field, (f"--{field}",))) == [value]
        assert len(header(text)) == len(header(script())) + 1


@given(value=st.text("-=ab N9w#'\"\\\n;S", max_size=8).map("-".__add__) | texts)
@example("--nodelist=a")
@example("-b-")
def test_any_directive_is_refused_or_adds_one_option(value):
    with contextlib.suppress(ValidationError):
        *first, last = header(script(directives=(value,)))
        assert first == header(script())
        assert len(last) <= 2
        assert last[0].startswith("-")
        assert not any(rest.startswith("-") for rest in last[1:])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(min_size=1, max_size=20))
def test_any_python_is_refused_or_one_word(value):
    with contextlib.suppress(ValidationError):
        text = script(python=value)
        assert shlex.split(text.splitlines()[-1])[:3] == ["exec", value, "-m"]


# -- nor do the defaults of dask-jobqueue ------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", "debug; touch pwned"),
        ("account", "other"),
        ("job-cpu", 64),
        ("job-mem", "900G"),
        ("shebang", "#!/bin/tcsh"),
        ("log-directory", "dask-logs"),
        ("name", "other"),
        ("cores", 64),
        ("memory", "900GB"),
        ("processes", 9),
        ("python", "/usr/bin/false"),
        ("walltime", "99:00:00"),
        ("interface", "ib0"),
        ("local-directory", "/scratch"),
        ("worker-command", "other.module"),
        ("worker-extra-args", ["--lifetime", "1h"]),
        ("job-extra-directives", ["--uid=0"]),
        ("job-script-prologue", ["touch pwned"]),
        ("job-directives-skip", ["--cpus-per-task", "-J"]),
    ],
)
def test_a_jobqueue_yaml_of_the_user_s_changes_nothing(tmp_path, monkeypatch, name, value):
    monkeypatch.chdir(tmp_path)
    for fields in ({}, {"memory_per_node": "2GiB", "queue": "cpu", "account": "me", "nodes": 2}):
        expected = script(**fields)
        with dask.config.set({f"jobqueue.slurm.{name}": value}):
            assert script(**fields) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project", "other"),
        ("extra", ["--lifetime", "1h"]),
        ("job-extra", ["--uid=0"]),
        ("env-extra", ["touch pwned"]),
        ("header-skip", ["--cpus-per-task"]),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nor_does_one_with_the_names_of_old_releases(name, value):
    expected = script()
    with dask.config.set({f"jobqueue.slurm.{name}": value}):
        assert script() == expected
