"""Cuts and what they cost: gamma^2, circuits, and shots for a standard error of 0.02.

Ours as it is, ours before (a git revision), qiskit-addon-cutting 0.10 and
QCut 2.2.0, all in one run, beside the circuit uncut. Shots are measured: many estimates at about
as many shots as it takes, their spread, scaled to 0.02. They are those of all circuits of one
query together.

    python benchmarks/cuts.py [--only WORD] [--quick] [--out FILE]
    python benchmarks/cuts.py --read FILE                 the tables of an earlier run

- "now" and "before": `compile_plan` with the case's labels or `max_width`, `CutEstimator` in
  sampled mode. Before: the defaults of then. Now: the cheapest in gamma^2 of `joint_cuts` and not,
  with the default of `wires`; at marked wires every way to cut them. With every shot allocation
  there is, a line each.
- The addon: labels, `CutWire` or `find_cuts` with as many qubits, all terms enumerated,
  experiments drawn from their exact distributions, the same shots each. Gates on three qubits are
  decomposed before, since it takes none. Measured up to 8,000 experiments of 14 qubits.
- QCut: `cutGate`, `cut`, or `find_cuts` (the cheapest of three numbers of partitions), defaults
  (joint rotations, consolidation, communication from two wires on), all terms enumerated, run on
  Aer. Measured up to 700 experiments. It lives in an environment of its own, made at the first
  run in `--environment`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cut_circuits import Case, cases
from cut_engines import ERROR, marked
from environments import HOME, python_with
from qiskit import QuantumCircuit, qpy
from qiskit.circuit.library import IGate
from qiskit.quantum_info import Pauli
from qiskit_aer import AerSimulator

HERE = Path(__file__).resolve().parent

#: The build before cuts came at their true price.
BEFORE = "b392839"

QCUT = ("QCut==2.2.0", "qiskit==2.6.2", "qiskit-aer==0.17.2", "numpy==2.4.6")

ENGINES = ("now", "before", "addon", "qcut")

#: Times fewer shots than before that are claimed.
CLAIMS = {"CCZ": 100.0, "1 wire": 1.7, "2 wires": 5.0}


def main() -> None:
    """Measure, or read, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name has this word")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--before", default=BEFORE, metavar="REV")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--environment", type=Path, default=HOME / "pilotcut-qcut")
    options = parser.parse_args()
    if options.read:
        record = json.loads(options.read.read_text())
        report(record)
        return
    started = time.perf_counter()
    some = [case for case in cases() if options.only.lower() in case.name.lower()]
    about = [{"name": c.name, "where": c.where, "value": value_of(c)} for c in some]
    with tempfile.TemporaryDirectory() as scratch:
        found = list(answers(some, options, Path(scratch)))
    record = {"cases": about, "answers": found, "seconds": time.perf_counter() - started}
    if options.out:
        options.out.write_text(json.dumps(record, indent=1))
    report(record)


# -- running -----------------------------------------------------------------------------


def answers(
    some: Sequence[Case], options: argparse.Namespace, scratch: Path
) -> Iterator[dict[str, Any]]:
    """Yield what every engine says, one after the other."""
    for engine in options.engines.split(","):
        directory = scratch / engine
        directory.mkdir()
        written(some, directory, engine)
        python, path = interpreter(engine, options, scratch)
        command = [python, str(HERE / "cut_engines.py"), engine, str(directory)]
        command.append("1" if options.quick else "4")
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                answer = json.loads(line)
                print(f"# {engine} {some[answer['case']].name}: {line.strip()}", file=sys.stderr)
                yield answer


def written(some: Sequence[Case], directory: Path, engine: str) -> None:
    """Write the cases for an engine's process."""
    about = [
        {
            "labels": case.labels,
            "width": case.width,
            "observable": case.observable,
            "engine_options": engine == "now",
        }
        for case in some
    ]
    (directory / "cases.json").write_text(json.dumps(about))
    for number, case in enumerate(some):
        with (directory / f"{number}.qpy").open("wb") as file:
            qpy.dump(case.circuit, file)


def interpreter(engine: str, options: argparse.Namespace, scratch: Path) -> tuple[str, str]:
    """Return the Python that an engine runs with, and its PYTHONPATH."""
    if engine == "qcut":
        return python_with(options.environment, QCUT), ""
    if engine == "before":
        return sys.executable, str(tree_of(options.before, scratch / "tree"))
    return sys.executable, str(HERE.parent)


