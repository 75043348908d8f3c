"""Extras: what a base install does, and that all else says in a line what to install.

What setup.cfg's requirements do not bring cannot be imported there; nothing is installed.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import pilotcut
from pilotcut.cli import app
from pilotcut.io.extras import EXTRAS

BASE_INSTALL = Path(__file__).parents[1] / "support" / "base_install.py"

#: The extras that a public name needs; all others are there in a base install.
NAMES = {
    **dict.fromkeys(("CutQNN", "cut_qnn"), "torch"),
    **dict.fromkeys(("CutGradient", "Callback", "Trainer", "TrainingRun", "trained"), "train"),
    **dict.fromkeys(("BoundedStaleness", "DataParallel", "LocalSteps", "Synchronous"), "train"),
}

QASM = "OPENQASM 2.0; include 'qelib1.inc'; qreg q[2]; ry(0.3) q[0]; cx q[0],q[1];"

FLEET = """
pilots:
  - {name: a, resource: inprocess, backend: {qpu: {num_qubits: 2, infidelity_1q: 0.001}}}
"""

SLURM = """
pilots:
  - {name: far, resource: slurm, cores_per_node: 1}
"""

MPI = """
pilots:
  - {name: ranks, resource: local, cores_per_node: 2, ranks: 2}
"""

#: Of each command some calls, with the extras that each needs, or None where the base is enough.
CALLS = {
    "train": [("iris --epochs 1", "train"), ("iris --tensorboard", "train")],
    "pilots show": [("fleet.yaml", None), ("slurm.yaml", "slurm")],
    "pilots up": [("slurm.yaml --run-dir up", "slurm"), ("mpi.yaml --run-dir up", "mpi")],
    "pilots status": [("--run-dir none", None)],
    "pilots down": [("--run-dir none", None)],
    "pilots attach": [("--connection none.json", None)],
    "tasks explain": [("none", None)],
    "fleet show": [("iris --fleet fleet.yaml", None)],
    "fleet train": [("iris --fleet fleet.yaml", "train")],
    "fleet infer": [("iris --fleet fleet.yaml --run-dir none", "train")],
    "run": [("slurm.yaml -- true", "slurm")],
    "calibrate": [("--mode exact", "torch"), ("--mode sampled --mode counts", "torch")],
    "recommend": [
        ("bell.qasm", None),
        ("bell.qasm --mode exact", "torch"),
        ("bell.qasm --mode sampled", "torch"),
        ("bell.qasm --plot a.png", "report"),
        ("bell.qasm --draw a.png", "report"),
    ],
    "reconstruct": [("none", None)],
    "plan": [
        ("bell.qasm --cuts 1", None),
        ("bell.qasm --cuts 1 --explain", None),
        ("bell.qasm --cuts 1 --draw a.png", "report"),
    ],
    "study": [("--list", "train,report"), ("rq1", "train,report")],
    "motif": [
        ("", None),
        *((name, "torch") for name in ("statevector", "cutting", "mitigation", "variational")),
        *((name, "train") for name in ("pipeline", "curve", "ensemble")),
        ("generative", "torch"),
    ],
    "report": [("none", "report")],
    "doctor": [("--json", None)],
    "status": [("none", None)],
}

COMMANDS = """
import contextlib, io, json, sys
from pilotcut import cli

