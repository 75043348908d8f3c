"""Reports: run directories to measures, to a page, to a trace; whatever is in the files."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import run_directories
from support.run_directories import BEGAN, Seen, made_up, page_of

from pilotcut import PilotManager, TaskManager
from pilotcut.cutting.placement import Placement
from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots.description import embedded
from pilotcut.report import measures
from pilotcut.report.chrome_trace import chrome_events
from pilotcut.report.read import FILES, read_run
from pilotcut.report.run_record import Batches, RunRecord, TaskHistory, TaskRuns
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a real run: one epoch on pilots in this process."""
    path = tmp_path_factory.mktemp("runs") / "trained"
    config = TrainingConfig("iris", cuts=2, mode="sampled", shots=64, epochs=1, batch_size=40)
    with (
        PilotManager(embedded(2), run_dir=path) as pilots,
        TaskManager(pilots) as tasks,
    ):
        TrainingRun(config, path, tasks).train()
    return path


# -- what pilotcut records -------------------------------------------------------------


def test_a_real_run_is_read_back_with_its_tasks_and_times(trained):
    run = read_run(trained)
    runs = run.tasks.runs
    assert run.tasks.ends == {"done": len(runs)}
    records = read_jsonl(trained / "trace.jsonl")
    assert sum(record.get("bundles", 0) for record in records) == len(runs) > 0
    assert (runs.bound <= runs.started).all()
    assert (runs.started <= runs.finished).all()
    began = run.batches.began
    assert (np.diff(began) >= 0).all()
    assert run.begins <= began[0] <= runs.started[0] + 0.5
    assert began[-1] <= time.time()
    assert set(runs.pilot) == {"here"}


def test_the_plan_of_a_real_run_is_drawn(trained):
    page = page_of(read_run(trained))
    assert "the circuit is not drawn" not in page.lower()
    assert '<figure class="card"><div class="scroll drawing"' in page
    assert "cut, with the number of its bond" in page


def test_wire_cuts_that_a_number_chose_are_in_the_trace_and_drawn(tmp_path):
    """Two layers in three cuts cut a wire, of which labels of qubits say nothing."""
    config = TrainingConfig("iris", cuts=3, reps=2, mode="exact", epochs=1, samples=40)
    run = TrainingRun(config, tmp_path / "run")
    run.train()
    placement = run.plan.requested
    assert len(placement.wire_cuts) == 1
    (record,) = [r for r in read_jsonl(tmp_path / "run/trace.jsonl") if r["kind"] == "compile"]
    assert Placement.of_dict(record["placement"]) == placement
    page = page_of(read_run(tmp_path / "run"))
    assert "the circuit is not drawn" not in page.lower()
    again = TrainingRun(replace(config, epochs=2), tmp_path / "run")
    assert again.plan.fingerprint == run.plan.fingerprint
    again.train(resume=True)
    assert len(read_jsonl(tmp_path / "run/metrics.jsonl")) == 2


def test_a_plan_that_is_not_the_traced_one_is_a_schematic_with_the_reason(run):
    page = page_of(run)
    assert "The circuit is not drawn: the plan of its settings is not the one" in page
    assert "2 cuts between 3 fragments" in page


def test_a_retry_is_two_runs_and_told_once(tmp_path):
    def fail_once(marker=tmp_path / "marker"):
        if not marker.exists():
            marker.touch()
            raise RuntimeError("not today")

    with PilotManager(embedded(), run_dir=tmp_path) as pilots, TaskManager(pilots) as tasks:
        tasks.submit_task(fail_once, error_retries=1, name="moody").result()
        bad = tasks.submit_task(int, "x", name="bad")
        assert bad.exception() is not None
    told = read_run(tmp_path).tasks
    assert told.runs.name == ("moody", "moody", "bad")
    assert told.runs.failed.tolist() == [True, False, True]
    assert told.counts == {"raised": 1, "failed": 1}
    assert told.ends == {"done": 1, "failed": 1}


def test_a_task_that_runs_again_forgets_the_worker_before():
    seen = []

    def fail_once():
        seen.append(1)
        if len(seen) == 1:
            raise RuntimeError("not today")

    with PilotManager(embedded()) as pilots, TaskManager(pilots) as tasks:
        tasks.submit_task(fail_once, error_retries=1).result()
        events = pilots.events.records
    times = [("started" in e, e["state"]) for e in events if e["event"] == "task"]
    assert times == [(False, "bound"), (True, "bound"), (False, "bound"), (True, "done")]


# -- measures --------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 50)), min_size=1, max_size=40).map(
    lambda some: np.array([(start, start + length) for start, length in some]).T
)


def runs_of(started, finished, workers=None, names=None):
    count = len(started)
    return TaskRuns(
        bound=np.full(count, math.nan),
        started=np.asarray(started, dtype=float),
        finished=np.asarray(finished, dtype=float),
        name=tuple(names or ["A.0"] * count),
        pilot=("p",) * count,
        worker=tuple(workers or ["w"] * count),
        cores=np.ones(count),
        failed=np.zeros(count, dtype=bool),
    )


