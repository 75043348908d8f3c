"""Reader of circuit files: OpenQASM 2 and 3 (``.qasm``) and QPY (``.qpy``).

Owns which language a file is in, and what of it can be cut; what is wrong is said in one line with
the place. The languages are read in `pilotcut.circuits.files`. Parsing is Qiskit's; what its
parsers raise for a broken file is anything, so anything is caught.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

from qiskit.circuit import QuantumCircuit

from pilotcut.circuits.files import final_measurements, qasm2, qpy, standard_gates
from pilotcut.circuits.files.faults import FaultError, check_bits, faults, quoted
from pilotcut.circuits.files.qasm2.tokens import decoded, line_at, without_comments
from pilotcut.circuits.measurement_map import MEASURED
from pilotcut.circuits.program import read_circuit
from pilotcut.errors import CircuitFileError
from pilotcut.options import counted

_SUFFIXES = (".qasm", ".qpy")
_VERSION = re.compile(r"^\s*OPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_REGISTER = re.compile(r"\b(?:[qc]reg\s+\w+|qubit|bit)\s*\[\s*([\d_]+)\s*\]")

#: What a program without its version begins with, as far as it can be read.
_QASM3_WORDS = re.compile(
    r"(?:^|[;}])\s*(?:(?:qubit|bit|input|output|const|let|float|angle|u?int|bool|ctrl|negctrl|inv|pow|"
    r"gphase|for|while|def|box|array|duration)\b|\#\s*pragma|include\s*\"stdgates.inc\")"
)
_APPLIED = re.compile(
    r"(?:^|[;}])\s*(?!(?:include|qreg|creg|gate|opaque|barrier|measure|reset|if)\b)"
    r"[A-Za-z]\w*\s*(?:\([^;]*\))?\s*[A-Za-z]\w*\s*(?:\[\s*\d+\s*\])?[^;]*;"
)


def load_circuit(path: str | Path, tell: Callable[[str], object] = warnings.warn) -> QuantumCircuit:
    """Return the circuit in a file, without its final measurements.

    Parameters
    ----------
    path
        A ``.qasm`` file in OpenQASM 2 or 3 (``input float`` makes a parameter, ``input array`` a
        vector of them; needs ``qiskit-qasm3-import``), or a ``.qpy`` file of exactly one circuit.
        Gates that the file uses and does not define are known by name: those of Qiskit's library
        and those of other writers whose names mean one thing.
    tell
        Called with a line about what was left out, or read in other words than the file's. Where
        qubits are measured into bits of other numbers, bits of `pilotcut.Distribution` are in
        the order of the file's bits, and observables count qubits all the same.

    Raises
    ------
    CircuitFileError
        In one line: the file (and line), what was found, what was expected, the next step.

    Examples
    --------
    >>> from pathlib import Path; from tempfile import mkdtemp
    >>> file = Path(mkdtemp()) / "bell.qasm"
    >>> _ = file.write_text('OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; h q[0]; cx q[0],q[1];')
    >>> load_circuit(file).num_qubits
    2
    """
    path = Path(path)

    def note(line: str) -> None:
        tell(f"{path.name}: {line}")

    try:
        content = _content(path)
        is_qpy = path.suffix.lower() == ".qpy"
        circuit = qpy.read(content) if is_qpy else _from_qasm(content, path, note)
        return _cuttable(circuit, note)
    except FaultError as fault:
        place = path if fault.line is None else f"{path}:{fault.line}"
        raise CircuitFileError(f"{place}: {fault}") from None


def _content(path: Path) -> bytes:
    if path.suffix.lower() not in _SUFFIXES:
        found = f"suffix '{path.suffix}'" if path.suffix else "no suffix"
        raise FaultError(
            f"has {found}, expected .qasm (OpenQASM 2 or 3) or .qpy; rename the file, or write "
            f"the circuit with qiskit.qpy.dump"
        )
    try:
        if path.exists() and not path.is_file():
            what = "a directory" if path.is_dir() else "no regular file"
            raise FaultError(f"is {what}, expected a file with a circuit; name the file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise FaultError("does not exist, expected a .qasm or .qpy file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise FaultError(f"cannot be read ({reason}); check the path and its rights") from None
    if not content.strip():
        raise FaultError("is empty, expected a circuit; write it again")
    return content


def _cuttable(circuit: QuantumCircuit, note: Callable[[str], None]) -> QuantumCircuit:
    """Return the circuit without final measurements; refuse what cannot be cut."""
    if not circuit.num_qubits:
        raise FaultError("has no qubits, expected at least one; declare a register of qubits")
    check_bits(circuit.num_qubits, counted(circuit.num_qubits, "qubit"))
    with faults("is read, but its circuit cannot be used"):
        # Boxes go first, since the final measurements may be in one.
        circuit, measured = final_measurements.removed(final_measurements.unboxed(circuit))
        standard_gates.restore(circuit)
        read_circuit(circuit)
    if measured.count:
        note(
            f"{counted(measured.count, 'final measurement')} "
            f"{'is' if measured.count == 1 else 'are'} left out; observables say what is measured"
        )
        circuit.metadata = {k: v for k, v in (circuit.metadata or {}).items() if k != MEASURED}
        if not measured.is_plain(circuit.num_qubits):
            circuit.metadata[MEASURED] = list(measured.qubits)
            note(measured.text())
    return circuit


# -- OpenQASM --------------------------------------------------------------------------


def _from_qasm(content: bytes, path: Path, note: Callable[[str], None]) -> QuantumCircuit:
    text = _text(content)
    bare = without_comments(text)
    version = _VERSION.match(bare)
    if version is None:
        language = _guessed(text, bare)
    elif version[1] in ("2", "3"):
        language = version[1]
    else:
        line = bare[: version.start(1)].count("\n") + 1
        raise FaultError(f"is OpenQASM {version[1]}, expected 2 or 3; write it as one", line)
    # Before any parser makes the bits that a slip of the pen may have declared.
    _check_registers(bare)
    if language == "2":
        is_qibo = "generated by qibo" in text[:200].lower()
        return qasm2.read(bare, path, note, has_version=version is not None, is_qibo=is_qibo)
    if version is None:
        note("has no version and is read as OpenQASM 3")
    return _from_qasm3(bare, note)


def _guessed(text: str, bare: str) -> str:
    """Return the language of a program that does not say its version, if it is one."""
    if _QASM3_WORDS.search(bare):
        return "3"
    if _APPLIED.search(bare):
        return "2"
    line = text[: len(bare) - len(bare.lstrip())].count("\n") + 1
    raise FaultError(
        f"found {quoted(bare.lstrip())}, expected 'OPENQASM 2.0;' or 'OPENQASM 3.0;' before all "
        f"else; add the version that the file is written in",
        line,
    )


def _from_qasm3(text: str, note: Callable[[str], None]) -> QuantumCircuit:
    try:  # an optional package: imported with the first file that needs it
        import qiskit_qasm3_import  # noqa: F401

        from pilotcut.circuits.files import qasm3
    except ImportError as error:
        raise FaultError(
            f"is OpenQASM 3, which needs a package that is not installed ({error}); install it "
            f"with: pip install qiskit-qasm3-import, or write the circuit as OpenQASM 2 or QPY"
        ) from None
    return qasm3.read(text, note)


def _text(content: bytes) -> str:
    try:
        text = decoded(content)
    except UnicodeDecodeError as error:
        line = line_at(content, error.start)
        raise FaultError(_no_text(f"byte {content[error.start]:#04x}"), line) from None
    if "\0" in text:
        raise FaultError(_no_text("byte 0x00"), text[: text.index("\0")].count("\n") + 1)
    return text


def _no_text(found: str) -> str:
    return f"is not a text file (found {found}), expected OpenQASM; QPY files end in .qpy"


def _check_registers(bare: str) -> None:
    for register in _REGISTER.finditer(bare):
        line = bare.count("\n", 0, register.start()) + 1
        check_bits(int(register[1].replace("_", "") or 0), register[0], line)
