"""Table I of ArbiterQ (DAC 2025) under several readings of what the paper leaves open.

Prints the tables of docs/arbiterq.md: medians over five seeds. Losses of every epoch go to a file
as they come, so that an interrupted run goes on.

python benchmarks/arbiterq.py --out DIR [--tasks iris,wine,digits] [--errors coherent] [--print]
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from dataclasses import asdict
from pathlib import Path

from pilotcut.fleet.fleet import load_fleet
from pilotcut.study import arbiterq, tables
from pilotcut.study.fleet import ERRORS, described

#: Data set, rate, epochs and variants, in the order in which they are trained; the first rate of a
#: data set is the one shown. On Iris single then takes as many epochs as in the paper. The others
#: would take up to 200 there; with a larger rate they take fewer.
PLAN = (
    ("iris", 0.2, 60, tuple(arbiterq.VARIANTS)),
    ("wine", 0.2, 45, tuple(arbiterq.VARIANTS)),
    ("digits", 0.3, 12, tuple(arbiterq.VARIANTS)),
    ("iris", 1.0, 60, arbiterq.FEW),
)

FLEET = Path(__file__).parent.parent / "pilot_descriptions" / "qpu_fleet.yaml"


def main() -> None:
    """Train what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where losses are kept")
    parser.add_argument("--fleet", type=Path, default=FLEET)
    parser.add_argument("--tasks", default="iris,wine,digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--errors", choices=tuple(ERRORS), default="incoherent")
    parser.add_argument("--print", action="store_true", help="only print what is there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / f"{options.errors}.jsonl"
    if not options.print:
        train(options, kept)
    show(options, kept)


def train(options: argparse.Namespace, kept: Path) -> None:
    """Train what is not there yet."""
    known = {key(line) for line in lines(kept)}
    fleet = described(load_fleet(options.fleet), ERRORS[options.errors])
    todo = [
        training
        for dataset, rate, epochs, variants in PLAN
        if dataset in options.tasks.split(",")
        for training in arbiterq.trainings(dataset, rate, range(options.seeds), epochs, variants)
    ]
    with kept.open("a", encoding="utf-8") as file:
        for training in todo:
            about = asdict(training)
            if key(about) in known:
                continue
            began = time.process_time()
            curves = training.curves(fleet)
            seconds = round(time.process_time() - began, 2)
            file.write(json.dumps(about | curves | {"seconds": seconds}) + "\n")
            file.flush()


def lines(kept: Path) -> list[dict]:
    """Return what is there."""
    return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def key(line: dict) -> tuple:
    """Return what tells trainings apart."""
    return tuple(line[name] for name in ("dataset", "model", "variant", "rate", "seed"))


def show(options: argparse.Namespace, kept: Path) -> None:
    """Print the tables."""
    curves: dict[tuple, list[list[float]]] = {}
    for line in lines(kept):
        curves.setdefault(key(line)[:4], []).append(line["test"])
    rates = {dataset: rate for dataset, rate, *_ in reversed(PLAN)}
    seconds = sum(line["seconds"] for line in lines(kept))
    print(
        f"{datetime.date.today()}, {options.errors} errors, {len(lines(kept))} trainings, "
        f"{seconds / 60:.0f} min of a core\n"
    )
    for table in (
        arbiterq.readings_table(curves, rates),
        arbiterq.steps_table(curves, rates),
        arbiterq.rates_table(curves),
    ):
        print(tables.markdown(table), "\n")


if __name__ == "__main__":
    main()
