"""Running of a work unit where it has come to: on a worker, or in this process.

Results go into a store, jobs of devices into the journal beside it. Refuses to know who sends
units, and what becomes of results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pilotcut.backends.job_journal import JobJournal, written_down
from pilotcut.backends.job_usage import staying
from pilotcut.cutting.fragment import Fragment
from pilotcut.execution.work_units import WorkUnit
from pilotcut.pilots.worker.sessions import during
from pilotcut.reconstruction.block_store import BlockStore, TornBlockError
from pilotcut.tasks import Shared

#: Folder beside the blocks of a query with the jobs that are, or were, in flight for it.
JOBS = "jobs"


def run_unit(
    fragment: Shared,
    listed: np.ndarray | None,
    unit: WorkUnit,
    store: BlockStore | None,
    query: str = "",
) -> Any:
    """Run a unit of a query on a worker; what goes into a store does not travel back."""
    whole: Fragment = fragment.get()
    some = whole if listed is None else whole.listing(listed)
    with during(query):
        found = measure(unit, some, store)
    return found if store is None else _write(unit, store, some, found)


def measure(unit: WorkUnit, fragment: Fragment, store: BlockStore | None) -> Any:
    """Run a unit; with a store, jobs of a device are written down before they are awaited."""
    if unit.device is None or not unit.device.runs_itself:
        return unit.run(fragment)
    journal = None
    if store is not None:
        journal = JobJournal(store.directory.parent / JOBS, unit.key(fragment))
    with written_down(journal), staying(unit.stays):
        return unit.run(fragment)


def run_shared(fn: Callable[[Any, Any], Any], common: Shared, item: Any) -> Any:
    """Run a function of something shared on a worker."""
    return fn(common.get(), item)


def run_here(unit: WorkUnit, fragment: Fragment, store: BlockStore | None) -> Any:
    """Return a unit's result, from a store that has it, else run in this process."""
    found = stored_result(unit, fragment, store)
    if found is None:
        found = measure(unit, fragment, store)
        if store is not None:
            _write(unit, store, fragment, found)
    return found


def _write(unit: WorkUnit, store: BlockStore, fragment: Fragment, found: Any) -> Any:
    try:
        return unit.write(store, fragment, found)
    except OSError as error:
        raise store.unwritten(unit.block, error) from error


def stored_result(
    unit: WorkUnit, fragment: Fragment, store: BlockStore | None, rest: Any = None
) -> Any:
    """Return what a store holds of a unit, None if it holds nothing that is whole."""
    if store is None:
        return None
    try:
        return unit.read(store, fragment, rest)
    except TornBlockError:
        return None
