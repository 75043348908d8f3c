"""What several tests here say of pilots and tasks."""

from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotState
from pilotcut.pilots.description import PilotDescription

from .testbed import wait_until


def slurm_pilot(name, queue="cpu", walltime="00:10:00", **fields):
    """Return the description of a pilot on the cluster."""
    return PilotDescription(name=name, resource="slurm", queue=queue, walltime=walltime, **fields)


def named(manager, name):
    """Return the pilot of this name that there is now."""
    return next(pilot for pilot in manager.pilots if pilot.name == name)


def wait_active(manager, *names):
    """Wait until the pilots of these names, or all, are active."""
    for name in names or [pilot.name for pilot in manager.pilots]:
        wait_until(lambda name=name: named(manager, name).state is PilotState.ACTIVE)


def pilot_events(run_dir, name):
    """Return what was written about a pilot, in order."""
    records = read_jsonl(run_dir / "events.jsonl")
    return [r for r in records if r["event"] != "task" and r.get("pilot") == name]


def times_done(run_dir):
    """Return how often each task was settled with a result, by its name."""
    records = read_jsonl(run_dir / "events.jsonl")
    done = [r["task"] for r in records if r["event"] == "task" and r["state"] == "done"]
    return {task: done.count(task) for task in done}