def call(line):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["pilotcut", *line.split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        cli.console.out.file, cli.console.err.file = out, err
        try:
            code = cli._run()
        except BaseException as error:
            code = repr(error)
    return code, out.getvalue(), err.getvalue()

print("\\n" + json.dumps({line: call(line) for line in LINES}))
sys.stdout.flush()
"""

NAMED = """
import json, pilotcut
found = {}
for name in pilotcut.__all__:
    try:
        getattr(pilotcut, name)
    except ImportError as error:
        found[name] = [type(error).__name__, isinstance(error, pilotcut.UserError), str(error)]
print(json.dumps(found))
"""

COUNTS = """
import sys
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from pilotcut import CutEstimator, PilotManager, TaskManager, compile_plan, sample
from pilotcut import most_probable, recommend, reconstruct_probabilities
from pilotcut.pilots.description import embedded

circuit = QuantumCircuit(3)
circuit.ry(0.3, 0)
circuit.cx([0, 1], [1, 2])
with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as tasks:
    for cuts in (0, 1):
        estimator = CutEstimator(tasks, cuts=cuts, mode="counts", shots=4000, seed=7)
        data = estimator.run([(circuit, SparsePauliOp("ZZZ"))]).result()[0].data
        assert abs(data.evs - 0.955336) < 6 * data.stds + 1e-9, (cuts, data)
plan = compile_plan(circuit, cuts=1)
probabilities = reconstruct_probabilities(plan, mode="counts", shots=4000, seed=7)
assert abs(probabilities[0] - 0.97767) < 0.1, probabilities
assert sum(sample(plan, 100, mode="counts", seed=7).values()) == 100
for mode in ("exact", "sampled"):
    try:
        CutEstimator(cuts=1, mode=mode, seed=7).run([(circuit, SparsePauliOp("ZZZ"))]).result()
    except ImportError as error:
        print(error)
"""


def run_with(script, *extras, cwd=None):
    """Run a script where only a base install with these extras is found; return its last line."""
    done = subprocess.run(
        [sys.executable, BASE_INSTALL, *extras],
        input=script,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(pilotcut.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def commands_of(group, path=""):
    """Yield the paths of all commands of a command line."""
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        yield from commands_of(command, f"{path}{name} ") if inner else (path + name,)


@pytest.fixture(scope="module")
def in_a_base_install(tmp_path_factory):
    """Return exit code, output and errors of all calls of `CALLS`, and what names came to."""
    place = tmp_path_factory.mktemp("base")
    for name, text in {
        "bell.qasm": QASM,
        "fleet.yaml": FLEET,
        "slurm.yaml": SLURM,
        "mpi.yaml": MPI,
    }.items():
        (place / name).write_text(text)
    lines = [f"{name} {more}".strip() for name, calls in CALLS.items() for more, _ in calls]
    *_, called, named = run_with(f"LINES = {lines!r}\n{COMMANDS}\n{NAMED}", cwd=place)
    return json.loads(called), json.loads(named)


def test_every_command_is_tried():
    assert set(CALLS) == set(commands_of(typer.main.get_command(app)))


@pytest.mark.parametrize(
    ("line", "extra"),
    [(f"{name} {more}".strip(), extra) for name, calls in CALLS.items() for more, extra in calls],
)
def test_a_command_works_or_says_in_a_line_which_extra_it_needs(in_a_base_install, line, extra):
    code, out, err = in_a_base_install[0][line]
    assert "No module named" not in out + err
    assert code in (0, 1, 2), "no other exception leaves a command"
    if extra is None:
        assert "pip install 'pilotcut[" not in err
        return
    assert (code, out) == (2, "")
    (said,) = (told for told in err.splitlines() if told.startswith("error: "))
    assert said.endswith(f"not installed; pip install 'pilotcut[{extra}]'")


def test_every_public_name_is_there_or_says_in_a_line_which_extra_it_needs(in_a_base_install):
    found = in_a_base_install[1]
    assert set(found) == set(NAMES)
    for name, (kind, is_user_error, said) in found.items():
        assert (kind, is_user_error) == ("MissingExtraError", True)
        assert re.fullmatch(rf"{name} needs .* not installed; pip install 'pilotcut\[(.*)\]'", said)
        assert said.endswith(f"[{NAMES[name]}]'")


def test_an_extra_brings_all_that_its_names_need():
    first, then = run_with(f"only('torch')\n{NAMED}\nonly('train')\n{NAMED}")
    assert set(json.loads(first)) == {name for name, extra in NAMES.items() if extra == "train"}
    assert json.loads(then) == {}


def test_a_base_install_runs_counts_mode_and_exact_modes_name_their_extra():
    said = run_with(COUNTS)
    assert len(said) == 2
    assert all(line.endswith("pip install 'pilotcut[torch]'") for line in said)


def test_every_extra_that_is_named_is_one_of_setup_cfg_and_brings_what_is_looked_for():
    from importlib import metadata

    from support.base_install import closure, requirements

    owners = metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        brought, _ = closure(requirements(extra))
        for module in modules:
            assert brought & {name.lower() for name in owners.get(module, [module])}, extra
