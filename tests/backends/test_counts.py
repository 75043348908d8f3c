"""Counts to expectations: against a shot-by-shot implementation, at any number of bits."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotcut.backends.counts import MACHINE_BITS, covariances, parities


def naive_means(counts, masks, shots):
    """One shot after another."""
    return np.array(
        [
            [
                sum(
                    (-1) ** bin(int(key, 16) & mask).count("1")
                    for key, n in one.items()
                    for _ in range(n)
                )
                / shots
                for mask in masks
            ]
            for one in counts
        ]
    ).reshape(len(counts), len(masks))


@st.composite
def experiments(draw, bits):
    """Circuits of equally many shots, and masks over their bits."""
    width = draw(bits)
    shots = draw(st.integers(1, 12))
    outcome = st.integers(0, 2**width - 1)
    shot_lists = draw(
        st.lists(st.lists(outcome, min_size=shots, max_size=shots), min_size=1, max_size=4)
    )
    masks = draw(st.lists(outcome, min_size=1, max_size=4))
    return shot_lists, masks, shots


@given(experiments(st.integers(1, MACHINE_BITS)))
def test_parities_equal_counting_shot_by_shot(experiment):
    """Mean signs over machine integers equal the naive ones."""
    shot_lists, masks, shots = experiment
    counts = [Counter(map(hex, shot_list)) for shot_list in shot_lists]
    means = parities(counts, masks, shots)
    np.testing.assert_allclose(means, naive_means(counts, masks, shots), atol=1e-12)


@given(experiments(st.integers(MACHINE_BITS, 150)))
def test_parities_of_more_bits_than_a_machine_integer(experiment):
    """Outcomes and masks of any length are counted the same."""
    shot_lists, masks, shots = experiment
    counts = [Counter(map(hex, shot_list)) for shot_list in shot_lists]
    means = parities(counts, masks, shots)
    np.testing.assert_allclose(means, naive_means(counts, masks, shots), atol=1e-12)


@pytest.mark.parametrize("bit", [62, 63, 64, 100])
def test_the_highest_bit_counts(bit):
    """Bits at and above the limit of machine integers are not lost, in masks or outcomes."""
    counts = [{hex(1 << bit): 3, "0x0": 1}, {hex((1 << bit) | 1): 4}]
    expected = [[-0.5, 1.0, -0.5], [-1.0, -1.0, 1.0]]
    means = parities(counts, [1 << bit, 1, (1 << bit) | 1], 4)
    np.testing.assert_array_equal(means, expected)
    np.testing.assert_array_equal(parities(counts, [1], 4), [[1.0], [-1.0]])


def test_the_empty_mask_is_exactly_one():
    means = parities([{"0x0": 3, "0x7": 5}], [0], 8)
    assert means.tolist() == [[1.0]]


@given(experiments(st.integers(1, 6)))
def test_covariances_equal_those_of_the_shots(experiment):
    """The covariance of means is the unbiased sample covariance of the signs over shots."""
    shot_lists, masks, shots = experiment
    counts = [Counter(map(hex, shot_list)) for shot_list in shot_lists]
    pairs = [a ^ b for a in masks for b in masks]
    means = parities(counts, masks, shots)
    products = parities(counts, pairs, shots).reshape(len(counts), len(masks), len(masks))
    result = covariances(means, products, shots)
    assert result.shape == (len(counts), len(masks), len(masks))
    if shots == 1:
        np.testing.assert_array_equal(result, np.broadcast_to(np.eye(len(masks)), result.shape))
        return
    for one, shot_list in zip(result, shot_lists, strict=True):
        signs = [[(-1) ** (o & mask).bit_count() for o in shot_list] for mask in masks]
        expected = np.atleast_2d(np.cov(np.array(signs), ddof=1)) / shots
        np.testing.assert_allclose(one, expected, atol=1e-12)


def test_covariances_are_unbiased():
    """Averaged over many experiments they equal the true covariance of the means."""
    rng = np.random.default_rng(5)
    distribution = np.array([0.5, 0.2, 0.1, 0.2])
    draws = rng.multinomial(4, distribution, size=20_000)
    counts = [{hex(k): int(n) for k, n in enumerate(row)} for row in draws]
    signs = parities(counts, [0b01, 0b10, 0b11], 4)
    means = signs[:, :2]
    products = np.ones((len(counts), 2, 2))
    products[:, 0, 1] = products[:, 1, 0] = signs[:, 2]
    estimated = covariances(means, products, 4).mean(axis=0)
    table = np.array([[1, -1, 1, -1], [1, 1, -1, -1]])
    mean = table @ distribution
    true = ((table * distribution) @ table.T - np.outer(mean, mean)) / 4
    np.testing.assert_allclose(estimated, true, atol=4e-3)
    np.testing.assert_allclose(np.cov(means.T), true, atol=6e-3)
