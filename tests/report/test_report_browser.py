"""Reports in a real browser: drawn without complaint on phone and desktop, light and dark.

Screenshots are kept in test-artefacts/.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from support.browser import DESKTOP, PHONE
from support.run_directories import made_up

from pilotcut.cli.report import plan_of
from pilotcut.report import plots
from pilotcut.report.page import Page
from pilotcut.report.plot_frame import Reference
from pilotcut.report.plots import Series
from pilotcut.report.read import read_run
from pilotcut.report.run_page import report

pytestmark = pytest.mark.browser

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"

#: Tells of each figure how many of its pixels are painted.
PAINTED = """
[...document.querySelectorAll(".plot")].map((plot) => {
  let count = 0;
  const visit = (node) => {
    if (node.tagName === "CANVAS" && node.width && node.height) {
      const pixels = node.getContext("2d").getImageData(0, 0, node.width, node.height).data;
      for (let k = 3; k < pixels.length; k += 4) count += pixels[k] > 0;
    }
    for (const child of node.shadowRoot?.children ?? []) visit(child);
    for (const child of node.children) visit(child);
  };
  visit(plot);
  return count;
})
"""


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Return the page about two runs, one of them with names that want to be code."""
    folder = tmp_path_factory.mktemp("runs")
    evil = "<img src=https://example.org/x onerror='window.evil = 1'>"
    runs = [
        read_run(made_up(folder / "first", tasks=200)),
        read_run(made_up(folder / "second <script>window.evil = 1<", dataset=evil, seed=1)),
    ]
    return report(runs, plan_of).save(folder / "report.html")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Return a page with one figure of each kind."""
    x = np.arange(1, 30)
    page = Page("Kinds of figures")
    page.section(
        "All", "",
        plots.lines([Series("one", x, 1 / x, 0.8 / x, 1.2 / x), Series("two", x, 2 / x)],
                    "x", "y", references=[Reference(0.5, "half")]),
        plots.bars(["a", "b"], {"g": [1, 2], "h": [2, 1]}, "y", errors={"g": [(0.5, 1.5), (1, 3)]}),
        plots.layers([0, 1, 2], {"g": [1, 2], "h": [2, 1]}, "x", "y"),
        plots.rows(["<b>first", "second"], [0.2, 0.9], "share", percent=True),
        plots.histogram({"g": 1.1**x}, "x", "n", log_x=True),
        plots.points([Series("p", x, x * 1.1)], "x", "y", diagonal=True, log=True),
    )  # fmt: skip
    return page.save(tmp_path_factory.mktemp("kinds") / "kinds.html")


def painted(tab, seconds=20):
    """Return the number of painted pixels of each figure, when all have some."""
    limit = time.monotonic() + seconds
    while not all(counts := tab.eval(PAINTED)) and time.monotonic() < limit:
        time.sleep(0.2)
    return counts


@pytest.mark.parametrize(
    ("device", "dark"), [(PHONE, True), (DESKTOP, False)], ids=["phone dark", "desktop light"]
)
def test_a_report_is_drawn_whole_without_complaint_or_request(chromium, comparison, device, dark):
    tab = chromium.open(comparison, device, dark)
    counts = painted(tab)
    assert len(counts) == tab.eval("Number(document.documentElement.dataset.drawn)") >= 20
    assert min(counts) > 300
    assert tab.complaints == []
    assert tab.eval("window.evil") is None
    assert {url.split(":")[0] for url in tab.requests} <= {"file", "data"}
    assert tab.eval("document.documentElement.scrollWidth") <= device[0]
    for plot in tab.eval(
        "[...document.querySelectorAll('.plot')].map(p => [p.clientWidth, p.scrollWidth])"
    ):
        assert plot[0] > 0.7 * min(device[0], 500)
        assert plot[1] <= plot[0] + 1
    ARTEFACTS.mkdir(exist_ok=True)
    name = f"report-{'phone' if device is PHONE else 'desktop'}-{'dark' if dark else 'light'}.png"
    tab.screenshot(ARTEFACTS / name)
    assert (ARTEFACTS / name).stat().st_size > 50_000
    tab.close()


def test_every_kind_of_figure_is_drawn(chromium, kinds):
    tab = chromium.open(kinds)
    assert min(painted(tab)) > 300
    assert tab.complaints == []
    tab.close()


def test_figures_follow_when_the_system_turns_dark(chromium, kinds):
    def brightness():
        """Return the mean brightness of the labels and lines of the first figure."""
        return tab.eval("""(() => {
          const canvas = (function find(node) {
            if (node.tagName === "CANVAS") return node;
            for (const c of [...(node.shadowRoot?.children ?? []), ...node.children]) {
              const found = find(c);
              if (found) return found;
            }
          })(document.querySelector(".plot"));
          const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let sum = 0, n = 0;
          for (let k = 0; k < data.length; k += 4)
            if (data[k + 3] > 200 && Math.abs(data[k] - data[k + 2]) < 30) { sum += data[k]; n++; }
          return sum / n;
        })()""")

    tab = chromium.open(kinds)
    painted(tab)
    light = brightness()
    ground = tab.eval("getComputedStyle(document.body).backgroundColor")
    tab.set_dark(True)
    limit = time.monotonic() + 10
    while brightness() > light - 40 and time.monotonic() < limit:  # grid lines are most of it
        time.sleep(0.2)
    assert brightness() < light - 40
    assert tab.eval("getComputedStyle(document.body).backgroundColor") != ground
    assert tab.complaints == []
    tab.close()


def test_a_value_is_told_under_the_pointer(chromium, kinds):
    tab = chromium.open(kinds)
    painted(tab)
    x, y, width, height = tab.eval("""(() => {
      const plot = document.querySelectorAll(".plot")[3];
      plot.scrollIntoView({block: "center", behavior: "instant"});
      const box = plot.getBoundingClientRect();
      return [box.x, box.y, box.width, box.height];
    })()""")
    told = ""
    limit = time.monotonic() + 10
    while not told and time.monotonic() < limit:
        for step in range(3):  # over the bar of the first row
            tab.send("Input.dispatchMouseEvent", type="mouseMoved",
                     x=x + 0.14 * width + step, y=y + 0.22 * height)  # fmt: skip
        time.sleep(0.2)
        told = tab.eval("""(() => {
          const shown = [...document.querySelectorAll(".bk-Tooltip")];
          return shown.map((t) => t.shadowRoot.textContent).join(" ");
        })()""")
    assert "<b>first" in told  # as text
    assert "20.0%" in told
    tab.close()


def test_a_click_on_the_legend_hides_a_series(chromium, kinds):
    tab = chromium.open(kinds)
    before = painted(tab)[1]
    tab.eval("document.querySelectorAll('.legend')[1].querySelector('button').click()")
    limit = time.monotonic() + 10
    while painted(tab)[1] > 0.8 * before and time.monotonic() < limit:
        time.sleep(0.1)
    assert painted(tab)[1] < 0.8 * before
    pressed = "document.querySelectorAll('.legend')[1].querySelector('button').ariaPressed"
    assert tab.eval(pressed) == "false"
    tab.close()
