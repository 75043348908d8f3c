"""The published model that benchmarks compare ours with is what its paper says."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

_FILE = Path(__file__).parents[2] / "benchmarks" / "published_model.py"
_SPEC = spec_from_file_location("published_model", _FILE)
_MODULE = sys.modules["published_model"] = module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
PublishedModel = _MODULE.PublishedModel


@pytest.mark.parametrize(
    ("cuts", "workers", "rounds"), [(1, 1, 9), (1, 9, 1), (1, 4, 3), (2, 10, 9), (3, 1000, 1)]
)
def test_the_published_speed_up_is_its_formula(cuts, workers, rounds):
    """2^(n - n_sub) eta(R) / R with eta = eta_max / R^p, by hand."""
    model = PublishedModel(eta_max=0.5, p=0.25)
    expected = 2 ** (14 - 8) * (0.5 / rounds**0.25) / rounds
    assert model.speed_up(14, 8, cuts, workers) == pytest.approx(expected)


def test_the_published_model_knows_no_speed_up_without_cuts():
    assert PublishedModel(0.5, 0.3).speed_up(20, 20, cuts=0, workers=8) == 1.0


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_published_fit_recovers_its_constants(noise):
    """Exactly from its own speed-ups, and closely from noisy ones."""
    model = PublishedModel(eta_max=0.62, p=0.18)
    rng = np.random.default_rng(1)
    cases = [
        (
            n,
            sub,
            cuts,
            workers,
            model.speed_up(n, sub, cuts, workers) * float(np.exp(noise * rng.normal())),
        )
        for n, sub in ((12, 6), (20, 12), (16, 9))
        for cuts in (1, 2, 3)
        for workers in (1, 4, 16)
    ]
    found = PublishedModel.fit(cases)
    assert found.eta_max == pytest.approx(model.eta_max, rel=1e-6 + 3 * noise)
    assert found.p == pytest.approx(model.p, abs=1e-6 + noise)
