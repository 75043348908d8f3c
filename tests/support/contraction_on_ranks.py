"""Run by ``mpiexec`` from test_mpi_contraction.py: every claim on all ranks of this start.

Rank 0 draws networks by hypothesis and compares; the others take part until it is done.
Rank 0 prints as JSON, for each claim, what went wrong ("" if nothing did).
"""

from __future__ import annotations

import json
import tempfile
import traceback

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mpi4py import MPI

from pilotcut.reconstruction.mpi_contraction import contract, estimate
from pilotcut.reconstruction.tensor_store import TensorStore
from support.networks import GRAPHS, Network, assert_equal, networks, random_network, serial

#: Networks of each kind. They are not made smaller when one fails: ranks are slow at that.
EXAMPLES = 6


def asked(comm: MPI.Intracomm, network: Network | None, stored: bool, everywhere: bool) -> list:
    """Return all that was computed, on the ranks that get it, in the order of `expected`."""
    if network is None:
        contract(None, None, comm)
        sums = contract(None, None, comm)
        totals = estimate(None, None, None, None, None, comm)
        comm.barrier()
        return [] if sums is None else [*sums, *totals, None, []]
    contraction, entries, coefficients = network.contraction, network.entries, network.coefficients
    with tempfile.TemporaryDirectory() as directory:
        store = TensorStore.write(directory, network.tensors, network.bonds) if stored else None
        operands, tensors = store or network.operands, store or network.tensors
        values, none = contract(contraction, operands, comm)
        sums = contract(contraction, operands, comm, environments=True, everywhere=everywhere)
        bonds = None if stored else network.bonds
        totals = estimate(
            contraction, entries, tensors, bonds, coefficients, comm, everywhere=everywhere
        )
        comm.barrier()  # nobody reads the store any more
    return [*sums, *totals, values, none]


def same(comm: MPI.Intracomm, network: Network, stored: bool, everywhere: bool) -> None:
    """Compare with the serial contraction, on every rank that got something."""
    comm.bcast(True)
    try:
        mine = asked(comm, network, stored, everywhere)
    except Exception:  # the others wait for this rank
        traceback.print_exc()
        MPI.COMM_WORLD.Abort(1)
    results = comm.gather(mine)
    assert [len(one) for one in results] == [6] + [6 if everywhere else 0] * (comm.size - 1)
    expected = serial(network)
    assert_equal(results[0][4], expected.values)
    for values, environments, totals, errors, _, none in filter(None, results):
        assert_equal(values, expected.values)
        assert_equal(totals, expected.totals)
        assert_equal(errors, expected.errors)
        for environment, one in zip(environments, expected.environments, strict=True):
            assert_equal(environment, one)
        assert none == []


def kind_of_graph(comm: MPI.Intracomm, kind: str) -> None:
    """Check random networks of one kind."""

    @given(networks((kind,)), st.booleans(), st.booleans())
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(network: Network, stored: bool, everywhere: bool) -> None:
        same(comm, network, stored, everywhere)

    check()


def uncut(comm: MPI.Intracomm) -> None:
    """Check one fragment without bonds, with more ranks than rows and fewer."""
    for rows in (1, 3):
        same(comm, random_network(1, [], [], rows=rows, terms=2, subs=2), False, True)


def misfits(comm: MPI.Intracomm) -> None:
    """Check that all ranks say what does not fit, and can go on afterwards."""
    network = random_network(2, [(0, 1)], [(2, 3)])
    wrong = [x.swapaxes(-1, -2) if x.ndim == 4 else x for x in network.operands]
    comm.bcast(False)
    try:
        contract(network.contraction, wrong, comm)
    except ValueError as error:
        told = str(error)
    assert "operand 2 has the shape (1, 1, 3, 2), expected (1 or 1, 1 or 1, 2, 3)" in told
    assert comm.gather(told) == [told] * comm.size
    same(comm, network, False, True)


def others(comm: MPI.Intracomm) -> None:
    """Take part in what rank 0 asks, until it says None."""
    while (fits := comm.bcast(None)) is not None:
        if fits:
            comm.gather(asked(comm, None, False, False))
            continue
        try:
            contract(None, None, comm)
        except ValueError as error:
            comm.gather(str(error))


def main(comm: MPI.Intracomm) -> None:
    """Check every claim, on rank 0, and print what went wrong."""
    if comm.rank > 0:
        others(comm)
        return
    claims = {kind: lambda kind=kind: kind_of_graph(comm, kind) for kind in GRAPHS}
    claims |= {"uncut": lambda: uncut(comm), "misfits": lambda: misfits(comm)}
    wrong = {}
    for name, claim in claims.items():
        try:
            claim()
            wrong[name] = ""
        except Exception:
            wrong[name] = traceback.format_exc()
    comm.bcast(None)
    print(json.dumps({"ranks": comm.size, "wrong": wrong}))


if __name__ == "__main__":
    # A communicator of its own, numbered the other way round: nothing may lean on COMM_WORLD.
    main(MPI.COMM_WORLD.Split(0, -MPI.COMM_WORLD.rank))
