"""What pilots cannot write is one line with its path, and is written once there is room."""

import errno
import logging

import pytest
from support.full_disks import no_file_above

from pilotcut import PilotManager
from pilotcut.errors import PilotError
from pilotcut.pilots import PilotState, registry
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.journal import Journal
from pilotcut.pilots.pilot import InProcessPilot
from pilotcut.pilots.worker.connection import Connection

LOCAL = PilotDescription(name="p", resource="local")


def test_a_file_without_space_ends_the_start_in_one_line_with_its_path(tmp_path, monkeypatch):
    path = tmp_path / "run" / "connection.json"

    def fail(*_):
        raise OSError(errno.EFBIG, "File too large", str(path))

    monkeypatch.setattr(Connection, "write", fail)
    manager = PilotManager([LOCAL], run_dir=path.parent)
    with pytest.raises(PilotError) as caught:
        manager.start()
    assert str(caught.value) == (
        f"pilots could not be started: {path}: cannot be written (File too large), expected a "
        "place with space left; make room, or give another run directory"
    )
    assert manager.pilots[0].state is PilotState.FAILED


def test_a_registry_without_space_is_said_once_and_written_later(tmp_path, caplog):
    """Who uses the pilots of another process would wait for ever for what it says."""
    pilot, journal = InProcessPilot(LOCAL), Journal()
    connection = tmp_path / "connection.json"
    with no_file_above(10), caplog.at_level(logging.WARNING):
        for _ in range(3):
            journal.list_pilots(connection, [pilot])
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{tmp_path / 'pilots.json'}: cannot be written (File too large)" in said
    assert registry.read(tmp_path / "pilots.json") == []
    pilot.move(PilotState.ACTIVE)
    journal.list_again(connection, [pilot])
    (entry,) = registry.read(tmp_path / "pilots.json")
    assert entry.state is PilotState.ACTIVE
