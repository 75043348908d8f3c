"""Run directories as a training with pilots leaves them, made up: what is in them is known."""

import json
from html.parser import HTMLParser

import numpy as np

from pilotcut.cli.report import plan_of
from pilotcut.report.run_page import report

#: A moment to begin at, in seconds since the epoch.
BEGAN = 1_700_000_000.0


def made_up(path, *, batches=40, tasks=60, epochs=4, seed=0, **settings):
    """Write a run of two workers on one pilot; returns its directory."""
    path.mkdir(parents=True)
    random = np.random.default_rng(seed)
    config = {"dataset": "iris", "qubits": 4, "cuts": 2, "mode": "counts", "shots": 256,
              "epochs": epochs, "pilots": "laptop.yaml"} | settings  # fmt: skip
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in config.items()]
    (path / "config.yaml").write_text("".join(lines))
    write(path / "trace.jsonl", [compiled(), *(batch(random, k) for k in range(batches))])
    write(path / "events.jsonl", [*pilot_states(), *task_events(random, tasks)])
    write(path / "metrics.jsonl", [epoch(k) for k in range(1, epochs + 1)])
    (path / "pilots.json").write_text(json.dumps([roster_entry()]))
    (path / "weights.pt").write_bytes(b"")
    return path


def write(path, records):
    """Write one record a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def compiled():
    """Return the record of a compilation whose plan nobody can compile again."""
    return {"kind": "compile", "plan": "feed" * 4, "labels": "AABC", "cuts": 2,
            "widths": [2, 1, 1], "variants": 35, "terms": 1, "sampling_overhead": 81.0,
            "partition_s": 0.25, "time": BEGAN}  # fmt: skip


def batch(random, number):
    """Return the record of a batch of 16 queries, a tenth of it reconstruction."""
    wall = float(random.uniform(0.5, 1.5))
    stages = {"partition": 0.0, "generate": 0.0, "execute": 0.9 * wall, "reconstruct": 0.1 * wall}
    return {"kind": "query_batch", "batch": number, "time": BEGAN + 2.0 * number, "queries": 16,
            "source": ("forward", "gradient")[number % 2], "subexperiments": 560, "bundles": 3,
            "stage_seconds": stages, "waits_s": 0.05 * wall, "wall_s": wall, "worker_s": wall,
            "predicted_s": wall * (1 + 0.1 * (number % 5))}  # fmt: skip


def epoch(number):
    """Return the metrics of an epoch of five seconds."""
    return {"epoch": number, "loss": 1 / number, "train_accuracy": 1 - 0.4 / number,
            "accuracy": 1 - 0.5 / number, "seconds": 5.0, "val_loss": 1.1 / number,
            "val_accuracy": 1 - 0.45 / number, "learning_rate": 0.1 / number}  # fmt: skip


def pilot_states():
    """Return how a pilot became active and was done."""
    return [
        {"time": BEGAN + after, "event": "pilot", "pilot": "laptop", "state": state, "reason": ""}
        for after, state in ((-4.0, "starting"), (-1.0, "active"))
    ]


def task_events(random, tasks):
    """Return the events of tasks on two workers by turns; some were lost, one was doubled."""
    found = []
    free = [BEGAN, BEGAN]
    for number in range(tasks):
        turn = number % 2
        started = free[turn] + 0.01
        ran = float(random.uniform(0.2, 0.3)) * (6 if number % 20 == 19 else 1)
        free[turn] = finished = started + ran
        task = {"event": "task", "id": number, "task": f"{'AB'[number % 2]}.0", "pilot": "laptop"}
        found.append({"time": started - 0.005, **task, "state": "bound"})
        if number % 20 == 19:
            why = "straggles: a duplicate runs on pilot 'laptop'"
            found.append({"time": started + 0.5, **task, "state": "bound", "reason": why})
        if number % 30 == 7:
            found.append({"time": started, **task, "state": "bound", "reason": "its worker died"})
        found.append({"time": finished, **task, "state": "done", "worker": f"laptop-{turn}",
                      "started": started, "finished": finished})  # fmt: skip
    return found


def roster_entry():
    """Return the entry of pilots.json."""
    description = {"name": "laptop", "resource": "local", "nodes": 1, "cores_per_node": 2,
                   "workers_per_node": 2}  # fmt: skip
    since = {"starting": BEGAN - 4.0, "active": BEGAN - 1.0, "done": BEGAN + 60.0}
    return {"description": description, "key": "laptop", "state": "done", "reason": "",
            "since": since}  # fmt: skip


def page_of(*runs):
    return report(runs, plan_of).html()


class Seen(HTMLParser):
    """What a browser would make of a page: headings, and what it would load or run."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.loaded, self.tags, self._in = [], [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in = tag
        loads = (value for name, value in attrs if name in ("src", "href", "data", "action"))
        self.loaded += [v for v in loads if not v.startswith(("#", "data:"))]

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in in ("h1", "h2"):
            self.headings.append(data)
