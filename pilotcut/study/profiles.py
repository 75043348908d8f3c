"""Profiles of a study: measured in minutes on two cores, or as a paper would have it."""

from __future__ import annotations

from dataclasses import dataclass

from pilotcut.errors import UserError
from pilotcut.options import choice_fault


@dataclass(frozen=True)
class Profile:
    """Settings of all questions; every question takes its own part.

    Attributes
    ----------
    datasets, cuts, qubits, shots, batch_size
        What all of them train: a data set on so many qubits, cut so often.
    data_dir
        Where MNIST lies, if that is one of the data sets.
    seeds
        Of the learning curves (RQ4, RQ5).
    samples, epochs
        Of the learning curves: samples before the split, and passes over them.
    timed_seeds, timed_samples, timed_epochs, timed_exact_epochs
        Of the training times (RQ1), all in turn, so that a drift of the machine meets all cuts.
    rounds, batches
        Of the stage timings (RQ2): rounds over all conditions, batches of queries in each.
    probabilities, delay_s, straggler_rounds, straggler_batches
        Of the stragglers (RQ3).
    noise, attacks, draws
        Standard deviations of Gaussian noise and magnitudes of FGSM, both as shares of the
        features' range, and draws of noise a sample (RQ5).
    extended_samples, extended_epochs, extended_seeds, extended_reps, extended_qubits,
    extended_batches
        Of what the paper leaves open (RQ4).
    fleet_datasets, fleet_models, fleet_seeds, fleet_epochs, fleet_shots, fleet_rates
        Of the trainings on a fleet: shots of every circuit, and learning rates of which each
        strategy is shown with its best.
    fleet_inference_shots, fleet_draws
        Of the inference on a fleet: numbers of shots of every sample, and repetitions.
    """

    name: str
    datasets: tuple[str, ...] = ("iris", "digits")
    cuts: tuple[int, ...] = (0, 1, 2, 3)
    qubits: int = 4
    shots: int = 1024
    batch_size: int = 16
    data_dir: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 100
    epochs: int = 10
    timed_seeds: tuple[int, ...] = (0,)
    timed_samples: int = 60
    timed_epochs: int = 2
    timed_exact_epochs: int = 10
    rounds: int = 5
    batches: int = 4
    probabilities: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    delay_s: float = 0.1
    straggler_rounds: int = 8
    straggler_batches: int = 8
    noise: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3)
    attacks: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3)
    draws: int = 3
    extended_samples: int = 100
    extended_epochs: int = 6
    extended_seeds: tuple[int, ...] = (0,)
    extended_reps: tuple[int, ...] = (1, 2, 4)
    extended_qubits: tuple[int, ...] = (6, 8, 12)
    extended_batches: tuple[int, ...] = (8, 32)
    fleet_datasets: tuple[str, ...] = ("iris",)
    fleet_models: tuple[str, ...] = ("crx",)
    fleet_seeds: tuple[int, ...] = (0, 1)
    fleet_epochs: int = 12
    fleet_shots: int = 1024
    fleet_rates: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    fleet_inference_shots: tuple[int, ...] = (4, 16, 64, 256)
    fleet_draws: int = 50


QUICK = Profile("quick")

FULL = Profile(
    "full",
    seeds=(0, 1, 2, 3, 4),
    samples=400,
    epochs=20,
    timed_seeds=(0, 1, 2, 3, 4),
    timed_samples=200,
    timed_epochs=5,
    timed_exact_epochs=20,
    rounds=9,
    batches=10,
    straggler_rounds=20,
    straggler_batches=16,
    draws=10,
    extended_samples=400,
    extended_epochs=20,
    extended_seeds=(0, 1, 2, 3, 4),
    extended_reps=(1, 2, 3, 4),
    extended_batches=(4, 8, 32, 64),
    fleet_datasets=("iris", "wine"),
    fleet_models=("crz", "crx"),
    fleet_seeds=(0, 1, 2, 3, 4),
    fleet_epochs=16,
)

PROFILES = {profile.name: profile for profile in (QUICK, FULL)}


def profile_of(name: str) -> Profile:
    """Return the profile of a name.

    Raises
    ------
    UserError
        If there is none.
    """
    if name in PROFILES:
        return PROFILES[name]
    raise UserError(choice_fault("profile", name, tuple(PROFILES)))
