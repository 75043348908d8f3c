"""Cut circuits on executors of others: the same bytes as on other pilots."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.pilots.description import embedded


def processes():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def estimated(tasks, mode):
    circuit = real_amplitudes(4, reps=1, entanglement="linear")
    draws = np.random.default_rng(7).uniform(size=(6, circuit.num_parameters))
    estimator = CutEstimator(tasks, labels="AABB", mode=mode, shots=200, seed=7)
    (result,) = estimator.run([(circuit, "ZZZZ", draws)]).result()
    return result.data.evs


@pytest.mark.parametrize("make", [processes, lambda: ThreadPoolExecutor(2)])
def test_an_estimator_returns_the_same_bytes_on_any_executor(make):
    with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
        expected = {mode: estimated(tasks, mode) for mode in ("exact", "sampled", "counts")}
    with make() as pool, PilotManager.from_executor(pool) as pilots, TaskManager(pilots) as tasks:
        for mode, values in expected.items():
            assert estimated(tasks, mode).tobytes() == values.tobytes()
