"""Records of a run: line by line, readable whatever happened to the writer."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pilotcut.io.jsonl import JsonLines, mend, read_jsonl


def test_a_record_is_on_disk_as_soon_as_it_is_written(tmp_path):
    path = tmp_path / "trace.jsonl"
    with JsonLines(path) as lines:
        lines.write({"n": 1})
        assert read_jsonl(path) == [{"n": 1}]
        lines.write({"n": 2})
        assert read_jsonl(path) == [{"n": 1}, {"n": 2}]


def test_records_are_appended_unless_a_new_file_is_asked_for(tmp_path):
    path = tmp_path / "trace.jsonl"
    for n in (1, 2):
        with JsonLines(path) as lines:
            lines.write({"n": n})
    assert read_jsonl(path) == [{"n": 1}, {"n": 2}]
    with JsonLines(path, append=False) as lines:
        lines.write({"n": 3})
    assert read_jsonl(path) == [{"n": 3}]


def test_without_a_file_records_stay_in_memory():
    lines = JsonLines()
    lines.write({"n": 1})
    lines.close()
    assert lines.records == [{"n": 1}]


def test_numbers_of_numpy_become_plain_numbers(tmp_path):
    path = tmp_path / "trace.jsonl"
    with JsonLines(path) as lines:
        lines.write({"i": np.int64(3), "x": np.float32(0.5), "a": np.arange(2), "p": path})
    assert read_jsonl(path) == [{"i": 3, "x": 0.5, "a": [0, 1], "p": str(path)}]


def test_records_of_several_threads_do_not_mix(tmp_path):
    path = tmp_path / "trace.jsonl"
    with JsonLines(path) as lines:

        def write(thread):
            for n in range(100):
                lines.write({"thread": thread, "n": n, "filler": "x" * 500})

        threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(path.read_text().splitlines()) == 400
    records = read_jsonl(path)
    for k in range(4):
        assert [r["n"] for r in records if r["thread"] == k] == list(range(100))


@pytest.mark.parametrize("torn", [b'{"n": 3', b"{", b"\xff\xfe", b'{"n": "\xe2\x82'])
def test_a_torn_last_line_is_passed_over_and_mended(tmp_path, torn):
    path = tmp_path / "trace.jsonl"
    whole = b'{"n": 1}\n{"n": 2}\n'
    path.write_bytes(whole + torn)
    assert read_jsonl(path) == [{"n": 1}, {"n": 2}]
    mend(path)
    assert path.read_bytes() == whole
    mend(path)
    assert path.read_bytes() == whole


def test_a_line_that_is_no_record_does_not_hide_the_others(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'{"n": 1}\n\xff garbage\n[1, 2]\n\n{"n": 2}\n')
    assert read_jsonl(path) == [{"n": 1}, {"n": 2}]


def test_mending_leaves_a_whole_an_empty_and_a_missing_file_alone(tmp_path):
    path = tmp_path / "trace.jsonl"
    mend(path)
    assert not path.exists()
    for content in (b"", b'{"n": 1}\n'):
        path.write_bytes(content)
        mend(path)
        assert path.read_bytes() == content


def test_a_killed_writer_leaves_every_finished_record(tmp_path):
    path = tmp_path / "trace.jsonl"
    script = """
        import sys
        from pathlib import Path
        from pilotcut.io.jsonl import JsonLines
        lines = JsonLines(Path(sys.argv[1]))
        for n in range(10**9):
            lines.write({"n": n, "filler": "x" * 1000})
            if n == 100:
                print("written", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "written\n"
        os.kill(writer.pid, signal.SIGKILL)
    records = read_jsonl(path)
    assert len(records) > 100
    assert [r["n"] for r in records] == list(range(len(records)))
    mend(path)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_that_are_written_together_stand_in_their_order_whoever_writes_them(tmp_path):
    path = tmp_path / "events.jsonl"
    with JsonLines(path) as lines:
        with lines.together():
            lines.write({"n": 1})
            with ThreadPoolExecutor(1) as other:
                other.submit(lines.write, {"n": 2}).result()
            lines.write({"n": 3})
            assert path.read_bytes() == b""
        assert [record["n"] for record in read_jsonl(path)] == [1, 2, 3]
        lines.write({"n": 4})
        assert [record["n"] for record in read_jsonl(path)] == [1, 2, 3, 4]
