"""Pictures of docs/motifs.md, from the run directories of motifs.

    pilotcut motif NAME --out RUNS/NAME      for each
    python benchmarks/motif_pictures.py RUNS [--out docs/motifs]

Each picture has a ground of its own and two sets of colours, of which the reader's system chooses.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pilotcut.options import counted
from pilotcut.report.read import read_run
from pilotcut.study.motifs.answer import MOTIFS

#: Colours by name: what matplotlib is given, and what stands for it where it is light and dark.
COLOURS = {
    "paper": ("#fefefd", "#ffffff", "#0d1117"),
    "ink": ("#010203", "#24292f", "#d0d7de"),
    "grid": ("#d1d2d3", "#d8dee4", "#30363d"),
    "blue": ("#0172b3", "#0072b2", "#58a6e8"),
    "orange": ("#d55f01", "#c65300", "#f0883e"),
    "green": ("#019e74", "#00805e", "#3fb68b"),
    "violet": ("#8251e0", "#8250df", "#bc8cff"),
}
PAPER, INK, GRID, BLUE, ORANGE, GREEN, VIOLET = (given for given, _, _ in COLOURS.values())


def main() -> None:
    """Draw what there are runs of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/motifs"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in MOTIFS:
        found = options.runs / name / "motif.json"
        if name not in DRAWN or not found.exists():
            print(f"{name}: {'no run' if name in DRAWN else 'no picture'}")
            continue
        place = options.out / f"{name}.svg"
        outcome = json.loads(found.read_text("utf-8"))
        if "measures" not in outcome:
            print(f"{name}: no answer yet")
            continue
        place.write_text(picture(DRAWN[name], outcome, found.parent), "utf-8")
        print(f"{place}: {place.stat().st_size / 1024:.0f} KiB")


Drawing = Callable[[Figure, dict[str, Any], Path], None]


def picture(draw: Drawing, outcome: dict[str, Any], run: Path) -> str:
    """Return the text of a drawing as SVG that is light or dark as its reader's system."""
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "motifs",  # names of clips: the same picture is the same file
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.facecolor": PAPER,
        "axes.edgecolor": GRID,
        "axes.labelcolor": INK,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.5,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(6.4, 2.9), layout="constrained", facecolor=PAPER)
        FigureCanvasSVG(figure)
        draw(figure, outcome["measures"], run)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return themed(text.getvalue())


def themed(text: str) -> str:
    """Return SVG with colours by name, and what each is in light and dark."""
    for name, (given, _, _) in COLOURS.items():
        text = text.replace(given, f"var(--{name})")
    light, dark = (
        " ".join(f"--{name}: {colours[k]};" for name, colours in COLOURS.items()) for k in (1, 2)
    )
    style = (
        f"<style>:root {{ {light} }} "
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}</style>"
    )
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    return re.sub(r"(<svg [^>]*>)", rf"\1\n {style}", text, count=1)


# -- drawings --------------------------------------------------------------------------


def circuits(figure: Figure, measures: dict[str, Any], run: Path) -> None:
    """Draw which slot ran which bundle when, dear ones first."""
    axes = figure.subplots()
    timeline(axes, run, {"circuits": BLUE})
    axes.set_title(f"{measures['circuits']:,} circuits in {measures['tasks']} bundles", loc="left")