@given(SPANS)
def test_the_union_of_spans_is_what_a_fine_ruler_measures(spans):
    started, finished = spans
    moments = np.unique(np.concatenate(spans))
    middles = (moments[1:] + moments[:-1]) / 2
    covered = ((started[:, None] <= middles) & (middles < finished[:, None])).any(axis=0)
    expected = (np.diff(moments) * covered).sum()
    assert measures.union_s(started, finished) == pytest.approx(expected)


@given(SPANS)
def test_slots_hold_one_span_at_a_time_and_are_as_few_as_can_be(spans):
    started, finished = spans
    slots = measures.slots(started, finished)
    for slot in set(slots.tolist()):
        rows = np.flatnonzero(slots == slot)
        rows = rows[np.argsort(started[rows])]
        assert (finished[rows][:-1] <= started[rows][1:]).all()
    most = max(((started <= t) & (t < finished)).sum() for t in started)
    assert slots.max() + 1 == most


@given(SPANS, st.integers(1, 30))
def test_busy_bins_hold_all_run_time(spans, bins):
    runs = runs_of(*spans)
    edges, tasks = measures.busy_over_time(runs, bins)
    assert (tasks * np.diff(edges)).sum() == pytest.approx(runs.run_s.sum())


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=50), st.integers(1, 60))
def test_bins_keep_the_sum_of_what_they_gather(values, most):
    middles, means = measures.binned(np.array(values)[:, None], most)
    assert len(middles) == min(len(values), most)
    edges = np.linspace(0, len(values), len(middles) + 1).astype(int)
    assert (means[:, 0] * np.diff(edges)).sum() == pytest.approx(sum(values))


def test_a_worker_that_runs_half_of_the_time_is_half_busy():
    found = measures.utilisation(runs_of([0, 6, 0], [2, 9, 10], ["b", "b", "a"]))
    assert found.workers == (("p", "a"), ("p", "b"))
    assert found.shares == (1.0, 0.5)
    assert found.mean == 0.75


def test_stragglers_are_those_over_one_and_a_half_medians_of_their_group():
    lengths = [1.0, 1.0, 1.0, 1.5, 4.0, 10.0, 10.0, 10.0, 15.1]
    names = ["A.0"] * 5 + ["B.7"] * 4
    found = measures.stragglers(runs_of(np.zeros(9), lengths, names=names))
    assert [(s.group, s.rows, s.worst_s) for s in found] == [("B", (8,), 15.1), ("A", (4,), 4.0)]
    assert found[0].lost_s == pytest.approx(5.1)
    assert found[1].lost_s == pytest.approx(3.0)


