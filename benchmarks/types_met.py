"""Types that one estimator call meets: classes of pilotcut, counted in a trace of `sys.setprofile`.

One call is ``CutEstimator(labels="AB", seed=7).run([(circuit, "ZZ")]).result()`` in counts mode,
with all threads of this process. Two calls are traced: the first, with the constructor and the
compilation of the plan, and the same call of that estimator again, which meets only what a query
takes. Both run in this process, and once more on a TaskManager with a local pilot whose workers
run already; what happens in the workers is not traced. A class counts if it is defined in
pilotcut and, for any Python function of pilotcut that is called meanwhile,

- the function is a method in the class's body, properties, class methods, static ones and what
  `dataclass` generates included, or
- an instance of exactly this class, or the class itself, is one of the arguments, `self` included.

Elements of containers count once a function takes one of them by itself. Classes whose name
begins with an underscore are counted, and their number is printed beside the sum: nobody needs
them before changing the module that they are in.

    python benchmarks/types_met.py [--here]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import inspect
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from qiskit.circuit import QuantumCircuit

from pilotcut import CutEstimator, PilotManager, TaskManager

DESCRIPTION = Path(__file__).parents[1] / "pilot_descriptions" / "laptop.yaml"


def main() -> None:
    """Print the types that calls meet, in this process and on a pilot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--here", action="store_true", help="in this process only")
    options = parser.parse_args()
    show("in this process", None)
    if not options.here:
        with PilotManager.from_yaml(DESCRIPTION) as pilots, TaskManager(pilots) as tasks:
            tasks.submit_task(abs, -1).result()  # from here on a worker runs
            show("on a TaskManager with a local pilot", tasks)


def show(where: str, tasks: TaskManager | None) -> None:
    """Print what a first call meets, and what it meets when it is repeated."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    estimators = []

    def first() -> None:
        estimators.append(CutEstimator(tasks, labels="AB", seed=7))
        again()

    def again() -> None:
        estimators[0].run([(circuit, "ZZ")]).result()

    met, met_again = types_met(first), types_met(again)
    print(f"{where}: {counted(met)}; by the same call again {counted(met_again)}")
    for name in sorted(met):
        print(f"  {name}{'' if name in met_again else '  (first call only)'}")


def counted(names: set[str]) -> str:
    """Return the number of classes, and how many of them are private."""
    private = sum(name.rpartition(".")[2].startswith("_") for name in names)
    return f"{len(names)} types ({len(names) - private} public, {private} private)"


def types_met(run: Callable[[], None]) -> set[str]:
    """Return the full names of pilotcut's classes that a call meets."""
    found: set[str] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        module = str(frame.f_globals.get("__name__"))
        if event != "call" or not module.startswith("pilotcut"):
            return
        owner, _, method = frame.f_code.co_qualname.rpartition(".")
        if owner and "<locals>" not in owner and not method.startswith("<"):
            found.add(f"{module}.{owner}")
        for value in arguments(frame):
            kind = value if isinstance(value, type) else type(value)
            if str(kind.__module__).startswith("pilotcut"):
                found.add(f"{kind.__module__}.{kind.__qualname__}")

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return found


def arguments(frame: FrameType) -> list[Any]:
    """Return the values that a function was called with."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return [frame.f_locals[name] for name in code.co_varnames[:count] if name in frame.f_locals]


if __name__ == "__main__":
    main()
