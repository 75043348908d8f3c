"""Numbers of threads and of Slurm in the environment."""

import os

import pytest

from pilotcut.backends.aer import AerBackend
from pilotcut.errors import UserError
from pilotcut.io import env_variables
from pilotcut.perfmodel import resources


@pytest.mark.parametrize(
    ("said", "threads"), [("", 1), ("  ", 1), ("3", 3), ("4,2", 4), (" 4 , 2,1 ", 4), ("+2", 2)]
)
def test_what_openmp_takes_is_read_as_openmp_means_it(monkeypatch, said, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert env_variables.threads() == threads
    assert AerBackend()._simulator.options.max_parallel_threads == threads
    assert resources.here().threads == threads


@pytest.mark.parametrize("said", ["0", "-1", "4,", "4,0", "two", "1.5", "4;2", "²", "9" * 30])
def test_what_openmp_does_not_take_is_refused_in_one_line(monkeypatch, said):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    with pytest.raises(UserError, match=r"OMP_NUM_THREADS is '.*', expected a whole number from 1"):
        AerBackend()


def test_numbers_of_slurm_may_be_missing_or_empty(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "")
    assert env_variables.whole_number("SLURM_PROCID", 0) == 0
    monkeypatch.setenv("SLURM_PROCID", "12")
    assert env_variables.whole_number("SLURM_PROCID", 0) == 12
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4(x2)")
    with pytest.raises(UserError, match=r"SLURM_CPUS_ON_NODE is '4\(x2\)', expected a whole num"):
        env_variables.whole_number("SLURM_CPUS_ON_NODE", 8, least=1)


def test_commands_use_one_thread_where_nothing_is_said(call, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    call("pilots", "validate", "nowhere.yaml")
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("1", "3")
