"""The board of loads: what programs say, and for how long it holds."""

from pilotcut.pilots.elastic import PilotLoad
from pilotcut.pilots.load_board import STALE_S, LoadBoard, LoadRecord


def test_what_another_program_wrote_is_read_once_and_holds_for_a_while(tmp_path, monkeypatch):
    record = LoadRecord(loads={"p": PilotLoad(ready_slots=3.0)}, used={"p-0": 5.0})
    file = tmp_path / "load-host-1.json"
    file.write_text(record.model_dump_json())
    board, connection = LoadBoard(), tmp_path / "connection.json"
    board.read(connection, 100.0)
    monkeypatch.setattr(LoadRecord, "model_validate_json", None)
    for now, slots in ((100.0 + STALE_S - 1, 3.0), (100.0 + STALE_S + 1, 0.0), (200.0, 0.0)):
        board.read(connection, now)
        assert board.of("p").ready_slots == slots
    assert board.used == {"load-host-1.json": {"p-0": 5.0}}


def test_who_has_left_is_asked_no_more():
    board, asked = LoadBoard(), []
    board.on_asked("me", lambda: asked.append(1))
    board.say("me", {"p": PilotLoad(ready_slots=1.0)})
    board.ask()
    board.leave("me")
    board.ask()
    assert (len(asked), board.of("p").ready_slots) == (1, 0.0)
