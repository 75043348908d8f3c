"""Pages of a report, and the command that writes them."""

import json
import math
import re

import pytest
from markupsafe import Markup
from support import run_directories
from support.run_directories import Seen, made_up, page_of

from pilotcut import UserError
from pilotcut.report import plot_frame, plots
from pilotcut.report.page import Page, figure, note, svg, table, text
from pilotcut.report.read import read_run

# -- pages -----------------------------------------------------------------------------


def test_a_page_loads_nothing_and_forbids_the_network(page):
    assert Seen(page).loaded == []
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(\s*['\"]?http", page.split("<script>")[0])


def test_every_question_has_its_section(page):
    assert Seen(page).headings == [
        "made-up", "Loss and accuracy", "Where the time went", "Reconstruction share",
        "Pilots and slots", "Worker utilisation", "Stragglers, duplicates and retries",
        "Predictions against measurements", "Fragments and cuts", "Settings and files",
    ]  # fmt: skip


def test_sections_begin_with_an_answer(page):
    page = re.sub("</?b>", "", page)
    assert "The training loss fell from 1.000 to 0.250" in page
    assert "Reconstruction took 10.0% of the query time, median; p95 10.0%" in page
    assert "60 tasks ran on 2 workers" in page
    assert "3 of 60 runs took over 1.5 times the median of their group" in page
    assert "Recorded: 3 duplicates and 2 losses of workers or pilots." in page


def test_devices_are_told_with_what_they_ran_and_what_moved(tmp_path):
    """Two batches on two devices, whose parts of A went to the other when it had ended."""
    path = made_up(tmp_path / "run", batches=0)
    share = {"error": 0.031, "circuits": 10, "shots": 640, "device_s": 1.5}
    devices = [{"fragment": f, "pilot": p, **share} for f, p in (("A", "fine"), ("B", "<small>"))]
    moves = [{"fragment": "A", "part": f"0-{k}", "from": "fine", "to": "<small>"} for k in (0, 1)]
    records = [
        {"kind": "query_batch", "devices": devices, "usage": {"jobs": 2, "shots": 900, "cost": 3}},
        {
            "kind": "query_batch",
            "devices": devices,
            "moved": moves,
            "usage": {"shots": 600, "jobs": 1, "predicted_s": 4.5, "device_s": "odd"},
        },
        {"kind": "query_batch", "devices": [3, {}, {"pilot": "odd", "shots": "many"}], "moved": 5},
    ]
    run_directories.write(path / "trace.jsonl", [run_directories.compiled(), *records])
    run = read_run(path)
    assert {(s.fragment, s.pilot): (s.circuits, s.shots, s.device_s) for s in run.shares} == {
        ("A", "fine"): (20, 1280, 3.0),
        ("B", "<small>"): (20, 1280, 3.0),
        ("?", "?"): (0, 0, 0),
        ("?", "odd"): (0, 0, 0),
    }
    assert [(m.fragment, m.start, m.end, m.parts) for m in run.moved] == [
        ("A", "fine", "<small>", 2)
    ]
    page = re.sub("</?b>", "", page_of(run))
    assert "2,560 shots ran on 4 devices" in page
    assert "were used for 4.5 s (predicted) in 3 jobs of 1,500 shots, cost 3." in page
    assert "2 parts went to another device, for theirs had ended." in page
    assert "3.10%" in page
    assert "<small>" not in page


def test_several_runs_are_compared_under_names_that_differ(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    runs = [read_run(made_up(path, seed=k)) for k, path in enumerate(paths)]
    seen = Seen(page_of(*runs))
    assert seen.headings[:4] == [
        "2 runs", "The runs side by side", "Loss and accuracy, overlaid", "Stages, side by side",
    ]  # fmt: skip
    assert {"a/run", "b/run"} <= set(seen.headings)
    assert seen.headings.count("Pilots and slots") == 2


@pytest.mark.slow
def test_a_hundred_thousand_records_make_a_page_under_5_mb_that_counts_them_all(tmp_path):
    """Half of them batches, half of them tasks."""
    many = 50_000
    run = read_run(made_up(tmp_path / "long", batches=many, tasks=many, epochs=400))
    page = page_of(run)
    assert len(page.encode()) < 5e6
    assert f"{16 * many:,}" in page  # queries
    assert f"<b>{many:,}</b> tasks ran" in page
    assert f"All {many:,} batches." in page
    assert re.search(r"Of 50,000 runs every \d+th is drawn", page)


def test_elements_escape_text_and_keep_markup():
    page = Page("<t>", "<s>")
    page.section("<h>", Markup("<b>bold</b>"), table(["<th>"], [["<td>"], [None], [True]]),
                 text("<p>"), note("<n>"), svg("<?xml?><svg id='drawn'></svg>", "<c>"))  # fmt: skip
    html = page.html()
    for name in ("t", "s", "h", "th", "td", "p", "n", "c"):
        assert f"&lt;{name}&gt;" in html
    assert "<b>bold</b>" in html
    assert "<svg id='drawn'></svg>" in html
    assert "<?xml" not in html


def test_figures_of_no_values_or_odd_ones_are_pages_too():
    page = Page("odd")
    nothing = [None, math.nan]
    page.section(
        "odd", "",
        plots.lines([plots.Series("none", [1, 2], nothing, nothing, nothing)], "x", "y"),
        plots.lines([], "x", "y"),
        plots.bars(["a", "a"], {"g": [None, 1]}, "y", log_y=True, errors={"g": [(0, 1), (1, 2)]}),
        plots.bars([], {}, "y"),
        plots.histogram({"none": nothing}, "x", "y", log_x=True),
        plots.histogram({"same": [3.0, 3.0, 3.0]}, "x", "y"),
        plots.points(
            [plots.Series("i", [math.inf, 1], [1, 2])], "x", "y", diagonal=True, log=True
        ),
        plots.rows([], [], "x"),
        table(["a", "b"], []),
        figure(plot_frame.blank("x", "y")),
    )  # fmt: skip
    assert page.html().count('class="figure"') == 9


def test_numbers_stand_to_the_right_and_lists_of_them_do_not():
    found = table(["n", "time", "widths"], [[1, "3.2 s", "2, 1"], [20, "1 min 5 s", "4"]]).content
    assert found["numeric"] == [True, True, False]


# -- the command -----------------------------------------------------------------------


def test_the_command_writes_page_and_trace(call, tmp_path):
    path = made_up(tmp_path / "run")
    out, trace = tmp_path / "report.html", tmp_path / "trace.json"
    code, said, _ = call("report", path, "--out", out, "--chrome-trace", trace)
    assert code == 0
    assert str(out) in said
    assert "</html>" in out.read_text()
    events = json.loads(trace.read_text())
    assert isinstance(events, list)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "run", "trace.json"]


def test_mistakes_are_one_line_each_and_nothing_is_written(call, tmp_path):
    run, empty, out = made_up(tmp_path / "run"), tmp_path / "empty", tmp_path / "r.html"
    empty.mkdir()
    mistakes = {
        ("report", empty, "--out", out): "holds none of config.yaml",
        ("report", tmp_path / "nowhere", "--out", out): "does not exist",
        ("report", run / "config.yaml", "--out", out): "is a file",
        ("report", run, "--out", tmp_path / "no" / "r.html"): "a directory that exists",
        ("report", run, "--out", empty): "cannot be written (Is a directory)",
        ("report", run, run, "--out", out, "--chrome-trace", tmp_path / "t"): "expected one",
        ("report", run, "--out", out, "--chrome-trace", out): "expected two files",
    }
    for command, expected in mistakes.items():
        code, said, error = call(*command)
        assert (code, said) == (2, "")
        assert error.count("\n") == 1
        assert expected in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "run"]


def test_a_page_that_cannot_be_written_is_the_users_fault(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        Page("t").save(tmp_path / "no" / "page.html")
