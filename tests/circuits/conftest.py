"""Fixtures of the tests of circuit files."""

import time

import pytest

from pilotcut.circuits.reader import load_circuit
from pilotcut.errors import CircuitFileError


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Return a function that loads content from a file, and returns circuit and notes."""
    folder = tmp_path_factory.mktemp("files")

    def run(content, name="circuit.qasm", **beside):
        for other, text in beside.items():
            (folder / f"{other}.inc").write_text(text)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        notes = []
        return load_circuit(folder / name, tell=notes.append), notes

    return run


@pytest.fixture
def refused(load):
    """Return a function that expects a refusal within seconds, and returns its one line."""

    def run(content, name="circuit.qasm", **beside):
        began = time.monotonic()
        with pytest.raises(CircuitFileError) as error:
            load(content, name, **beside)
        assert time.monotonic() - began < 20
        (line,) = error.value.faults
        assert "\n" not in line
        return line.split(f"{name}:", 1)[1]

    return run
