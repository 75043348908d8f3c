"""The examples run, and what they train gets better."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "plain_loop",
        "trainer",
        "hybrid_model",
        "data_parallel",
    }


@pytest.mark.parametrize("name", ["plain_loop", "hybrid_model"])
def test_an_example_lowers_the_loss(name, capsys):
    losses = example(name).main(epochs=2, samples=40)
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    assert "test accuracy" in capsys.readouterr().out


def test_the_example_of_replicas_lowers_the_loss_under_every_schedule(capsys):
    found = example("data_parallel").main(epochs=3, samples=60, resource="inprocess")
    assert list(found) == ["Synchronous", "LocalSteps", "BoundedStaleness"]
    assert all(losses[-1] < losses[0] for losses in found.values())
    assert capsys.readouterr().out.count("test accuracy") == 3


def test_the_example_of_a_trainer_goes_on_where_it_was(tmp_path):
    main = example("trainer").main
    first = main(epochs=1, directory=tmp_path, samples=40)
    both = main(epochs=3, directory=tmp_path, samples=40, resume=True)
    assert both.epochs[:1] == first.epochs
    assert both.epochs[-1].loss < first.epochs[0].loss
