"""Large models: a damped state vector in the place of exact noise, and features from files."""

import numpy as np
import pytest
from support.fleets import NUMBERS, config, described, qpu
from support.fleets import jobs as small

from pilotcut.errors import DataError, UserError
from pilotcut.fleet.device_jobs import Job, gradient
from pilotcut.fleet.fleet import jobs_of, load_fleet
from pilotcut.fleet.run import dataset_of, trainer_of
from pilotcut.pilots.description.qpu import QpuDescription


def both(description, model="crx", qubits=4, layers=1):
    """Return the exact and the damped gradients at random weights and samples, without shots."""
    rng = np.random.default_rng(1)
    found = []
    for engine in ("law", "damped"):
        job = Job("q", description, model, qubits, engine, layers)
        weights = np.random.default_rng(2).uniform(0, 6, len(job.prepared.model.weights))
        samples = np.random.default_rng(3).uniform(0, 3, (5, qubits))
        found.append(gradient(job, weights, samples, np.ones(5), 0, int(rng.integers(9))))
    return found


@pytest.mark.parametrize("model", ["crz", "crx", "crz-all"])
def test_without_random_errors_it_is_exact(model):
    turning = qpu(4, 0.001, 0.02, 0.03, coherent_1q=1.0, coherent_2q=-1.0)
    exact, damped = both(turning, model, layers=2 if model == "crx" else 1)
    np.testing.assert_allclose(damped.values, exact.values, atol=1e-7)
    np.testing.assert_allclose(damped.gradient, exact.gradient, atol=1e-7)


def test_with_random_errors_it_is_near():
    exact, damped = both(QpuDescription(qubits=4, topology="ring", **NUMBERS))
    assert np.abs(damped.values - exact.values).max() < 0.12
    along = exact.gradient @ damped.gradient
    assert along > 0.97 * np.linalg.norm(exact.gradient) * np.linalg.norm(damped.gradient)


def test_its_gradients_by_shots_scatter_about_the_slope():
    (job, *_) = small("damped")
    weights, samples = np.linspace(0, 5, 8), np.array([[1.0, 2.0], [0.5, 0.1]])
    right = gradient(job, weights, samples, np.ones(2), 0, 0).gradient
    drawn = [gradient(job, weights, samples, np.ones(2), 500, k).gradient for k in range(200)]
    error = np.std(drawn, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(drawn, axis=0) - right) < 4.5 * error).all()


def features(path, **more):
    """Write a made sample: 108 features, of which some tell two classes apart."""
    rng = np.random.default_rng(4)
    labels = np.repeat(["wave", "jump"], 20)
    found = rng.normal(size=(40, 108)) + 2.0 * np.outer(labels == "jump", rng.normal(size=108))
    np.savez(path, **{"features": found, "labels": labels} | more)
    return str(path)


def test_ten_qubits_and_two_hundred_weights_learn_features_from_a_file(tmp_path):
    wide = {"qubits": 10, "topology": "ring", "infidelity_1q": 1e-5, "infidelity_2q": 1e-4}
    wide |= {"t1_us": 5000.0, "t2_us": 5000.0}
    path = described(tmp_path / "fleet.yaml", gamma=wide)
    settings = config(
        "arbiterq",
        dataset=features(tmp_path / "made.npz"),
        qubits=10,
        layers=5,
        engine="damped",
        epochs=2,
        learning_rate=5.0,
        batch_size=16,
        max_samples=20,
        shots=0,
    )
    of = jobs_of(load_fleet(path)[2:], settings.model, 10, "damped", layers=5)
    assert len(of[0].prepared.model.weights) == 200
    epochs = list(trainer_of(settings, of, dataset_of(settings)).run())
    assert epochs[-1].loss < epochs[0].loss - 0.03, [epoch.loss for epoch in epochs]


def test_files_that_hold_no_features_are_one_line(tmp_path):
    cases = {
        "does not exist": "there-is-none.npz",
        "labels a, b, c": features(tmp_path / "a.npz", labels=np.array(["a", "b", "c", "a"] * 10)),
        "and labels": features(tmp_path / "b.npz", labels=np.zeros(3)),
        "not finite": features(tmp_path / "c.npz", features=np.full((40, 12), np.nan)),
        "cannot be read": str(tmp_path / "d.npz"),
    }
    (tmp_path / "d.npz").write_bytes(b"no archive")
    for fault, path in cases.items():
        with pytest.raises(DataError, match=fault):
            dataset_of(config("single", dataset=path, qubits=10))
    with pytest.raises(UserError, match=r"dataset is 'irys', expected .* or a file \*\.npz"):
        config("single", dataset="irys")
