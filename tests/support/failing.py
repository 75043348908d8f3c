"""What fails on workers. They import this module: all that it imports would be waited for."""

import builtins
import os
import signal
import time

from pilotcut.errors import TaskError


def fail_on_ranks(directory, contraction):
    """Stand in for `pilotcut.execution.contraction_target.contract_on_ranks`."""
    raise TaskError("not today")


def take(mebibytes, *, keep=False, seconds=60.0):
    """Take memory, and keep it when all is done if that is asked for."""
    taken = [bytearray(b"x") * 2**20 for _ in range(mebibytes)]
    if keep:
        builtins.kept_by_a_test = taken
    time.sleep(seconds)
    return len(taken)


def kill():
    """End the worker."""
    os.kill(os.getpid(), signal.SIGKILL)
