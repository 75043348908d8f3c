"""What a pilot has, from its description and as a task on it."""

import subprocess

import psutil
import pytest

from pilotcut.perfmodel import resources
from pilotcut.perfmodel.resources import WORKER_BYTES, Gpu, described, detect, found, here
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.tasks import TaskManager

GIB = 2**30


@pytest.fixture
def smi(monkeypatch, tmp_path):
    """Return a function that puts an `nvidia-smi` with this output, and exit code, first."""

    def put(output, code=0):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {code}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put


def test_a_description_says_what_a_slurm_pilot_promises():
    """Without a cluster: slots, threads, memory; the machine is not known."""
    pilot = PilotDescription(
        name="a", resource="slurm", nodes=2, cores_per_node=8, threads_per_worker=2,
        memory_per_node="64 GiB",
    )  # fmt: skip
    seen = described(pilot)
    assert (seen.machine, seen.devices, seen.detected) == ("", (), False)
    assert (seen.cores, seen.threads, seen.slots, seen.slots_per_node) == (8, 2, 8, 4)
    assert seen.memory_bytes == 64 * GIB
    assert seen.slot_bytes == 16 * GIB - WORKER_BYTES


def test_nobody_says_how_much_memory_a_slurm_pilot_has():
    """Then no limit is known, which is not a limit of nothing."""
    seen = described(PilotDescription(name="a", resource="slurm"))
    assert seen.memory_bytes is None
    assert seen.slot_bytes is None


def test_a_node_too_small_for_its_workers_has_no_memory_left():
    pilot = PilotDescription(name="a", resource="slurm", cores_per_node=4, memory_per_node="1 GiB")
    assert described(pilot).slot_bytes == 0


@pytest.mark.parametrize("resource", ["local", "inprocess"])
@pytest.mark.parametrize("memory", [None, "1 GiB", "900 TiB"])
def test_what_runs_here_has_at_most_this_machines_memory(resource, memory):
    total = psutil.virtual_memory().total
    seen = described(PilotDescription(name="a", resource=resource, memory_per_node=memory))
    assert seen.memory_bytes == (GIB if memory == "1 GiB" else total)
    assert seen.machine == resources.machine()


def test_ranks_share_their_nodes_memory_and_are_one_slot():
    seen = described(PilotDescription(name="m", resource="slurm", nodes=2, ranks=8,
                                      memory_per_node="40 GiB"))  # fmt: skip
    assert (seen.ranks, seen.slots, seen.slots_per_node) == (8, 1, 4)
    assert seen.slot_bytes == 10 * GIB - WORKER_BYTES


def test_a_task_finds_cores_memory_and_devices():
    """What `detect` returns is plain data, and fits the machine."""
    seen = detect()
    assert seen["cores"] >= 1
    assert 0 < seen["memory_bytes"] <= psutil.virtual_memory().total
    assert "CPU" in seen["devices"]
    assert seen["machine"] == resources.machine()
    assert seen["gpus"] == [] or all(size > 0 for _, size in seen["gpus"])


def test_detection_runs_as_a_task_on_a_pilot():
    """And says the same there as here, on a pilot within this process."""
    (pilot,) = embedded(workers=2)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        seen = found(pilot, tasks.submit_task(detect).result())
    assert seen.detected
    assert (seen.machine, seen.slots) == (resources.machine(), 2)
    assert seen.cores == here().cores
    assert seen.memory_bytes == here().memory_bytes


def test_a_promise_of_less_memory_counts_more_than_what_is_there():
    """A Slurm job may use what it asked for and not all of the node."""
    seen = {"machine": "x", "cores": 4, "memory_bytes": 64 * GIB, "gpus": [], "devices": ["CPU"]}
    pilot = PilotDescription(name="a", resource="slurm", memory_per_node="8 GiB")
    assert found(pilot, seen).memory_bytes == 8 * GIB
    assert found(pilot, seen | {"memory_bytes": 4 * GIB}).memory_bytes == 4 * GIB
    free = PilotDescription(name="a", resource="slurm")
    assert found(free, seen).memory_bytes == 64 * GIB


@pytest.mark.parametrize(
    ("output", "code", "gpus"),
    [
        ("NVIDIA A100-SXM4-80GB, 81920\nTesla T4, 15360", 0, [81920, 15360]),
        ("", 0, []),
        ("NVIDIA-SMI has failed because it couldn't communicate", 9, []),
        ("Odd, [N/A]", 0, []),
        ("A name, with a comma, 1024", 0, [1024]),
    ],
)
def test_gpus_are_those_that_nvidia_smi_names(smi, output, code, gpus):
    """With their memory; a tool that fails or says something else names none."""
    smi(output, code)
    seen = [Gpu(name, size) for name, size in detect()["gpus"]]
    assert [gpu.memory_bytes for gpu in seen] == [size * 2**20 for size in gpus]


def test_a_tool_that_hangs_names_no_gpus(smi, monkeypatch):
    smi("never read")

    def hang(*_, **__):
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(subprocess, "run", hang)
    assert detect()["gpus"] == []


@pytest.mark.parametrize("text", ["max", str(2 * GIB), "garbage", "9" * 30])
def test_a_control_group_limits_memory(monkeypatch, text):
    """Where it names a number below what the machine has."""
    read = resources.Path.read_text

    def fake(path, **how):
        return text if "cgroup" in str(path) else read(path, **how)

    monkeypatch.setattr(resources.Path, "read_text", fake)
    total = psutil.virtual_memory().total
    assert resources.memory_limit() == (min(total, 2 * GIB) if text == str(2 * GIB) else total)


def test_this_process_is_one_slot():
    seen = here()
    assert (seen.slots, seen.slots_per_node, seen.ranks) == (1, 1, 1)
    assert seen.slot_bytes == seen.memory_bytes - WORKER_BYTES
    assert seen.to_dict()["machine"] == seen.machine