@given(st.integers(1, 3000), st.integers(10, 200), st.data())
def test_what_is_chosen_to_be_drawn_is_little_and_holds_the_worst(count, most, data):
    runs = runs_of(np.arange(count), np.arange(count) + 1)
    always = data.draw(st.lists(st.integers(0, count - 1), max_size=most // 2))
    rows, step = measures.chosen_runs(runs, most, always)
    assert len(rows) <= most + 1
    assert set(always) <= set(rows.tolist())
    assert set(range(0, count, step)) <= set(rows.tolist())


def test_shares_and_predictions_are_of_all_batches(run):
    shares = measures.reconstruction_shares(run.batches)
    assert shares == pytest.approx(np.full(40, 0.1))
    assert measures.stage_seconds(run)["partition"] == 0.25
    found = measures.predictions(run.batches)
    assert len(found.rows) == 40
    assert found.within(1.5) == 1.0
    assert found.within(1.25) == 0.6  # ratios of 1, 1.1, 1.2, 1.3 and 1.4 by turns
    head = measures.headlines(run)
    assert (head.queries, head.epochs, head.accuracy, head.seconds) == (640, 4, 0.875, 20.0)


# -- files in any state ----------------------------------------------------------------


def test_a_killed_run_with_torn_lines_tells_what_is_left(tmp_path):
    path = made_up(tmp_path / "killed")
    (path / "weights.pt").unlink()
    for name in ("trace.jsonl", "events.jsonl", "metrics.jsonl"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(whole[:-25])
    run = read_run(path)
    assert (len(run.batches), len(run.tasks.runs), len(run.epochs)) == (39, 59, 3)
    assert run.torn == 3
    page = page_of(run)
    assert "It has trained 3 of 4 epochs: it was interrupted, or still runs." in page
    assert "3 lines of its files could not be read." in page


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_costs_its_sections_and_leaves_a_line(tmp_path, name):
    path = made_up(tmp_path / "run")
    (path / name).unlink()
    page = page_of(read_run(path))
    assert f"there is no {name}" in page
    headings = Seen(page).headings
    lost = {"trace.jsonl": "Where the time went", "metrics.jsonl": "Loss and accuracy",
            "events.jsonl": "Pilots and slots"}  # fmt: skip
    for file, heading in lost.items():
        assert (heading in headings) == (file != name)


def test_a_run_without_pilots_says_so(tmp_path):
    path = made_up(tmp_path / "run", pilots=None)
    for name in ("events.jsonl", "pilots.json"):
        (path / name).unlink()
    page = page_of(read_run(path))
    assert "The run had no pilots" in page
    assert "there is no events.jsonl" not in page


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["kind", "time", "event", "state", "task", "id", "pilot", "worker", "started", "reason",
             "finished", "stage_seconds", "wall_s", "epoch", "loss", "widths", "cuts", "source",
             "description", "name", "since", "fragment", "shots", "candidates", "chosen",
             "epochs", "qubits"]
        ),
        inner, max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip
KIND = st.fixed_dictionaries({}, optional={
    "kind": st.sampled_from(["query_batch", "compile", "resume"]), "event": st.just("task"),
    "state": st.sampled_from(["bound", "done", "failed"]), "time": st.floats(0, 1e9),
    "stage_seconds": JSON, "epoch": JSON, "started": st.floats(0, 1e9), "widths": JSON,
    "devices": JSON, "moved": JSON, "cuts": JSON, "loss": JSON, "accuracy": JSON,
    "seconds": JSON, "source": JSON, "task": JSON,
    "pilot": JSON, "wall_s": JSON, "predicted_s": JSON, "finished": JSON, "id": JSON,
})  # fmt: skip


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(JSON | KIND, max_size=6), JSON, JSON)
@example([{"kind": "compile", "cuts": None, "widths": [1]}], None, None)
def test_no_content_of_files_stops_a_report(tmp_path, records, config, other):
    for name in ("trace.jsonl", "events.jsonl", "metrics.jsonl"):
        run_directories.write(tmp_path / name, records)
    for name in ("config.yaml", "pilots.json", "recommendation.json"):
        (tmp_path / name).write_text(json.dumps(config if name == "config.yaml" else other))
    run = read_run(tmp_path)
    json.dumps(chrome_events(run))
    assert "</html>" in page_of(run)


def test_names_and_reasons_are_text_wherever_they_come_from(tmp_path):
    def tags(name, words):
        path = made_up(tmp_path / name, dataset=words, mode=words)
        lines = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
        renamed = [e | dict.fromkeys(("task", "pilot", "worker", "reason"), words) for e in lines]
        run_directories.write(path / "events.jsonl", renamed)
        run = read_run(path)
        return Seen(page_of(run, run)).tags

    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>'
    assert tags("<script>run", evil) == tags("run", "harmless")


# -- traces ----------------------------------------------------------------------------


def test_a_trace_has_the_keys_of_its_format_and_ascending_times(run):
    events = chrome_events(run)
    for event in events:
        assert {"name", "ph", "pid", "tid"} <= set(event)
        assert event["ph"] in "XiM"
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "i":
            assert event["s"] in "gpt"
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)
    assert times[0] == 0
    named = {e["args"]["name"] for e in events if e["ph"] == "M"}
    assert named == {"queries", "batches", "pilot laptop", "pilot", "laptop-0", "laptop-1"}
    counts = {kind: sum(kind in e.get("cat", "").split(",") for e in events)
              for kind in ("task", "query", "stage", "pilot")}  # fmt: skip
    assert counts == {"task": 60 + 5, "query": 40, "stage": 80, "pilot": 2}


@settings(deadline=None)
@given(SPANS, SPANS)
def test_spans_on_a_thread_of_a_trace_only_nest(tasks, batches):
    events = chrome_events(record_of(tasks, batches))
    threads = {}
    for event in events:
        if event["ph"] == "X":
            threads.setdefault((event["pid"], event["tid"]), []).append(event)
    for some in threads.values():
        open_ends = []
        for event in some:  # in the order of their starts, the longer first
            while open_ends and open_ends[-1] <= event["ts"] + 1e-3:
                open_ends.pop()
            end = event["ts"] + event["dur"]
            assert not open_ends or end <= open_ends[-1] + 1e-3
            open_ends.append(end)


def record_of(tasks, batches):
    """Return a run with these tasks and batches."""
    began, ends = batches
    wall = ends - began
    zero = np.zeros(len(wall))
    stages = np.stack([zero, 0.2 * wall, 0.7 * wall, 0.3 * wall], axis=1)  # more than the whole
    sources = ("forward",) * len(wall)
    known = Batches(BEGAN + began, wall, zero, zero, zero, zero, stages, sources)
    runs = runs_of(BEGAN + tasks[0], BEGAN + tasks[1])
    return RunRecord(Path("run"), "run", batches=known, tasks=TaskHistory(runs, {}, (), {}))
