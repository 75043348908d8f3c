"""Advisory lock on a directory (flock): one process at a time writes into it.

The lock is the kernel's: it goes with the process, however that ends, and leaves no file
behind, as lock files of libraries do. This module refuses to know what is written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pilotcut.errors import RunDirectoryError


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes out of a directory that exists, as long as the context lasts.

    Raises
    ------
    RunDirectoryError
        If another process is there.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(
                f"'{directory}' is being written by another process, expected one at a time; wait "
                f"until it has ended, or take another directory"
            ) from None
        except OSError:  # NFS, for example, locks no directories: then nobody is kept out
            pass
        yield
    finally:
        os.close(descriptor)
