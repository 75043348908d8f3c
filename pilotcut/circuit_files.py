"""Circuits from files: OpenQASM 2 and 3 (``.qasm``) and QPY (``.qpy``).

Owns what can be wrong with such a file, and says it in one line with the place. Parsing is
Qiskit's; what its parsers raise for a broken file is anything, so anything is caught here.
"""

from __future__ import annotations

import faulthandler
import io
import os
import re
import resource
import struct
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from qiskit import __version__ as qiskit_version
from qiskit import qasm2, qpy
from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from pilotcut.cutting.program import read_circuit
from pilotcut.errors import CircuitFileError, CutError

#: Registers that are larger are taken for a slip of the pen: they would not fit in memory.
MOST_BITS = 10**5

#: What a QPY file may take to read, beside what its size explains.
_SPARE_BYTES, _MOST_SECONDS = 2**30, 60

_STANDARD = get_standard_gate_name_mapping()
_SUFFIXES = (".qasm", ".qpy")
_VERSION = re.compile(r"^\s*OPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_REGISTER = re.compile(r"\b(?:[qc]reg\s+\w+|qubit|bit)\s*\[\s*([\d_]+)\s*\]")


class _FaultError(Exception):
    """What is wrong with a file; the line, from 1, where one is to blame."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def load_circuit(path: str | Path, tell: Callable[[str], object] = warnings.warn) -> QuantumCircuit:
    """Return the circuit in a file, without its final measurements.

    Parameters
    ----------
    path
        A ``.qasm`` file in OpenQASM 2 (with the gates that Qiskit's own exporter writes beyond
        those of ``qelib1.inc``) or 3 (``input float`` makes a parameter; needs
        ``qiskit-qasm3-import``), or a ``.qpy`` file of exactly one circuit.
    tell
        Called with a line about what was left out.

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
    try:
        content = _content(path)
        is_qpy = path.suffix.lower() == ".qpy"
        circuit = _from_qpy(content) if is_qpy else _from_qasm(content, path.parent)
        return _cuttable(circuit, path.name, tell)
    except _FaultError as fault:
        place = path if fault.line is None else f"{path}:{fault.line}"
        raise CircuitFileError(f"{place}: {fault}") from None


def _content(path: Path) -> bytes:
    if path.suffix.lower() not in _SUFFIXES:
        found = f"suffix '{path.suffix}'" if path.suffix else "no suffix"
        raise _FaultError(
            f"has {found}, expected .qasm (OpenQASM 2 or 3) or .qpy; rename the file, or write "
            f"the circuit with qiskit.qpy.dump"
        )
    try:
        if path.exists() and not path.is_file():
            what = "a directory" if path.is_dir() else "no regular file"
            raise _FaultError(f"is {what}, expected a file with a circuit; name the file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise _FaultError("does not exist, expected a .qasm or .qpy file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise _FaultError(f"cannot be read ({reason}); check the path and its rights") from None
    if not content.strip():
        raise _FaultError("is empty, expected a circuit; write it again")
    return content


def _cuttable(circuit: QuantumCircuit, name: str, tell: Callable[[str], object]) -> QuantumCircuit:
    """Return the circuit without final measurements; refuse what cannot be cut."""
    if not circuit.num_qubits:
        raise _FaultError("has no qubits, expected at least one; declare a register of qubits")
    with _faults("is read, but its circuit cannot be used"):
        measured = circuit.count_ops().get("measure", 0)
        if measured:
            circuit = circuit.remove_final_measurements(inplace=False)
        removed = measured - circuit.count_ops().get("measure", 0)
        _check_classical(circuit)
        _restore_standard_gates(circuit)
        try:
            read_circuit(circuit)
        except CutError as error:
            raise _FaultError(str(error)) from None
    if removed:
        tell(f"{name}: {removed} final measurements are left out; observables say what is measured")
    return circuit


def _check_classical(circuit: QuantumCircuit) -> None:
    for instruction in circuit.data:
        gate = instruction.operation
        blocks = getattr(gate, "blocks", ())
        if gate.name == "barrier" or not (instruction.clbits or blocks):
            continue
        where = ", ".join(str(circuit.find_bit(q).index) for q in instruction.qubits)
        if gate.name == "measure":
            raise _FaultError(
                f"measures qubit {where} in mid-circuit, expected measurements at the end only; "
                f"move them there, or remove them"
            )
        raise _FaultError(
            f"has '{gate.name}' with classical bits on qubits {where}, expected gates only; "
            f"remove control flow and conditions"
        )


def _restore_standard_gates(circuit: QuantumCircuit) -> None:
    """Make standard gates of those that the file defines under their names.

    Exporters define what their language lacks (rzz in OpenQASM 3, ecr in 2) by other gates, and
    a cut through two CX costs far more than one through an RZZ. What means something else under
    a standard name stays what the file says.
    """
    for place, instruction in enumerate(circuit.data):
        gate = instruction.operation
        known = _STANDARD.get(gate.name)
        if known is None or isinstance(gate, known.base_class):
            continue
        if (gate.num_qubits, len(gate.params)) == (known.num_qubits, len(known.params)):
            standard = known.base_class(*gate.params)
            if gate.definition is not None and _same(gate.definition, standard):
                circuit.data[place] = instruction.replace(operation=standard)


def _same(definition: QuantumCircuit, gate: Instruction) -> bool:
    """Say whether a definition is a gate up to its phase, at some values of free parameters."""
    alone = QuantumCircuit(gate.num_qubits)
    alone.append(gate, range(gate.num_qubits))
    names = sorted(p.name for p in alone.parameters)
    if sorted(p.name for p in definition.parameters) != names:
        return False
    values = {name: 0.4 + 0.3 * k for k, name in enumerate(names)}
    one, other = (
        Operator(c.assign_parameters({p: values[p.name] for p in c.parameters}))
        for c in (definition, alone)
    )
    return bool(one.equiv(other))


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """Turn whatever Qiskit's parsers raise for a broken file into a fault."""
    try:
        yield
    except _FaultError:
        raise
    except BaseException as error:
        # A panic of Rust code is no Exception; all else of that kind is not ours to stop.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _FaultError(f"{what} ({_brief(error)}); check it, or write it again") from None


def _brief(error: BaseException) -> str:
    """Return an exception in one short line."""
    text = _ESCAPES.sub("", str(getattr(error, "message", "") or error))
    inner = re.search(r"Backtrace.*?Error: ([^\n]+)", text, re.DOTALL)  # Rust's, over many lines
    text = " ".join((inner[1] if inner else text).split())
    text = text if len(text) <= 200 else text[:200] + " …"
    known = type(error).__module__.startswith(("qiskit", "openqasm3"))
    return text if known and text else f"{type(error).__name__}: {text}".removesuffix(": ")


# -- OpenQASM --------------------------------------------------------------------------


def _from_qasm(content: bytes, folder: Path) -> QuantumCircuit:
    text = _text(content)
    bare = _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    version = _VERSION.match(bare)
    if version is None:
        line = text[: len(bare) - len(bare.lstrip())].count("\n") + 1
        raise _FaultError(
            f"found {_quoted(bare.lstrip())}, expected 'OPENQASM 2.0;' or 'OPENQASM 3.0;' before "
            f"all else; add the version that the file is written in",
            line,
        )
    if version[1] not in ("2", "3"):
        line = bare[: version.start(1)].count("\n") + 1
        raise _FaultError(f"is OpenQASM {version[1]}, expected 2 or 3; write it as one", line)
    _check_registers(bare)
    return _from_qasm2(text, bare, folder) if version[1] == "2" else _from_qasm3(text)


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _FaultError(_no_text(f"byte {content[error.start]:#04x}"), line) from None
    if "\0" in text:
        raise _FaultError(_no_text("byte 0x00"), text[: text.index("\0")].count("\n") + 1)
    return text


def _no_text(found: str) -> str:
    return f"is not a text file (found {found}), expected OpenQASM; QPY files end in .qpy"


def _quoted(text: str) -> str:
    first = text.splitlines()[0].strip() if text.strip() else ""
    return repr(first if len(first) <= 40 else first[:40] + "…") if first else "nothing"


def _check_registers(bare: str) -> None:
    for register in _REGISTER.finditer(bare):
        if int(register[1].replace("_", "") or 0) > MOST_BITS:
            raise _FaultError(
                f"found '{register[0]}', expected registers of at most {MOST_BITS} bits; declare "
                f"what the circuit needs",
                bare[: register.start()].count("\n") + 1,
            )


def _from_qasm2(text: str, bare: str, folder: Path) -> QuantumCircuit:
    # Not those that the file defines: Qiskit would not look at the definition.
    own = set(re.findall(r"\bgate\s+(\w+)", bare))
    extra = [one for one in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if one.name not in own]
    try:
        with _faults("is not valid OpenQASM 2"):
            return qasm2.loads(
                text,
                include_path=(folder, "."),
                custom_instructions=extra,
                custom_classical=qasm2.LEGACY_CUSTOM_CLASSICAL,
            )
    except _FaultError as fault:
        # Qiskit says: "<input>:4,0: 'foo' is not defined in this scope"
        raise _located(fault, r"<input>:(\d+),\d+: ") from None


def _located(fault: _FaultError, pattern: str) -> _FaultError:
    """Return the fault with the line number that stands in its text."""
    found = re.search(pattern, str(fault))
    if found is None:
        return fault
    return _FaultError(str(fault).replace(found[0], ""), int(found[1]))


def _from_qasm3(text: str) -> QuantumCircuit:
    try:
        import openqasm3
        import qiskit_qasm3_import as importer
    except ImportError as error:
        raise _FaultError(
            f"is OpenQASM 3, which needs a package that is not installed ({error}); install it "
            f"with: pip install qiskit-qasm3-import, or write the circuit as OpenQASM 2 or QPY"
        ) from None
    program = _parsed_qasm3(openqasm3, text)
    try:
        with _faults("is not valid OpenQASM 3, or more of it than Qiskit reads"):
            return importer.convert(program)
    except _FaultError as fault:
        located = _located(fault, r"(?<=\()(\d+),\d+: ")  # "4,0: gate 'foo' is not defined."
        if located.line is None:
            located.line = _line_of_failure(importer.convert, program)
        raise located from None


def _parsed_qasm3(openqasm3: Any, text: str) -> Any:
    """Return the syntax tree; ANTLR tells its complaints to stderr alone."""
    said = io.StringIO()
    try:
        with redirect_stderr(said), _faults("is not valid OpenQASM 3"):
            return openqasm3.parse(text)
    except _FaultError as fault:
        complaint = re.search(r"line (\d+):\d+ (.*)", said.getvalue())
        if complaint:
            why = complaint[2] if len(complaint[2]) <= 200 else complaint[2][:200] + " …"
            raise _FaultError(_no_qasm3(why), int(complaint[1])) from None
        token = _offending_token(fault.__context__)
        if token is not None:
            raise _FaultError(_no_qasm3(f"unexpected {_quoted(token.text)}"), token.line) from None
        raise _located(fault, r"L(\d+):C\d+: ") from None


def _no_qasm3(why: str) -> str:
    return f"is not valid OpenQASM 3 ({why}); check it, or write it again"


def _offending_token(error: BaseException | None) -> Any:
    """Return the token at which ANTLR gave up: it is in the exception behind the exception."""
    for behind in (error, getattr(error, "__cause__", None)):
        for one in (behind, *getattr(behind, "args", ())):
            token = getattr(one, "offendingToken", None)
            if token is not None:
                return token
    return None


def _line_of_failure(convert: Callable[[Any], object], program: Any) -> int | None:
    """Return the line of the first statement that cannot be converted.

    The importer answers some statements with an exception that does not say where; the program
    up to some statement then fails from that statement on.
    """

    def fails(count: int) -> bool:
        try:
            convert(type(program)(statements=program.statements[:count], version=program.version))
        except Exception:
            return True
        return False

    number = bisect_left(range(len(program.statements)), True, key=lambda k: fails(k + 1))
    found = program.statements[min(number, len(program.statements) - 1)] if number >= 0 else None
    return found.span.start_line if found is not None and found.span else None


# -- QPY -------------------------------------------------------------------------------


def _from_qpy(content: bytes) -> QuantumCircuit:
    if content[:6] != b"QISKIT" or len(content) < 18:
        raise _FaultError(
            "is not a QPY file (it does not begin with a whole QPY header), expected what "
            "qiskit.qpy.dump writes; write it again, or rename OpenQASM to .qasm"
        )
    version, *wrote = content[6:10]
    newest = qpy.common.QPY_VERSION
    if version > newest:
        raise _FaultError(
            f"is of QPY version {version}, written by Qiskit {'.'.join(map(str, wrote))}, expected "
            f"at most {newest}, as Qiskit {qiskit_version} reads; upgrade Qiskit, or write the "
            f"file again with qiskit.qpy.dump(..., version={newest})"
        )
    (count,) = struct.unpack("!Q", content[10:18])
    if count != 1:
        raise _FaultError(
            f"holds {count} circuits, expected exactly one; write each to a file of its own"
        )
    if not _is_harmless(content):
        raise _FaultError(
            "cannot be read as QPY within bounds of memory and time; it is damaged, write it again"
        )
    with warnings.catch_warnings(), _faults(f"cannot be read as QPY version {version}"):
        warnings.simplefilter("ignore")  # of a newer Qiskit, whose gates may not be known here
        (circuit,) = qpy.load(io.BytesIO(content))
        return circuit


def _is_harmless(content: bytes) -> bool:
    """Say whether a child process of bounded memory and time gets to the end of a QPY file.

    Qiskit believes the counts in a file, would make 2^32 qubits of four damaged bytes, and where
    memory ends, Rust ends the process. Ordinary exceptions come again when we read it ourselves.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that we have threads: the child does not use them
        child = os.fork()
    if child == 0:
        os._exit(_read_bounded(content))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _read_bounded(content: bytes) -> int:
    """Read a QPY file in this process, which ends afterwards; return its exit code."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Rust says there where it failed
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _SPARE_BYTES + 100 * len(content)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
        qpy.load(io.BytesIO(content))
    except Exception as error:
        return int("memory" in f"{type(error).__name__} {error}".lower())
    except BaseException:  # a panic
        return 1
    return 0
