"""A program with a graph of tasks in layers, which is killed and started again.

    python -m chaos.layered HOME LIFE TASKS

Workers import this module: it must be quick to import.
"""

import random
import sys
import time
from pathlib import Path

WIDTH = 50
PRIME = 2**61 - 1
#: Kills are no fault of the tasks here.
RETRIES = 100


def work(diary, number, nap_s, *before):
    """Write down that the task ran, and return what depends on all those before it."""
    with open(diary, "ab", buffering=0) as file:  # one write: lines of two workers never mix
        file.write(f"{number}\n".encode())
    time.sleep(nap_s)
    return value_of(number, before)


def value_of(number, before):
    value = number + 1
    for one in before:
        value = (value * 31 + one) % PRIME
    return value


def merge(diary, *last):
    return value_of(-1, last)


def edges(count):
    """Return which tasks each of `count` depends on: some of the layer before its own."""
    rng = random.Random(1)
    found = []
    for number in range(count):
        above = number // WIDTH * WIDTH - WIDTH
        found.append([] if above < 0 else sorted(rng.sample(range(above, above + WIDTH), 3)))
    return found


def undisturbed(count):
    """Return the value of each task, and the last one, computed here one after the other."""
    values = []
    for number, before in enumerate(edges(count)):
        values.append(value_of(number, [values[k] for k in before]))
    return values, value_of(-1, values[-WIDTH:])


def main(home, life, count):
    from pilotcut import PilotManager, TaskManager
    from pilotcut.pilots.description import PilotDescription

    described = [PilotDescription(name=name, resource="local") for name in ("left", "right")]
    diary = str(home / "diary")
    with (
        PilotManager(described, run_dir=home / f"run-{life}") as pilots,
        TaskManager(pilots, store=home / "store") as tasks,
    ):
        futures = []
        for number, before in enumerate(edges(count)):
            futures.append(tasks.submit_task(
                work, diary, number, 0.002 * (number % 4), *(futures[k] for k in before),
                group=f"layer-{number // WIDTH}", key=str(number), retries=RETRIES,
            ))  # fmt: skip
        last = tasks.submit_task(merge, diary, *futures[-WIDTH:], group="merge", key="merge")
        (home / "value").write_text(str(last.result()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
