"""Whatever is killed: as many results as tasks, each right, each once."""

import os
import random
import re
import time
from collections import Counter

import psutil
import pytest

from chaos.storm import Storm, described
from chaos.workload import Workload
from pilotcut import PilotManager, TaskManager
from pilotcut.io.jsonl import read_jsonl
from pilotcut.tasks import wait

SEEDS = int(os.environ.get("CHAOS_SEEDS", 1))
FIRST = int(os.environ.get("CHAOS_FIRST", 0))
SECONDS = float(os.environ.get("CHAOS_SECONDS", 4))
TASKS = int(os.environ.get("CHAOS_TASKS", 200))

#: Mean time between two disasters.
PAUSE_S = 0.6
#: How long the last results may take once nothing is killed any more. An attached pilot
#: that was killed is given up after 15 s.
CALM_S = 60.0
#: How long the last processes may take to end.
GONE_S = 10.0


@pytest.mark.timeout(120 + 3 * SECONDS)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_task_has_one_result_and_the_right_one(seed, tmp_path):
    rng = random.Random(seed)
    load = Workload(TASKS, rng, tmp_path / "diary")
    of_other_tests = psutil.Process().children(recursive=True)
    with (
        PilotManager(described(rng), run_dir=tmp_path / "run") as pilots,
        Storm(pilots, seed, PAUSE_S) as storm,
        TaskManager(pilots) as tasks,
    ):
        load.submit_over(tasks, SECONDS)
        storm.abate()
        calm = time.monotonic()
        left = wait(load.futures, CALM_S).not_done
        calm = time.monotonic() - calm
        processes = {*storm.processes()} - {*of_other_tests}
        assert left == set()
    events = [e for e in read_jsonl(tmp_path / "run" / "events.jsonl") if e["event"] == "task"]
    tell(seed, storm, load, events, calm)
    assert [fault for k in range(TASKS) if (fault := load.fault(k))] == []
    assert load.called_back == Counter(range(TASKS))
    ends = Counter(int(e["task"]) for e in events if e["state"] in ("done", "failed"))
    assert ends == Counter(range(TASKS))
    _, still_there = psutil.wait_procs(processes, GONE_S)
    assert [p for p in still_there if p.status() != psutil.STATUS_ZOMBIE] == []


def tell(seed, storm, load, events, calm_s):
    """Print what happened, and how often tasks really ran."""
    runs = Counter(map(int, load.diary.read_text().split()))
    often = Counter(runs.values())
    lost = Counter(re.sub(r"\d+|/\S+", "_", e["reason"]) for e in events if "reason" in e)
    print(
        f"\nseed {seed}: {dict(storm.happened)}; {len(runs)} tasks ran {runs.total()} times, "
        f"by times {dict(sorted(often.items()))}; the last result {calm_s:.1f} s after the storm"
    )
    for reason, times in lost.most_common():
        print(f"    {times:5d} x {reason}")
