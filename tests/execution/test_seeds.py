"""Wherever a seed is taken, what is none is refused in the same line."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from support.cp_sat import optimum

import pilotcut
from pilotcut import PilotManager, TaskManager, cut_qnn
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.search import search
from pilotcut.cutting.search.interaction_graph import interactions_of
from pilotcut.errors import UserError
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.transpile import compile_on
from pilotcut.options import check_seed
from pilotcut.perfmodel.options import Options
from pilotcut.pilots.description import embedded
from pilotcut.training.config import TrainingConfig
from pilotcut.training.data import load_dataset
from pilotcut.training.parallel import DataParallel
from pilotcut.training.trainer import Trainer


def bell():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def network(seed):
    weights = ParameterVector("w", 1)
    circuit = QuantumCircuit(2)
    circuit.ry(weights[0], 0)
    circuit.cx(0, 1)
    return cut_qnn(circuit, SparsePauliOp("ZZ"), weight_params=weights, labels="AB", seed=seed)


def plan():
    return pilotcut.compile_plan(bell(), labels="AB")


def data_parallel(seed):
    with PilotManager(embedded()) as pilots, TaskManager(pilots) as tasks:
        DataParallel(lambda: torch.nn.Linear(1, 1), tasks, seed=seed)


TAKERS = {
    "estimator": lambda seed: pilotcut.CutEstimator(labels="AB", seed=seed),
    "qnn": network,
    "probabilities": lambda seed: pilotcut.reconstruct_probabilities(plan(), seed=seed),
    "most probable": lambda seed: pilotcut.most_probable(plan(), 1, seed=seed),
    "distribution": lambda seed: pilotcut.Distribution(plan(), seed=seed),
    "sample": lambda seed: pilotcut.sample(plan(), 10, seed=seed),
    "samples of a distribution": lambda seed: pilotcut.Distribution(plan(), mode="exact").sample(
        10, seed=seed
    ),
    "training": lambda seed: Trainer(torch.nn.Linear(1, 1), seed=seed),
    "data": lambda seed: load_dataset("iris", 4, seed=seed),
    "search": lambda seed: search(read_circuit(bell())[0], max_cuts=1, seed=seed),
    "optimum": lambda seed: optimum(
        interactions_of(read_circuit(bell())[0]), max_width=1, seed=seed
    ),
    "recommendation": lambda seed: Options(seed=seed),
    "data-parallel training": data_parallel,
}
NO_SEEDS = [-1, -(2**70), 0.5, "7", True, np.int64(-3)]
EXPECTED = r"seed is .*, expected a whole number from 0 (up|to [0-9,]+); 0 is a usual choice"


@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_no_seed_is_refused_in_one_line(taker):
    for seed in NO_SEEDS:
        with pytest.raises(UserError, match=EXPECTED) as refused:
            TAKERS[taker](seed)
        assert refused.value.faults == (str(refused.value),)
        assert f"seed is {seed!r}," in str(refused.value)


def test_runs_say_the_most_that_their_libraries_take():
    expected = r"seed is -1, expected a whole number from 0 to 4,?29"
    with pytest.raises(UserError, match=expected):
        TrainingConfig.of({"dataset": "iris", "seed": -1}).check()
    with pytest.raises(UserError, match=expected):
        FleetConfig.of({"dataset": "iris", "fleet": "fleet.yaml", "seed": -1})


def test_a_device_is_compiled_for_with_a_seed():
    from qiskit.providers.fake_provider import GenericBackendV2

    target = GenericBackendV2(3, coupling_map=[[0, 1], [1, 2]], seed=1).target
    with pytest.raises(UserError, match=EXPECTED):
        compile_on(bell(), target, seed=-1)


@pytest.mark.parametrize("seed", [0, 7, np.int64(3), 2**63, 2**80])
def test_seeds_have_no_upper_end_where_nobody_else_draws(seed):
    check_seed(seed)
    values = [TAKERS["probabilities"](seed) for _ in range(2)]
    assert np.array_equal(*values)
    assert TAKERS["search"](seed)
    assert TAKERS["optimum"](seed).log_overhead > 0


@pytest.mark.parametrize(
    "command",
    [
        ("train", "iris", "--seed", "-1"),
        ("fleet", "train", "iris", "--fleet", "nowhere.yaml", "--seed", "-1"),
        (
            "fleet",
            "infer",
            "iris",
            "--run-dir",
            "nowhere",
            "--fleet",
            "nowhere.yaml",
            "--seed",
            "-1",
        ),
        ("recommend", "nowhere.qasm", "--seed", "-1"),
    ],
)
def test_commands_refuse_it_with_exit_code_2(call, tmp_path, command):
    code, _, err = call(*command)
    assert code == 2
    assert "seed is -1, expected a whole number from 0" in err
