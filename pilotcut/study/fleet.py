"""Fleet question: strategies of training, schedules of inference, as in ArbiterQ's tables I and IV.

Every strategy has the same data, start, seeds and circuits. How fast one is depends on its step
size more than on anything else, so each is trained with several and shown with its best; the same
numbers at one step size for all, and with epochs counted as EQC counts them, stand beside.
Gate errors come in two kinds: the paper says how large they are and not of what kind, so the
table has both ends, all incoherent and all coherent (see `QpuDescription.coherent_1q`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.errors import UserError
from pilotcut.fleet import device_jobs
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job, mean_loss
from pilotcut.fleet.engines import drawn
from pilotcut.fleet.inference_run import TrainedFleet
from pilotcut.fleet.run import dataset_of, trainer_of
from pilotcut.fleet.submission import Done, Submit
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.study.cells import Cell, save_result
from pilotcut.study.profiles import Profile

NAME, TITLE = "fleet", "Fleet: does a model for every device pay off?"

#: How a strategy is run: its name, and what is not as by default. The first five are table I.
VARIANTS: dict[str, dict[str, Any]] = {
    "single": {"strategy": "single"},
    "all-sharing": {"strategy": "all-sharing"},
    "eqc": {"strategy": "eqc"},
    "local-steps": {"strategy": "local-steps"},
    "arbiterq": {"strategy": "arbiterq"},
    "arbiterq, sum": {"strategy": "arbiterq", "combine": "sum"},
    "eqc, dealt": {"strategy": "eqc", "dealt": True},
}
TABLE_I = tuple(VARIANTS)[:5]

#: Gate errors: shares of the infidelity that are coherent. Both ends, as they decide what a model
#: for every device can gain: random errors leave the best angles where they are (arXiv:1908.04416),
#: and weights of other devices cost 0.01 to 0.08 % more loss in the mean; with errors that are
#: always the same it is 10 to 17 % (docs/fleet.md).
ERRORS = {"incoherent": 0.0, "coherent": 1.0}


def cells(profile: Profile, fleet: Sequence[PilotDescription]) -> list[Cell]:
    """Return a cell for every training; that of arbiterq has the inference too."""
    return [
        Cell(
            NAME,
            f"{dataset}-{model}-{errors}-{variant.replace(', ', '-')}-seed{seed}",
            {
                "dataset": dataset,
                "model": model,
                "errors": errors,
                "variant": variant,
                "seed": seed,
                "rates": list(profile.fleet_rates),
                "epochs": profile.fleet_epochs,
                "shots": profile.fleet_shots,
                "inference_shots": list(profile.fleet_inference_shots),
                "draws": profile.fleet_draws,
                "fleet": described(fleet, ERRORS[errors]),
            },
        )
        for dataset in profile.fleet_datasets
        for model in profile.fleet_models
        for errors in ERRORS
        for seed in profile.fleet_seeds
        for variant in VARIANTS
    ]


def described(fleet: Sequence[PilotDescription], coherent: float) -> dict[str, Any]:
    """Return the QPUs as they stand in a file, each turning too far or not far enough."""
    described = {}
    for k, pilot in enumerate(fleet):
        assert pilot.backend.qpu is not None
        qpu = pilot.backend.qpu
        if qpu.sampler or qpu.runtime or qpu.vendor or qpu.python:
            raise UserError(
                f"pilot '{pilot.name}' has a sampler of its own, expected devices that are "
                "simulated in a study of fleets; describe it by like: or numbers"
            )
        said = qpu.model_dump(mode="json", exclude_unset=True)
        if coherent and qpu.like is None:
            signs = np.random.default_rng(k).choice([-1.0, 1.0], 2)
            said |= {"coherent_1q": coherent * signs[0], "coherent_2q": coherent * signs[1]}
        described[pilot.name] = said
    return described


def measure(cell: Cell, run_dir: Path, place: Path) -> None:
    """Train at every rate, infer where the cell has that too, and write the result."""
    save_result(place, cell, evaluate(cell))


def evaluate(cell: Cell) -> dict[str, Any]:
    """Return losses by epoch, one list for each rate, and losses of inference."""
    settings = cell.settings
    jobs, config = jobs_of(cell)
    data = dataset_of(config)
    found: dict[str, Any] = {"train": [], "test": [], "accuracy": [], "modelled_s": []}
    # Several, since a strategy's speed is first of all its step size: EQC takes a step for every
    # device's gradient where the others take one for all.
    for rate in settings["rates"]:
        trainer = trainer_of(replace(config, learning_rate=rate), jobs, data)
        epochs = list(trainer.run())
        found["train"].append([e.loss for e in epochs])
        found["test"].append([e.test_loss for e in epochs])
        found["accuracy"].append([e.accuracy for e in epochs])
        found["modelled_s"].append([e.modelled_s for e in epochs])
        found["circuits"] = epochs[-1].circuits
        if settings["variant"] == "arbiterq":
            found.setdefault("inference", []).append(_inference(settings, jobs, trainer, data))
    return found


def jobs_of(cell: Cell) -> tuple[list[Job], FleetConfig]:
    """Return the devices' work, and the settings of the training."""
    settings = cell.settings
    config = FleetConfig.of(
        {
            "fleet": "",
            **{name: settings[name] for name in ("dataset", "model", "seed", "epochs", "shots")},
            **VARIANTS[settings["variant"]],
        }
    )
    fleet = settings["fleet"].items()
    return [Job(n, QpuDescription(**q), config.model, config.qubits) for n, q in fleet], config


def _inference(settings: Mapping[str, Any], jobs: Any, trainer: Any, data: Any) -> dict[str, Any]:
    """Return mean losses over the test samples, and modelled seconds, over several draws."""
    weights = np.stack([trainer.strategy.weights_of(k) for k in range(len(jobs))])
    fleet = TrainedFleet(jobs, weights, drawing(jobs, weights, data.x_test))
    found: dict[str, dict[str, list[float]]] = {}
    for shots in settings["inference_shots"]:
        of_shots = found.setdefault(str(shots), {})
        for draw in range(settings["draws"]):
            root = np.random.SeedSequence([settings["seed"], shots, draw])
            seed, order = int(root.generate_state(1)[0]), np.random.default_rng(root)
            # Batches in another order each time: which samples meet which device is chance.
            rows = order.permutation(len(data.x_test))
            samples, labels = data.x_test[rows], data.y_test[rows]
            batch = fleet.batch_based(samples, shots, seed)
            same = fleet.shot_oriented(samples, shots, seed)
            filled = fleet.shot_oriented(samples, shots, seed, makespan_s=batch.makespan_s)
            for name, one in {"batch": batch, "same shots": same, "same time": filled}.items():
                of_shots.setdefault(name, []).append(mean_loss(one.values, labels))
                of_shots.setdefault(f"{name}, s", []).append(one.makespan_s)
    return {
        shots: {name: float(np.mean(values)) for name, values in ways.items()}
        for shots, ways in found.items()
    }


def drawing(jobs: Sequence[Job], weights: np.ndarray, samples: np.ndarray) -> Submit:
    """Return what draws inferences from expectations that are computed once a device."""
    known = {
        job.device: dict(
            zip(
                map(np.ndarray.tobytes, samples),
                device_jobs.values(job, w, samples, 0, 0),
                strict=True,
            )
        )
        for job, w in zip(jobs, weights, strict=True)
    }

    def submit(device: str, fn: Any, job: Job, own: Any, rows: Any, shots: Any, seed: int) -> Done:
        exact = np.array([known[device][row.tobytes()] for row in rows])
        return Done(drawn(exact, shots, seed))

    return submit
