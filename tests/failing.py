"""What fails on workers. They import this module: all that it imports would be waited for."""

from pilotcut.errors import TaskError


def fail_on_ranks(directory, contraction):
    """Stand in for `pilotcut.reconstructing.contract_on_ranks`."""
    raise TaskError("not today")
