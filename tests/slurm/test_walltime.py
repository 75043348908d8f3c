"""The time limit of a job: what is under way then goes elsewhere."""

import re

import pytest

from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotState

from .testbed import wait_until

# A limit of 60 s is enforced after 64 to 95 s.
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_task_that_its_time_limit_cuts_off_is_finished_by_another_pilot(short_lived):
    pilot = short_lived.pilots.pilots[0]
    result = short_lived.future.result(150)
    assert re.fullmatch(r"pilotcut-brief-[0-9a-f]{8}, then steady", result)
    wait_until(lambda: pilot.state.final)  # dask is quicker than Slurm
    assert pilot.state is PilotState.DONE
    assert "reached its time limit" in pilot.reason
    events = read_jsonl(short_lived.run_dir / "events.jsonl")
    states = [e["state"] for e in events if e["event"] == "pilot" and e["pilot"] == "brief"]
    assert list(dict.fromkeys(states)) == ["pending", "starting", "active", "draining", "done"]
