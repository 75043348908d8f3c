"""Accuracy that a drifting fleet loses, with upkeep and without, beside one that stands still.

Ten devices of qpu_fleet.yaml, arbiterq, five seeds. Accuracy lost: mean test accuracy over the
epochs of service and all devices, less than that of the same run without drift. What upkeep trains
is further training too: a fleet without drift that trained as much longer stands beside it.

python benchmarks/drift.py [--datasets iris,wine] [--drifts 0.5,1,2] [--seeds 5]
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import numpy as np

from pilotcut.backends.qpu_target import device_of
from pilotcut.fleet.config import UPKEEP, FleetConfig
from pilotcut.fleet.drift import Drift
from pilotcut.fleet.fleet import jobs_of, load_fleet
from pilotcut.fleet.run import dataset_of, trainer_of
from pilotcut.study import tables
from pilotcut.study.arbiterq import spread
from pilotcut.study.findings import Table

FLEET = Path(__file__).parent.parent / "pilot_descriptions" / "qpu_fleet.yaml"

#: Epochs of training and of service, and between calibrations.
EPOCHS, SERVICE, EVERY = 10, 12, 3

#: Epochs of a fleet without drift whose training took as many gradients as upkeep has in all.
LONGER = 14

#: Accuracy lost of which a share is worth telling.
LEAST = 0.005


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default="iris,wine")
    parser.add_argument("--drifts", default="0.5,1,2")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    began, rows = time.process_time(), []
    for dataset in options.datasets.split(","):
        still, longer = (
            [outcome(dataset, 0.0, "ignore", seed, epochs) for seed in range(options.seeds)]
            for epochs in (EPOCHS, LONGER)
        )
        rows += rows_of(dataset, 0.0, still, {"none": still, f"{LONGER} epochs": longer})
        for drift in map(float, options.drifts.split(",")):
            found = {
                upkeep: [outcome(dataset, drift, upkeep, seed) for seed in range(options.seeds)]
                for upkeep in UPKEEP
            }
            rows += rows_of(dataset, drift, still, found)
            print(rows[-len(UPKEEP) :], flush=True)
    columns = ["data set", "drift", "turn, rad", "upkeep", "accuracy", "lost", "of ignored"]
    columns += ["loss", "gradients"]
    formats = {"lost": ".3f", "of ignored": ".0%", "turn, rad": ".2f", "drift": "g"}
    formats |= {"gradients": ".0%"}
    print(f"{datetime.date.today()}, {time.process_time() - began:.0f} s of a core\n")
    print(tables.markdown(Table("drift", "Drift", columns, rows, formats)))


def outcome(
    dataset: str, drift: float, upkeep: str, seed: int, epochs: int = EPOCHS
) -> dict[str, float]:
    """Return what a run came to in its service."""
    config = FleetConfig.of(
        {
            "fleet": "",
            "dataset": dataset,
            "seed": seed,
            "epochs": epochs,
            "service": SERVICE,
            "learning_rate": 3.0,
            "drift": drift,
            "calibrate_every": EVERY,
            "upkeep": upkeep,
        }
    )
    jobs = jobs_of(load_fleet(FLEET), config.model, config.qubits, config.engine)
    records = list(trainer_of(config, jobs, dataset_of(config)).run())
    served, trained = records[-SERVICE:], records[epochs].circuits
    last = [Drift(drift, EVERY, seed).job(job, k, config.last).qpu for k, job in enumerate(jobs)]
    turns = [device_of("any", qpu).gate_noise("cz", (0, 1)).turn for qpu in last]
    return {
        "accuracy": float(np.mean([epoch.accuracy for epoch in served])),
        "loss": float(np.mean([epoch.test_loss for epoch in served])),
        "gradients": records[-1].circuits / trained - 1.0,
        "turn": float(np.mean(np.abs(turns))),
    }


def rows_of(
    dataset: str,
    drift: float,
    still: list[dict[str, float]],
    found: dict[str, list[dict[str, float]]],
) -> list[list]:
    """Return a row for each kind of upkeep; lost is a mean over seeds."""

    def lost(runs: list[dict[str, float]]) -> float:
        pairs = zip(still, runs, strict=True)
        return float(np.mean([one["accuracy"] - other["accuracy"] for one, other in pairs]))

    ignored = lost(found["ignore"]) if "ignore" in found else 0.0
    return [
        [
            dataset,
            drift,
            float(np.mean([one["turn"] for one in runs])),
            upkeep,
            spread([one["accuracy"] for one in runs], ".3f"),
            lost(runs),
            lost(runs) / ignored if ignored > LEAST else None,
            spread([one["loss"] for one in runs], ".3f"),
            float(np.mean([one["gradients"] for one in runs])),
        ]
        for upkeep, runs in found.items()
    ]


if __name__ == "__main__":
    main()
