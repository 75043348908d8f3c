"""Test accuracy at 0, 1, 2 and 3 cuts: same data, seed and budget, on local workers.

python benchmarks/learning.py [--dataset iris] [--epochs 10] [--seeds 0 7]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from scaleout import local

from pilotcut import TaskManager
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory


def main() -> None:
    """Print a line for every seed and number of cuts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="iris")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 7])
    options = parser.parse_args()
    print("seed cuts  accuracy  test samples  loss   seconds  reconstruct")
    with (
        local(2) as pilots,
        TaskManager(pilots) as tasks,
        tempfile.TemporaryDirectory() as place,
    ):
        for seed in options.seeds:
            for cuts in range(4):
                config = TrainingConfig(
                    options.dataset, cuts=cuts, epochs=options.epochs, seed=seed
                )
                trainer = TrainingRun(config, RunDirectory(Path(place) / f"{seed}-{cuts}"), tasks)
                end = trainer.train()
                share = end["stage_seconds"]["reconstruct"] / sum(end["stage_seconds"].values())
                print(
                    f"{seed:4} {cuts:4}  {end['accuracy']:8.1%}  {len(trainer.data.y_test):12}  "
                    f"{end['loss']:.3f}  {end['seconds']:7.1f}  {share:10.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
