"""The examples run, and what they train gets better."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "cheap_cuts",
        "data_parallel",
        "hybrid_model",
        "plain_loop",
        "trainer",
    }


@pytest.mark.parametrize("name", ["plain_loop", "hybrid_model"])
def test_an_example_lowers_the_loss(name, capsys):
    losses = example(name).main(epochs=2, samples=40)
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    assert "test accuracy" in capsys.readouterr().out


def test_the_example_of_a_trainer_goes_on_where_it_was(tmp_path):
    main = example("trainer").main
    first = main(epochs=1, directory=tmp_path, samples=40)
    both = main(epochs=3, directory=tmp_path, samples=40, resume=True)
    assert both.epochs[:1] == first.epochs
    assert both.epochs[-1].loss < first.epochs[0].loss


def test_every_schedule_of_the_data_parallel_example_lowers_the_loss():
    found = example("data_parallel").main(epochs=3, resource="inprocess")
    assert len(found) == 3
    assert all(losses[-1] < losses[0] for losses in found.values())


def test_gamma_in_the_loss_makes_cuts_cheap_and_values_as_good():
    plain, cheap = example("cheap_cuts").main(epochs=12, samples=60)
    assert cheap.overhead < plain.overhead / 2
    assert cheap.shots < plain.shots / 1.3
    assert cheap.accuracy >= plain.accuracy - 0.05
