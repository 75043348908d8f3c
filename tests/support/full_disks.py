"""A disk that is full for a while: the kernel refuses what would make a file too long."""

import resource
from contextlib import contextmanager


@contextmanager
def no_file_above(size):
    """Let no file of this process grow beyond `size` bytes; writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