def statevector(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw seconds and memory by ranks."""
    ranks = [one["ranks"] for one in measures["ranks"]]
    names = [str(n) for n in ranks]
    time, memory = figure.subplots(1, 2)
    time.bar(names, [one["seconds"] for one in measures["ranks"]], 0.5, color=BLUE)
    time.set(xlabel="ranks", ylabel="s", title="value and adjoint gradient")
    held = [one["amplitudes"] * 16 / 2**20 for one in measures["ranks"]]
    memory.bar(names, held, 0.5, color=GREEN)
    memory.set(xlabel="ranks", ylabel="MiB", title="one state, a rank's part")
    upright(time, memory)


def cutting(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw seconds by cuts for each number of workers, as measured and predicted, and errors."""
    found = measures["cuts"]
    time, error = figure.subplots(1, 2)
    counts = sorted({one["workers"] for one in found})
    for workers, colour in zip(counts, (BLUE, GREEN, VIOLET, INK), strict=False):
        some = [one for one in found if one["workers"] == workers]
        cuts = [one["cuts"] for one in some]
        label = counted(workers, "worker")
        time.plot(cuts, [one["seconds"] for one in some], "o-", color=colour, label=label)
        if all(one["predicted_s"] is not None for one in some):
            time.plot(cuts, [one["predicted_s"] for one in some], "--", color=colour)
    time.set(xlabel="cuts", ylabel="s", title="one batch (dashed: predicted)", ylim=(0, None))
    time.legend()
    last = [one for one in found if one["workers"] == found[-1]["workers"]]
    names = [str(one["cuts"]) for one in last]
    error.bar(names, [one["std"] for one in last], 0.5, color=ORANGE)
    error.set(xlabel="cuts", title="standard error, shots of a circuit alike")
    upright(time, error)


def mitigation(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw how far off each value is, by what was done about it."""
    axes = figure.subplots()
    exact = np.array(measures["exact"])
    for way, name, colour in (
        ("plain", "as read", ORANGE),
        ("read", "readout mitigated", BLUE),
        ("line", "extrapolated too", GREEN),
    ):
        off = np.array(measures[way]) - exact
        bars = measures["bars"] if way == "line" else None
        axes.errorbar(
            exact, off, bars, fmt="o", markersize=3, linewidth=0.8, color=colour, label=name
        )
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="value without noise", ylabel="off by")
    axes.legend(loc="lower left")


def pipeline(figure: Figure, measures: dict[str, Any], run: Path) -> None:
    """Draw some images as they are and as they are prepared, and the stages on their pilots."""
    left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
    left.set_facecolor(PAPER)
    right.set_facecolor(PAPER)
    rows = left.subplots(3, 4)
    for row, states, name in zip(
        rows, measures["shown"], ("image", "swept", "refined"), strict=True
    ):
        for axes, state in zip(row, states, strict=False):
            axes.imshow(image_of(np.array(state)), cmap="gray", vmin=0)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(name)
    timeline(
        right.subplots(),
        run,
        {"encode": BLUE, "refine": GREEN, "measure": ORANGE, "learn": VIOLET},
    )


def variational(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw energies above the ground state, by evaluation."""
    axes = figure.subplots()
    for how, colour, style in (("uncut", ORANGE, "-"), ("cut", BLUE, "--")):
        axes.semilogy(measures["above"][how], style, color=colour, label=how)
    axes.axhline(1.6e-3, color=INK, linewidth=0.8)
    axes.text(0, 1.8e-3, "chemical accuracy")
    axes.set(xlabel="evaluation", ylabel="hartree above the ground state")
    axes.legend()


def curve(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw the curve, and how many circuits it took."""
    energy, count = figure.subplots(1, 2, width_ratios=(3, 2))
    energy.plot(*np.transpose(measures["exact"]), color=ORANGE, label="exact")
    energy.plot(measures["distances"], measures["energies"], "o", color=BLUE, label="found")
    energy.set(xlabel="distance in angstrom", ylabel="hartree")
    energy.legend()
    numbers = [measures["shared"], measures["alone"]]
    bars = count.bar(["shared", "each alone"], numbers, 0.5, color=[BLUE, ORANGE])
    count.bar_label(bars)
    count.set(title="circuits to chemical accuracy")
    upright(count)


def ensemble(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw the loss by epochs, and how many gradients of each device moved the model."""
    loss, counts = figure.subplots(1, 2, width_ratios=(3, 2))
    loss.plot(measures["losses"], "o-", markersize=3, color=BLUE)
    loss.set(xlabel="epoch", ylabel="training loss")
    names = [str(k + 1) for k in range(len(measures["gradients"]))]
    counts.bar(names, measures["gradients"], 0.6, color=GREEN)
    counts.set(xlabel="device", title="gradients that moved the model")
    upright(counts)


def generative(figure: Figure, measures: dict[str, Any], _: Path) -> None:
    """Draw the mean energy of each generation, the best circuit, and the best random one."""
    axes = figure.subplots()
    axes.plot(measures["means"], color=BLUE, label="mean of a generation")
    axes.axhline(measures["best"], color=GREEN, label="the model's best")
    axes.axhline(measures["random"], color=ORANGE, linestyle="--", label="best random one")
    axes.set(xlabel="generation", ylabel="hartree")
    axes.legend()


DRAWN: dict[str, Drawing] = {
    "circuits": circuits,
    "statevector": statevector,
    "cutting": cutting,
    "mitigation": mitigation,
    "pipeline": pipeline,
    "variational": variational,
    "curve": curve,
    "ensemble": ensemble,
    "generative": generative,
}


# -- what several need -----------------------------------------------------------------


def upright(*some: Axes) -> None:
    """Leave grids of bars their horizontal lines alone."""
    for axes in some:
        axes.grid(visible=False, axis="x")


def timeline(axes: Axes, run: Path, colours: dict[str, str]) -> None:
    """Draw runs of tasks by worker and time, coloured by group."""
    record = read_run(run)
    assert record.tasks is not None
    runs = record.tasks.runs
    lanes = list(dict.fromkeys(sorted(runs.worker)))
    began = runs.started.min()
    groups = [name.rpartition(".")[0] for name in runs.name]
    for group, colour in colours.items():
        for lane, worker in enumerate(lanes):
            some = [
                (start - began, end - start)
                for start, end, where, of in zip(
                    runs.started, runs.finished, runs.worker, groups, strict=True
                )
                if where == worker and of == group
            ]
            axes.broken_barh(
                some, (lane - 0.4, 0.8), facecolor=colour, edgecolor=PAPER, linewidth=0.3,
                label=group if lane == 0 else None,
            )  # fmt: skip
    axes.set_yticks(range(len(lanes)), lanes)
    axes.invert_yaxis()
    axes.set(xlabel="s")
    axes.grid(visible=False)
    if len(colours) > 1:
        axes.legend(loc="lower left")


def image_of(state: np.ndarray) -> np.ndarray:
    """Return the pixels of a state, whose bits of row and column take turns."""
    bits = state.size.bit_length() - 1
    split = state.reshape([2] * bits) * np.sign(state.sum())
    order = [*range(0, bits, 2), *range(1, bits, 2)]
    return np.asarray(split.transpose(order).reshape(2 ** (bits // 2), -1))


if __name__ == "__main__":
    main()
