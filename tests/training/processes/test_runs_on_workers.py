"""A training run on local workers comes to the weights of one process."""

from support.training_runs import assert_same_run, results, train

from pilotcut.io.jsonl import read_jsonl


def test_two_local_workers_come_to_the_weights_of_one_process(tmp_path, finished, workers):
    summary = train(tmp_path / "run", tasks=workers)
    assert results(summary) == results(finished[1])
    assert_same_run(tmp_path / "run", finished[0])
    last = read_jsonl(tmp_path / "run" / "trace.jsonl")[-1]
    assert (last["workers"], last["policy"]) == (2, "eager")
