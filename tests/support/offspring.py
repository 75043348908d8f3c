"""Tasks that start processes. Workers import this module: it imports little."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor


def square(number):
    return number**2


def in_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, range(4))


def in_executor():
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, range(4)))


def in_loader():
    import torch
    from torch.utils.data import DataLoader

    loader = DataLoader(torch.arange(8.0), batch_size=4, num_workers=2)
    return [float(batch.sum()) for batch in loader]


def ended_by_sigterm():
    """Return the exit codes of processes that are asked to end as soon as they are there."""
    codes = []
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        process.start()
        process.terminate()
        process.join(20)
        codes.append(process.exitcode)
    return codes


def leave_some_behind():
    """Return this process's id, and those of processes that would sleep for long.

    One is a child, one has a session of its own, and one does not end by SIGTERM.
    """
    child = multiprocessing.Process(target=time.sleep, args=(600,))
    child.start()
    detached = subprocess.Popen([sys.executable, "-c", _DEAF], start_new_session=True)
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!"], stdout=subprocess.PIPE, text=True)
    return os.getpid(), [child.pid, detached.pid, int(shell.stdout.readline())]


_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
