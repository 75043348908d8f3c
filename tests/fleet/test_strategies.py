"""How devices share what they learn: every strategy by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleets import ALL, weights

from pilotcut.errors import UserError
from pilotcut.fleet.similarity import groups, similarity
from pilotcut.fleet.strategies import FleetFacts, Settings, strategy

ALIKE = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])


G = np.eye(3)  # a gradient for each device


def make(name, alike=ALIKE, success=(0.9, 0.8, 0.7), start=(0.0, 0.0, 0.0), **fields):
    facts = FleetFacts(np.asarray(alike), np.asarray(success))
    fields = {"lr": 1.0, "threshold": 0.1} | fields
    return strategy(name, np.asarray(start), facts, Settings(**fields))


def test_similarity_falls_with_the_distance_by_the_length_of_the_vectors():
    vectors = np.array([[0.0, 0.0, 0.0, 0.0], [3e-4, 0.0, 4e-4, 0.0]])
    expected = np.exp(-20000 * 5e-4 / 4)
    np.testing.assert_allclose(similarity(vectors, 20000), [[1, expected], [expected, 1]])
    assert (similarity(vectors, 0.0) == 1.0).all()


def test_groups_are_the_chains_of_similarity_whatever_the_order():
    chain = np.eye(4)
    for i, j in ((0, 2), (2, 3)):
        chain[i, j] = chain[j, i] = 0.6
    assert groups(chain, 0.5) == ((0, 2, 3), (1,))
    assert groups(chain, 0.7) == ((0,), (1,), (2,), (3,))
    assert groups(chain, 0.0) == ((0, 1, 2, 3),)


def test_single_moves_only_the_device_itself():
    s = make("single")
    assert tuple(s.received(1, G[1])) == (1,)
    np.testing.assert_array_equal(weights(s), [[0, 0, 0], [0, -1, 0], [0, 0, 0]])
    s.left(2)
    s.joined(2)
    assert s.online == {0, 1, 2}
    np.testing.assert_array_equal(s.weights_of(2), 0)


def test_all_sharing_waits_for_all_and_moves_all_by_the_mean():
    s = make("all-sharing", lr=3.0)
    assert not s.received(2, G[2])
    assert not s.received(0, G[0])
    np.testing.assert_array_equal(weights(s), 0)
    assert tuple(s.received(1, G[1])) == (0, 1, 2)
    np.testing.assert_allclose(weights(s), -1)


def test_all_sharing_goes_on_without_who_leaves_and_counts_what_it_has_reported():
    s = make("all-sharing", lr=2.0)
    s.received(0, G[0])
    s.received(1, G[1])
    assert tuple(s.left(2)) == (0, 1)
    np.testing.assert_allclose(weights(s), [[-1, -1, 0]] * 3)
    s.joined(2)
    s.received(2, G[2])
    assert not s.left(2)
    s.received(0, G[0])
    assert tuple(s.received(1, G[1])) == (0, 1)
    np.testing.assert_allclose(weights(s), [[-5 / 3, -5 / 3, -2 / 3]] * 3)


def test_all_sharing_keeps_both_gradients_of_a_device_that_came_back_in_between():
    s = make("all-sharing", lr=3.0)
    s.received(0, G[0])
    assert not s.left(0)
    s.joined(0)
    s.received(1, G[1])
    assert not s.received(2, G[2]), "device 0 is under way again"
    assert tuple(s.received(0, 2 * G[0])) == (0, 1, 2)
    np.testing.assert_allclose(weights(s), [[-9 / 4, -3 / 4, -3 / 4]] * 3)


def test_eqc_moves_the_one_model_at_once_by_the_success_of_the_device():
    s = make("eqc", success=(0.9, 0.8, 0.7))
    np.testing.assert_allclose(s.trust, [1.5, 1.0, 0.5])
    before = s.weights_of(2)
    assert tuple(s.received(0, G[0])) == (0,)
    np.testing.assert_allclose(weights(s), [[-1.5, 0, 0]] * 3)
    np.testing.assert_array_equal(before, 0)  # the weights that device 2 works with are older
    s.received(2, G[2])
    np.testing.assert_allclose(weights(s), [[-1.5, 0, -0.5]] * 3)
    s.left(1)
    s.received(0, G[0])
    s.joined(1)
    np.testing.assert_allclose(s.weights_of(1), [-3, 0, -0.5])


def test_eqc_trusts_devices_of_the_same_success_alike():
    np.testing.assert_array_equal(make("eqc", success=(0.8, 0.8, 0.8)).trust, 1.0)


def test_local_steps_averages_all_weights_after_so_many_steps():
    s = make("local-steps", lr=1.0, local_steps=2)
    for k in (0, 1, 2):
        assert tuple(s.received(k, G[k])) == (k,)
    np.testing.assert_array_equal(weights(s), -G)
    assert not s.received(1, G[1])
    assert not s.received(0, G[0])
    assert tuple(s.received(2, G[2])) == (0, 1, 2)
    np.testing.assert_allclose(weights(s), -2 / 3)


def test_local_steps_gives_the_average_to_who_is_away_and_has_it_back_in_step():
    s = make("local-steps", lr=1.0, local_steps=2)
    s.received(2, 100 * G[2])  # not shared before it leaves
    s.left(2)
    for k in (0, 1):
        s.received(k, G[k])
    s.received(0, G[0])
    assert tuple(s.received(1, G[1])) == (0, 1)
    np.testing.assert_allclose(weights(s), [[-1, -1, 0]] * 3)
    s.received(0, 0 * G[0])
    s.received(0, 0 * G[0])  # waits
    s.received(1, 0 * G[1])
    s.joined(2)
    assert not s.received(2, 0 * G[2]), "one step, since the others have gone as far"
    assert tuple(s.received(1, 0 * G[1])) == (0, 1, 2)


def test_arbiterq_weights_neighbours_by_similarity_and_uses_each_gradient_once():
    s = make("arbiterq")
    assert s.groups == ((0, 1), (2,))
    s.received(0, G[0])
    np.testing.assert_allclose(weights(s), [[-1, 0, 0], [0, 0, 0], [0, 0, 0]])
    s.received(1, G[1])  # with what 0 has sent
    np.testing.assert_allclose(s.weights_of(1), [-0.5 / 1.5, -1 / 1.5, 0])
    s.received(1, G[1])  # which is used up
    np.testing.assert_allclose(s.weights_of(1), [-0.5 / 1.5, -1 / 1.5 - 1, 0])
    s.received(2, G[2])
    np.testing.assert_allclose(s.weights_of(2), [0, 0, -1])
    np.testing.assert_allclose(s.weights_of(0), [-1, 0, 0])


def test_arbiterq_sums_without_dividing():
    s = make("arbiterq", combine="sum")
    s.received(0, G[0])
    s.received(1, G[1])
    np.testing.assert_allclose(s.weights_of(1), [-0.5, -1, 0])


def test_arbiterq_keeps_every_gradient_for_a_slow_neighbour():
    s = make("arbiterq")
    for factor in (1, 2, 3):
        s.received(0, factor * G[0])
    s.received(1, G[1])
    np.testing.assert_allclose(s.weights_of(1), [-2 * 0.5 / 1.5, -1 / 1.5, 0])


def test_arbiterq_moves_who_is_away_once_for_each_round_of_its_neighbours():
    alike = [[1, 0.5, 0.75], [0.5, 1, 0.5], [0.75, 0.5, 1]]
    s = make("arbiterq", alike=alike)
    s.left(0)
    s.received(1, G[1])
    s.received(2, G[2])
    np.testing.assert_array_equal(s.weights_of(0), 0)
    s.received(1, G[1])  # the next round: the first one is complete
    np.testing.assert_allclose(s.weights_of(0), [0, -0.5 / 1.25, -0.75 / 1.25])
    s.joined(0)  # with what is left, of a neighbour that is not wholly like it
    np.testing.assert_allclose(s.weights_of(0), [0, -0.5 / 1.25 - 0.5, -0.75 / 1.25])
    s.received(0, G[0])
    assert s.weights_of(0)[0] == -1


def test_arbiterq_stays_finite_where_a_chain_joins_devices_that_have_nothing_in_common():
    s = make("arbiterq", alike=np.eye(3), threshold=0.0)
    s.left(0)
    for _ in range(3):
        s.received(1, G[1])
    s.joined(0)
    np.testing.assert_array_equal(s.weights_of(0), 0)


def test_arbiterq_of_identical_devices_is_all_sharing_where_all_gradients_are_alike():
    one, all_sharing = make("arbiterq", alike=np.ones((3, 3))), make("all-sharing")
    gradient = np.array([0.5, -0.25, 1.0])
    for _ in range(5):
        for k in (2, 0, 1):
            one.received(k, gradient)
            all_sharing.received(k, gradient)
    np.testing.assert_allclose(weights(one), weights(all_sharing), atol=1e-15)
    np.testing.assert_allclose(weights(one), -5 * np.stack([gradient] * 3))


def test_an_unknown_strategy_is_one_line_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'arbiterq'"):
        make("arbiter")


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(ALL),
    moves=st.lists(st.tuples(st.sampled_from("aaaalj"), st.integers(0, 2)), max_size=60),
    local_steps=st.integers(1, 4),
    combine=st.sampled_from(["mean", "sum"]),
)
def test_whatever_arrives_leaves_or_joins_nobody_is_forgotten(name, moves, local_steps, combine):
    s = make(name, lr=0.1, local_steps=local_steps, combine=combine)
    busy = {0, 1, 2}  # computing a gradient; the others that are online wait to be released

    def release(devices):
        assert not busy & {*devices}, "nobody is asked twice"
        assert {*devices} <= s.online
        busy.update(devices)

    def arrive(k):
        busy.remove(k)
        release(s.received(k, G[k]))

    for move, k in moves:
        if move == "a" and k in busy:
            arrive(k)
        elif move == "l" and k in s.online:
            busy.discard(k)
            release(s.left(k))
        elif move == "j" and k not in s.online:
            s.joined(k)
            release([k])
    released = dict.fromkeys(s.online, 0)
    for _ in range(20):
        assert busy or not s.online, "all wait for each other"
        for k in sorted(busy):
            arrive(k)
            released[k] += 1
    assert all(turns >= 3 for turns in released.values())
    assert np.isfinite(weights(s)).all()
