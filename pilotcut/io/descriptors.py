"""Descriptors of this process: how many it may have open, connections and files together.

Systems give a process 1024 by default and far more on demand; a manager has a connection to each
of its workers, and a scheduler several.
"""

from __future__ import annotations

import resource

#: What a process has open beside what is counted.
_BESIDE = 256
#: Programs that close all there could be take long where that are millions.
_MOST = 65_536


def make_room(count: int) -> None:
    """Have the system allow so many descriptors beside the usual ones, as far as it does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < min(count + _BESIDE, most):
        # Twice as many: not once more for each worker that comes.
        wanted = min(2 * (count + _BESIDE), most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