def tree_of(revision: str, directory: Path) -> Path:
    """Return the files of a revision of this repository."""
    command = ["git", "-C", str(HERE.parent), "archive", revision, "pilotcut"]
    packed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def value_of(case: Case) -> float:
    """Return the uncut circuit's value, by Aer's matrix product states (which are exact here).

    By stabilizers where gates are Clifford: of 100 qubits on a ring in random order matrix product
    states are too large.
    """
    circuit = marked(case.circuit, IGate, 2)
    circuit = circuit.decompose(["xx_plus_yy", "cs", "crz", "cry", "crx"])
    measured = QuantumCircuit(circuit.num_qubits).compose(circuit)
    measured.save_expectation_value(Pauli(case.observable), range(circuit.num_qubits))
    clifford = set(circuit.count_ops()) <= {"h", "x", "s", "cx", "cz", "id"}
    simulator = AerSimulator(method="stabilizer" if clifford else "matrix_product_state")
    return float(simulator.run(measured).result().data()["expectation_value"])


# -- tables ------------------------------------------------------------------------------


def report(record: dict[str, Any]) -> None:
    """Print the tables and what they say about the claims."""
    table: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for answer in record["answers"]:
        engines = table.setdefault(answer["case"], {})
        engines.setdefault(answer["engine"], []).append(answer)
    about = record["cases"]
    for line in [*prices(about, table), "", *shots(about, table), "", *verdicts(about, table)]:
        print(line)
    print(f"{record['seconds']:.0f} s")


def best(some: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Return the answer of least gamma^2."""
    priced = [one for one in some or [] if one["overhead"] is not None]
    return min(priced, key=lambda one: one["overhead"]) if priced else None


def prices(about: list[dict[str, Any]], table: dict[int, Any]) -> Iterator[str]:
    """Yield the table of cuts, gamma^2 and circuits."""
    yield "cuts / gamma^2 / circuits of a query (refused: what the engine says is in the log)"
    yield f"{'circuit':20} {'cut':>8}" + "".join(f"{engine:>22}" for engine in ENGINES)
    for number, case in enumerate(about):
        cells = []
        for engine in ENGINES:
            one = best(table.get(number, {}).get(engine))
            cells.append("refused" if one is None else priced(one))
        yield f"{case['name']:20} {case['where']:>8}" + "".join(f"{cell:>22}" for cell in cells)


def priced(one: dict[str, Any]) -> str:
    """Return the cell of one answer."""
    circuits = "-" if one["experiments"] is None else number(one["experiments"])
    return f"{one['cuts']} / {number(one['overhead'])} / {circuits}"


def number(value: float) -> str:
    """Return three digits, or all of a small whole number."""
    if value < 10 and abs(value - round(value)) > 0.005:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value < 99_999.5 else f"{value:.1e}".replace("e+", "e")


def shots(about: list[dict[str, Any]], table: dict[int, Any]) -> Iterator[str]:
    """Yield the table of measured shots, a line for every way."""
    yield f"shots for a standard error of {ERROR}, measured (relative error); z of the mean"
    yield (
        f"{'circuit':20} {'cut':>8} {'uncut':>6}  {'engine':8} {'how':24} {'gamma^2':>8} "
        f"{'shots':>9} {'+-':>4} {'z':>5}"
    )
    for number_, case in enumerate(about):
        uncut = (1 - case["value"] ** 2) / ERROR**2
        head = f"{case['name']:20} {case['where']:>8} {uncut:6.0f}"
        for engine in ENGINES:
            for one in table.get(number_, {}).get(engine, []):
                if one["shots"] is None:
                    said = one["lacks"]
                    yield f"{head}  {engine:8} {one['how']:24} {said:.60}"
                else:
                    z = (one["mean"] - case["value"]) / max(one["mean_error"], 1e-9)
                    yield (
                        f"{head}  {engine:8} {one['how']:24} {number(one['overhead']):>8} "
                        f"{number(one['shots']):>9} {one['spread']:4.0%} {z:5.1f}"
                    )
                head = " " * len(head)


def verdicts(about: list[dict[str, Any]], table: dict[int, Any]) -> Iterator[str]:
    """Yield where we are behind in gamma^2, and the claims against the build before."""
    behind = 0
    for place, case in enumerate(about):
        ours = best(table.get(place, {}).get("now"))
        for engine in ("addon", "qcut", "before"):
            theirs = best(table.get(place, {}).get(engine))
            if theirs and (ours is None or ours["overhead"] > theirs["overhead"] * (1 + 1e-6)):
                behind += 1
                mine = "refused" if ours is None else number(ours["overhead"])
                yield (
                    f"BEHIND {engine} in gamma^2 on {case['name']} ({case['where']}): "
                    f"{mine} instead of {number(theirs['overhead'])}"
                )
    yield f"behind in gamma^2: {behind} times"
    for place, case in enumerate(about):
        if claimed := CLAIMS.get(case["name"]):
            least = {
                engine: [
                    one["shots"]
                    for one in table.get(place, {}).get(engine, [])
                    if one["shots"] and one["how"].startswith("uniform")
                ]
                for engine in ("now", "before")
            }
            if all(least.values()):
                ratio = min(least["before"]) / min(least["now"])
                word = "holds" if ratio >= claimed else "FAILS"
                yield f"{case['name']}: {ratio:.3g} times fewer shots; {claimed:g} {word}"


if __name__ == "__main__":
    main()
