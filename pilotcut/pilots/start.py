"""Start of a manager's pilots: the scheduler and the pilots of this machine all at the same time.

Refuses to know what becomes of a start that fails, and who watches the pilots then.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pilotcut.errors import PilotError
from pilotcut.io.disk import why_unwritten
from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.local import LocalPilot
from pilotcut.pilots.scheduler import DaskScheduler
from pilotcut.pilots.slurm.array import groups_of, start_group
from pilotcut.pilots.worker.connection import Connection


@dataclass(frozen=True)
class PilotStart:
    """Pilots outside of this process that are started together.

    Attributes
    ----------
    local, elsewhere
        Those of this machine, and all others.
    is_wide
        Whether there are any on other machines, now or later.
    """

    local: Sequence[LocalPilot]
    elsewhere: Sequence[DaskPilot]
    is_wide: bool

    @classmethod
    def of(cls, pilots: Sequence[DaskPilot], is_standby: Callable[[DaskPilot], bool]) -> PilotStart:
        """Return the start of all but those that stand by."""
        asked = [pilot for pilot in pilots if not is_standby(pilot)]
        local = [pilot for pilot in asked if isinstance(pilot, LocalPilot)]
        elsewhere = [pilot for pilot in asked if not isinstance(pilot, LocalPilot)]
        return cls(local, elsewhere, not all(isinstance(pilot, LocalPilot) for pilot in pilots))

    def launch(
        self, site: PilotSite, deadline: float, on_loss: Callable[[str], None]
    ) -> Connection:
        """Start the scheduler and the agents on this machine, and return how others join."""
        scheduler = site.scheduler
        assert isinstance(scheduler, DaskScheduler)
        # All processes import dask at the same time; they meet when it has an address.
        scheduler.launch_process()
        for pilot in self.local:
            pilot.launch_process(site)
        return scheduler.connect(deadline, on_loss=on_loss)

    def join(self, site: PilotSite, deadline: float) -> None:
        """Start the others, and wait until those of this machine are active."""
        for pilot in self.local:
            pilot.join(site)
        for group in groups_of(self.elsewhere):
            start_group(group, site)
        for pilot in self.local:
            pilot.wait_active(deadline)


def not_started(error: OSError) -> PilotError:
    """Return why pilots did not start for which something could not be written, or run."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and error.filename is not None:
        return PilotError(
            f"pilots could not be started: {error.filename}: cannot be written "
            f"({why_unwritten(error)}), expected a place with space left; make room, or give "
            f"another run directory"
        )
    return PilotError(f"pilots could not be started: {error}")
