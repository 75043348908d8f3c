"""The graph of tasks: out of events, folded to what a picture has room for, and explained."""

import json

import pytest

from pilotcut.report.graph_section import graph as section_of
from pilotcut.report.read import read_run
from pilotcut.report.run_follower import status_of
from pilotcut.report.task_explained import explained
from pilotcut.report.task_graph import MOST_BOXES, MOST_COLUMNS, GraphReader, folded


def event(number, name, state, **fields):
    return {"time": float(number), "event": "task", "id": number, "task": name,
            "state": state, "pilot": None, **fields}  # fmt: skip


def ran(number, name, **fields):
    times = {"started": float(number), "finished": number + 1.0, "cores": 1, "worker": "w"}
    return event(number, name, "done", pilot="p", **times | fields)


#: Three are encoded, two of them refined, of which one fails, and what is merged is cut off.
EVENTS = [
    event(0, "encode.0", "ready"),
    event(3, "refine.3", "waiting", after=[0]),
    event(1, "encode.1", "ready"),
    event(4, "refine.4", "waiting", after=[1, 99]),
    event(5, "last", "waiting", after=[3, 4], group="merge"),
    event(0, "encode.0", "done", stored=True),
    ran(1, "encode.1"),
    ran(2, "encode.2"),
    ran(3, "refine.3"),
    event(4, "refine.4", "failed", cut_off={"merge": 1}, reason="ValueError: no"),
    event(5, "last", "failed", cut_by="refine.4", group="merge"),
]


def graph_of(events):
    reader = GraphReader()
    for one in events:
        reader.add(one)
    return reader.result()


def layered(layers, width, group):
    """Return events of a graph in layers, each task of which depends on two above it."""
    for number in range(layers * width):
        above = number // width * width - width
        after = [] if above < 0 else [above + number % width, above + (number + 1) % width]
        yield event(number, f"{group(number // width)}.{number}", "waiting", after=after)


@pytest.fixture
def run_dir(tmp_path):
    lines = [json.dumps(one) for one in EVENTS]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, '{"event": "task", "id"']))
    return tmp_path


def test_a_graph_has_the_latest_standing_and_the_layer_of_each_task():
    found = graph_of(EVENTS)
    assert found.names == ("encode.0", "encode.1", "encode.2", "refine.3", "refine.4", "last")
    assert found.groups == ("encode",) * 3 + ("refine",) * 2 + ("merge",)
    assert found.standings == ("stored", "done", "done", "done", "failed", "cut off")
    assert found.layers == (0, 0, 0, 1, 1, 2)
    assert found.before[4:] == ((1,), (3, 4))


def test_where_nothing_depends_on_anything_there_is_no_graph():
    assert graph_of([ran(k, f"a.{k}") for k in range(3)]) is None


def test_the_tasks_of_a_program_that_was_started_again_are_the_same_ones():
    first = [event(0, "a.0", "waiting"), event(1, "b.1", "waiting", after=[0]), ran(0, "a.0")]
    again = [event(0, "a.0", "done", stored=True), event(1, "b.1", "waiting", after=[0])]
    found = graph_of([*first, *again, ran(1, "b.1")])
    assert found.names == ("a.0", "b.1")
    assert found.standings == ("stored", "done")


@pytest.mark.parametrize("after", ["x", [None], [True], [7], [1], {}])
def test_whatever_stands_for_dependencies_is_no_error(after):
    found = graph_of([*EVENTS, event(1, "odd", "waiting", after=after)])
    assert found.before[found.names.index("odd")] == ()


def test_a_small_graph_is_folded_by_group_and_layer():
    found = folded(graph_of(EVENTS))
    assert [(box.name, box.column, box.count) for box in found.boxes] == [
        ("encode", 0, 3), ("refine", 1, 2), ("merge", 2, 1)
    ]  # fmt: skip
    assert found.edges == {(0, 1): 2, (1, 2): 2}
    one = folded(graph_of(layered(5, 10, lambda _: "work")))
    assert [(box.name, box.column, box.count) for box in one.boxes] == [
        ("work", k, 10) for k in range(5)
    ]


@pytest.mark.parametrize(
    ("layers", "group"),
    [
        (40, lambda layer: f"layer-{layer}"),
        (200, lambda _: "work"),
        (100, lambda layer: "ab"[layer % 2]),
        (300, lambda layer: "x" * (1 + layer)),
    ],
)
def test_a_graph_of_thousands_of_tasks_has_all_of_them_in_a_picture_that_fits(layers, group):
    found = folded(graph_of(layered(layers, 20, group)))
    assert len(found.boxes) <= MOST_BOXES
    assert sum(box.count for box in found.boxes) == 20 * layers
    assert sum(found.edges.values()) == 2 * 20 * (layers - 1)
    assert max(box.column for box in found.boxes) < max(MOST_COLUMNS, MOST_BOXES)
    places = [(box.column, box.row) for box in found.boxes]
    assert len(set(places)) == len(places)


def test_the_report_shows_the_graph_and_says_which_branch_was_cut_off(run_dir):
    run = read_run(run_dir)
    section = section_of(run)
    assert "6 tasks" in section.text
    assert "1 failed and cut off 1 more" in section.text
    drawing, cut, groups = section.elements
    assert drawing.content.count("<g>") == 3
    assert "encode to refine: 2 dependencies" in drawing.content
    assert cut.content == (
        "task 'refine.4' failed and cut off 1 task that depends on it: 1 of merge"
    )
    assert [row[:2] for row in groups.content["rows"]] == [
        ["encode", "3"], ["refine", "2"], ["merge", "1"]
    ]  # fmt: skip
    assert run.tasks.counts == {"failed": 1, "cut off": 1}


def test_explain_says_what_a_task_waits_for_and_what_waits_for_it(run_dir):
    lines = explained(run_dir, "refine.3")
    assert lines[0] == "task 'refine.3' of group refine is done"
    assert lines[1] == "  it is after 1 task, all have ended: encode.0 (stored)"
    assert lines[2] == "  1 task is after it: last (cut off)"
    (of_group, before, after) = explained(run_dir, "refine")
    assert of_group == "group 'refine': 2 tasks, 1 done, 1 failed"
    assert before == "  it is after 2 of encode; all of them have ended"
    assert after == "  after it: 1 of merge"


def test_explain_of_a_run_under_way_counts_what_waits_for_others(tmp_path):
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, EVENTS[:5])) + "\n")
    assert explained(tmp_path, None) == ["3 tasks wait for other tasks: 2 of refine and 1 of merge"]
    assert explained(tmp_path, "refin")[0].endswith("did you mean 'refine'?")


def test_status_counts_what_has_ended_of_each_group_of_a_graph(run_dir, tmp_path):
    assert status_of(run_dir).groups == {"encode": (3, 3), "refine": (2, 2), "merge": (1, 1)}
    (run_dir / "events.jsonl").write_text("\n".join(map(json.dumps, EVENTS[:6])) + "\n")
    status = status_of(run_dir)
    assert status.groups == {"encode": (1, 2), "refine": (0, 2), "merge": (0, 1)}
    assert any("groups: encode 1 of 2, refine 0 of 2, merge 0 of 1" in str(part)
               for part in status.render().renderables)  # fmt: skip
    (run_dir / "events.jsonl").write_text(json.dumps(ran(1, "a.1")) + "\n")
    assert status_of(run_dir).groups == {}
