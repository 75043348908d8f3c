"""Rates of ranks, measured on two of them, and kept for forecasts."""

import pytest
from qiskit.quantum_info import PauliList

from pilotcut.circuits.program import read_circuit
from pilotcut.perfmodel.rank_forecast import known_rates, measure_rates, rank_forecasts
from pilotcut.pilots.description import PilotDescription
from pilotcut.study.motifs.state_vector import entangling_layers

pytest.importorskip("mpi4py", reason="mpi4py is not installed")

pytestmark = pytest.mark.mpi


def test_rates_are_measured_on_the_ranks_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    pilot = PilotDescription(name="mpi", resource="local", ranks=2)
    assert known_rates(pilot) is None
    rates = measure_rates(pilot, qubits=14)
    assert known_rates(pilot) == rates
    assert 0 < rates.block_s < rates.undo_s < 1e-5
    assert 0 < rates.byte_s < 1e-6
    program = read_circuit(entangling_layers(16, 2))[0]
    (found,) = rank_forecasts(program, PauliList(["Z" * 16]), [pilot], gradients=True)
    assert found.is_measured
    assert "measured rates" in str(found)
