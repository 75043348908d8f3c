"""`sampled` and `counts` draw from one distribution, and 95 % intervals cover as they say.

All seeds are fixed. The two-sample tests reject at 1 % over the three circuits together.
"""

from functools import cache

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import Move
from support.circuits import CIRCUITS
from support.exact import exact

from pilotcut import CutEstimator
from pilotcut.training.model import classifier

REPETITIONS, SEEDS, PERMUTATIONS, SIGNIFICANCE = 500, 5, 999, 0.01


def iris() -> QuantumCircuit:
    """The demo's network at some weights, whose two outer CX are cut."""
    circuit = classifier(4).circuit
    return circuit.assign_parameters(np.linspace(0.2, 1.4, circuit.num_parameters))


def moved_and_cut() -> QuantumCircuit:
    """A wire cut, then a cut RZZ, and two entangled qubits that are read together."""
    circuit = QuantumCircuit(5)
    circuit.ry(0.8, 0)
    circuit.rx(0.5, 1)
    circuit.ry(1.1, 3)
    circuit.rx(0.4, 4)
    circuit.cx(0, 1)
    circuit.append(Move(), [1, 2])
    circuit.rx(0.6, 2)
    circuit.rzz(0.9, 2, 3)
    circuit.cx(3, 4)
    circuit.ry(0.7, 2)
    circuit.ry(0.5, 3)
    circuit.rx(0.3, 4)
    return circuit


# Circuit, labels, and Paulis of which some are read from the same shots and some are not.
CASES = {
    "iris": (iris(), "AABC", ["ZZZZ", "IIIZ", "IZZI"]),
    "move and rzz": (moved_and_cut(), "AABCC", ["IZIIZ", "ZIIIZ", "IZZII", "ZZZII"]),
    "iswap": (CIRCUITS["9-iswap"], "AAB", ["XII", "XYZ", "XZI"]),
}


def truth(name: str) -> np.ndarray:
    circuit, _, paulis = CASES[name]
    values = exact(circuit, paulis)
    return np.append(values, values.sum())


@cache
def estimates(name: str, first_seed: int, **options) -> tuple[np.ndarray, np.ndarray]:
    """Values and stds (repetitions, Paulis and their sum), by some seeds and many rows of each.

    The rows of one batch have shots of their own (test_exactness.py), and cost far less than as
    many estimators.
    """
    circuit, labels, paulis = CASES[name]
    rows = np.zeros((REPETITIONS // SEEDS, 1, 0))
    found = []
    for seed in range(first_seed, first_seed + SEEDS):
        estimator = CutEstimator(labels=labels, seed=seed, **options)
        data = estimator.run([(circuit, [*paulis, SparsePauliOp(paulis)], rows)]).result()[0].data
        found.append((data.evs, data.stds))
    evs, stds = np.concatenate(found, axis=1)
    return evs, stds


def sampled(name: str) -> tuple[np.ndarray, np.ndarray]:
    return estimates(name, 2 * SEEDS, mode="sampled", shots=128)


def counts(name: str) -> tuple[np.ndarray, np.ndarray]:
    return estimates(name, SEEDS, mode="counts", shots=128)


def coverage(name: str, evs: np.ndarray, stds: np.ndarray, reach=1.96) -> np.ndarray:
    """How often evs ± reach * stds holds the exact value, for each Pauli and the sum."""
    return (np.abs(evs - truth(name)) <= reach * stds).mean(axis=0)


def p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Chance that columns of (repetitions, columns) of one distribution differ as much as seen.

    The statistic is the largest of the Anderson-Darling statistics of all columns and, which
    shows a different spread best, of their distances from the common mean. Estimates from few
    shots have ties, and columns depend on each other: the statistic's distribution is therefore
    taken from permutations of whole rows.
    """
    pooled = np.concatenate([first, second])
    pooled = np.hstack([pooled, np.abs(pooled - pooled.mean(axis=0))])
    pooled = np.round(pooled, 9)  # the modes round in different places, and ties are ties
    ways = relabelled(len(first), len(second))
    statistics = np.max([anderson_darling(column, ways) for column in pooled.T], axis=0)
    return float((statistics >= statistics[0] - 1e-9).mean())


@cache
def relabelled(first: int, second: int) -> np.ndarray:
    """Ways to call rows the first sample's, (1 + permutations, rows); the true one leads."""
    true = np.repeat([1.0, 0.0], [first, second])
    shuffled = np.random.default_rng(1).permuted(np.tile(true, (PERMUTATIONS, 1)), axis=1)
    return np.vstack([true, shuffled])


def anderson_darling(pooled: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """The statistic for each way to split the pooled sample; what is tied counts half."""
    order = np.argsort(pooled)
    _, starts, ties = np.unique(pooled[order], return_index=True, return_counts=True)
    share = ways[:, order] / ways[0].sum()
    at = np.add.reduceat(share, starts, axis=1)
    below = np.cumsum(at, axis=1) - at / 2
    level = (np.cumsum(ties) - ties / 2) / len(pooled)
    return (below - level) ** 2 @ (ties / (level * (1 - level)))


def test_a_seed_from_a_checkpoint_is_a_new_estimators():
    """An estimator that is given the seed of another's state draws what a new one does."""
    circuit, labels, paulis = CASES["iris"]

    def drawn(estimator):
        return estimator.run([(circuit, paulis)]).result()[0].data.evs

    options = {"labels": labels, "mode": "sampled", "shots": 128}
    used = CutEstimator(**options)
    fresh = used.stages.state_dict()
    for seed in (0, 3):
        used.stages.load_state_dict(fresh | {"seed": seed})
        np.testing.assert_array_equal(drawn(used), drawn(CutEstimator(seed=seed, **options)))


@pytest.mark.parametrize("name", CASES)
def test_sampled_and_counts_agree_in_distribution(name):
    """Values and stds of all Paulis and of their sum, whose spread has the covariances."""
    assert p_value(np.hstack(sampled(name)), np.hstack(counts(name))) > SIGNIFICANCE / len(CASES)


@pytest.mark.parametrize("draw", [sampled, counts])
@pytest.mark.parametrize("name", CASES)
def test_intervals_cover(name, draw):
    """Between 92 and 98 % of 500 intervals, three standard errors around 95 %."""
    covered = coverage(name, *draw(name))
    assert covered.min() > 0.92
    assert covered.max() < 0.98


def test_intervals_cover_with_optimal_allocation():
    """Dealing shots by what a pilot round saw keeps error bars honest."""
    found = estimates("iswap", 0, mode="sampled", shots=512, shot_allocation="optimal")
    covered = coverage("iswap", *found)
    assert covered.min() > 0.92
    assert covered.max() < 0.98


@pytest.mark.parametrize("name", CASES)
def test_wrong_spreads_would_be_seen(name):
    """Values with the spread of two thirds of the shots, and error bars short by 15 %."""
    (values, bars), (other_values, other_bars) = sampled(name), counts(name)
    wider = truth(name) + np.sqrt(1.5) * (values - truth(name))
    assert p_value(wider, other_values) < SIGNIFICANCE / len(CASES)
    assert p_value(bars / 1.15, other_bars) < SIGNIFICANCE / len(CASES)
    assert min(coverage(name, *draw(name), 1.96 / 1.15).min() for draw in (sampled, counts)) < 0.92
