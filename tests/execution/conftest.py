"""Fixtures of the tests of batches."""

import pytest

from pilotcut.execution import batching


@pytest.fixture
def small_bundles(monkeypatch):
    """Several blocks for each fragment."""
    monkeypatch.setattr(batching, "TARGET_S", 0.005)
    monkeypatch.setattr(batching, "_EXACT_AMPLITUDE_S", 1e-4)
