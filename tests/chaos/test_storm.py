"""Whatever is killed: as many results as tasks, each right, each once."""

import os
import random
import re
import time
from collections import Counter

import psutil
import pytest

from chaos.storm import Storm, described
from pilotcut import PilotManager, TaskManager
from pilotcut.tasks import wait
from pilotcut.trace import read_jsonl

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
#: Kills are no fault of the tasks here, and there are more of them than anywhere else.
RETRIES = 100


def work(diary, number, nap_s, *before):
    """Write down that the task ran, and return what depends on it and those before it."""
    with open(diary, "ab", buffering=0) as file:  # one write: lines of two workers never mix
        file.write(f"{number}\n".encode())
    if nap_s:
        time.sleep(nap_s)
    if number % 50 == 49:
        raise ArithmeticError(number)
    return number**2 + sum(before)


class Workload:
    """Tasks of several lengths, some of which depend on others, and some that fail."""

    def __init__(self, rng, diary):
        self.futures, self.right = [], []
        self.called_back = Counter()
        self._rng, self.diary = rng, diary

    def submit_over(self, tasks, seconds):
        """Submit in bursts that end with the storm."""
        bursts = max(1, round(2 * seconds))
        for burst in range(bursts):
            while len(self.futures) < TASKS * (burst + 1) // bursts:
                self._submit(tasks)
            time.sleep(seconds / bursts)

    def _submit(self, tasks):
        number = len(self.futures)
        before = self._predecessors(number)
        nap_s = self._rng.choice([0.0, 0.0, 0.01, 0.03, 0.1])  # without a nap: in parcels
        earlier = [self.futures[k] for k in before]
        future = tasks.submit_task(
            work, str(self.diary), number, nap_s, *earlier, name=str(number), retries=RETRIES
        )
        future.add_done_callback(lambda _: self.called_back.update([number]))
        self.futures.append(future)
        self.right.append(number**2 + sum(self.right[k] for k in before))

    def _predecessors(self, number):
        if self._rng.random() < 0.9:
            return []
        return [k for k in range(max(0, number - 3), number) if k % 50 != 49]

    def fault(self, number):
        """Return what is wrong with the end of a task, which has ended."""
        error = self.futures[number].exception(0)
        if number % 50 == 49:
            return None if isinstance(error, ArithmeticError) else f"{number}: {error!r}"
        if error is not None:
            return f"{number}: {error!r}"
        value = self.futures[number].result(0)
        return None if value == self.right[number] else f"{number}: {value}"


@pytest.mark.timeout(120 + 3 * SECONDS)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_task_has_one_result_and_the_right_one(seed, tmp_path):
    rng = random.Random(seed)
    load = Workload(rng, tmp_path / "diary")
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
        processes = storm.processes()
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
