"""Whether the recommended number of cuts is the fastest, and how far predictions are off.

Every number of cuts from 0 to 4, where there is one, of nine families at three sizes around this
machine's break-even points, in counts and exact mode, on one and two local workers. The cost
model is calibrated as `pilotcut calibrate` does, on three families (EfficientSU2, QAOA ring,
brickwork); the other six are held out. Beside it stands the published model (arXiv:2412.18519),
its two constants fitted to what was measured of the same three families on the same workers.

    python benchmarks/recommendation.py [--out FILE] [--modes counts,exact] [--workers 1,2]
        [--gradients]
    python benchmarks/recommendation.py --read FILE      the tables of an earlier run
    python benchmarks/recommendation.py --wide           36 qubits: what is recommended is run
    python benchmarks/recommendation.py --answers        how long an answer takes

In exact mode the candidates are every number of cuts by statevectors of the branches, those with
fragments that are quicker as networks, and the tensor network of the whole circuit where there is
one; the pick is what an estimator does with the
recommended plan, which is one of them. With `--gradients` a batch is `CutGradient`'s: its values,
and derivatives by all parameters.

In exact mode the break-even lies at batches of milliseconds, where dispatch to another process
would decide more than the cuts do; there the workers are threads of this process (an in-process
pilot), in counts mode processes.

A pick is right if what was picked took at most 5 % longer than the fastest number of cuts.
Regret is its time over that of the fastest. Candidates are batches of 64 parameter sets in exact
mode and 2 in counts mode (1,024 shots), compilation apart, medians of interleaved rounds; one
that takes more than eight times as long as another is measured once, and one that is predicted to
take more than 10 s and 10 times as long as another not at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import exp
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from families import FAMILIES
from published_model import PublishedModel
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scaleout import local

from pilotcut import CutEstimator, CutGradient, PilotManager, TaskManager
from pilotcut.circuits.observables import pauli_terms
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.placement import Placement
from pilotcut.errors import CutError
from pilotcut.options import AUTO, NETWORK, STATEVECTOR
from pilotcut.perfmodel import resources, sample_circuits
from pilotcut.perfmodel.costmodel import WIDTH
from pilotcut.perfmodel.forecast import CalibratedPilot
from pilotcut.perfmodel.measure import measure_through
from pilotcut.perfmodel.options import Options
from pilotcut.perfmodel.recommend import WORTH, recommend_for
from pilotcut.perfmodel.recommendation import Recommendation, RecommendationLine
from pilotcut.pilots.description import embedded

SIZES = {"exact": (10, 13, 16), "counts": (14, 17, 20)}
ROWS = {"exact": 64, "counts": 2}
MAX_CUTS = 4
RIGHT = 1.05
#: What takes less is run once before it is measured: a batch follows others like it, and not those
#: of another candidate, which leave nothing of it in the caches.
WARM_S = 0.1
#: How cuts are computed in exact mode where fragments are networks, and engines of other ways.
OF_FRAGMENTS = (NETWORK, f"{STATEVECTOR} and {NETWORK}")
BY_STATES = ("", STATEVECTOR)
#: What takes less than this in all rounds is measured up to five times as often.
SHORT_S = 0.5


@dataclass(frozen=True)
class Measured:
    """One candidate of one case: seconds of a batch, predicted and measured."""

    mode: str
    workers: int
    family: str
    qubits: int
    cuts: int
    widest: int
    predicted_s: float
    low_s: float
    high_s: float
    seconds: float
    chosen: bool
    engine: str = ""

    @property
    def case(self) -> tuple[str, int, str, int]:
        """What was to be decided."""
        return (self.mode, self.workers, self.family, self.qubits)


def main() -> None:
    """Measure, or read, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--modes", default="exact,counts")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gradients", action="store_true", help="with all derivatives")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--answers", action="store_true")
    options = parser.parse_args()
    if options.wide or options.answers:
        wide(options.modes.split(",")) if options.wide else answers()
        return
    if options.read:
        found = [Measured(**one) for one in json.loads(options.read.read_text())]
    else:
        found = []
        for mode in options.modes.split(","):
            for workers in map(int, options.workers.split(",")):
                found += measure(workers, mode, options)
                if options.out:
                    options.out.write_text(json.dumps([asdict(one) for one in found], indent=0))
    for line in tables(found):
        print(line)


def measure(workers: int, mode: str, options: argparse.Namespace) -> list[Measured]:
    """Return all candidates of one mode on so many workers."""
    manager = local(workers) if mode == "counts" else PilotManager(embedded(workers))
    found = []
    with manager, TaskManager(manager) as tasks:
        description = manager.pilots[0].description
        started = perf_counter()
        calibration = measure_through(tasks, description, [mode])
        took, spread = perf_counter() - started, calibration.costs(mode).spread
        print(
            f"# {mode}, {workers} workers: calibrated in {took:.0f} s, predicts within "
            f"{exp(WIDTH * spread):.2f}x",
            flush=True,
        )
        view = CalibratedPilot(description, resources.described(description), calibration)
        for family in options.families.split(","):
            for qubits in SIZES[mode]:
                found += case(tasks, view, mode, family, qubits, options)
    return found


def case(
    tasks: TaskManager,
    view: CalibratedPilot,
    mode: str,
    family: str,
    qubits: int,
    options: argparse.Namespace,
) -> list[Measured]:
    """Return the candidates of one circuit."""
    circuit = FAMILIES[family](qubits)
    observable = "Z" * circuit.num_qubits
    rows = ROWS[mode]
    found, pick = candidates(circuit, observable, view, mode, options.gradients)
    forecast = [one.predicted_s for one in found]
    values = np.random.default_rng(3).uniform(-np.pi, np.pi, (rows, circuit.num_parameters))
    pub = (circuit, observable, values)
    run = Step if options.gradients else Run
    runs = [
        run(CutEstimator(tasks, labels=one.placement, mode=mode, seed=5, engine=one.engine), pub)
        for one in found
    ]
    seconds = timed(runs, forecast, options.rounds)
    factor = exp(WIDTH * view.calibration.costs(mode).spread)
    measured = [
        Measured(
            mode=mode,
            workers=view.resources.slots,
            family=family,
            qubits=circuit.num_qubits,
            cuts=one.cuts,
            widest=one.widest,
            predicted_s=one.predicted_s,
            low_s=one.predicted_s / factor,
            high_s=one.predicted_s * factor,
            seconds=took,
            chosen=one is pick,
            engine=one.engine if mode == "exact" else "",
        )
        for one, took in zip(found, seconds, strict=True)
        if took == took
    ]
    print(
        f"# {mode} {view.resources.slots} {family} {circuit.num_qubits}: "
        + ", ".join(
            f"{m.engine[:1]}{m.cuts}{'*' if m.chosen else ''} "
            f"{m.predicted_s * 1e3:.1f}/{m.seconds * 1e3:.1f}"
            for m in measured
        ),
        flush=True,
    )
    return measured


@dataclass(frozen=True)
class Way:
    """A candidate: a number of cuts, and in exact mode how it is computed."""

    cuts: int
    widest: int
    placement: Placement
    engine: str
    predicted_s: float


def candidates(
    circuit: QuantumCircuit, observable: str, view: CalibratedPilot, mode: str, gradients: bool
) -> tuple[list[Way], Way]:
    """Return all candidates of a circuit, and the one that the recommended plan comes to."""
    program, binding = read_circuit(circuit)
    terms = pauli_terms(observable, circuit.num_qubits)
    asked = {"mode": mode, "queries": ROWS[mode], "batch": ROWS[mode], "gradients": gradients}

    def advice(engine: str, max_cuts: int = MAX_CUTS) -> Recommendation:
        options = Options(max_cuts=max_cuts, engine=engine, **asked)
        return recommend_for(program, binding, terms, [view], options)

    def ways(lines: Sequence[RecommendationLine], engine: str) -> list[Way]:
        return [
            Way(
                line.cuts,
                max(line.widths),
                line.placement,
                engine,
                forecaster.batch_s(line.work),
            )
            for line in lines
            if line.feasible
        ]

    free = advice(AUTO)
    forecaster = free.forecaster
    if mode == "counts":
        every = ways(free.lines, AUTO)
        return every, every[fastest([way.predicted_s for way in every])]
    every = ways(advice(STATEVECTOR).lines, STATEVECTOR)
    with suppress(CutError):  # not every circuit is a network
        every += ways(advice(NETWORK, max_cuts=0).lines, NETWORK)
    every += ways([line for line in free.lines if line.cuts and line.way in OF_FRAGMENTS], AUTO)
    chosen = free.chosen
    engine = NETWORK if NETWORK in chosen.way else STATEVECTOR
    cuts = 0 if "joined" in chosen.way else chosen.cuts
    if cuts and chosen.way in OF_FRAGMENTS:
        engine = AUTO
    return every, next(way for way in every if (way.engine, way.cuts) == (engine, cuts))


@dataclass(frozen=True)
class Run:
    """A batch of one candidate, to be run again and again."""

    estimator: CutEstimator
    pub: tuple[Any, ...]

    def __call__(self) -> float:
        """Return the seconds of one run."""
        started = perf_counter()
        self.estimator.run([self.pub]).result()
        return perf_counter() - started


@dataclass(frozen=True)
class Step(Run):
    """A batch with its derivatives by all parameters, as `CutGradient` has them."""

    def __call__(self) -> float:
        """Return the seconds of values and derivatives."""
        circuit, observable, values = self.pub
        gradient = CutGradient(self.estimator)
        started = perf_counter()
        operators = [SparsePauliOp(observable)] * len(values)
        gradient.run([circuit] * len(values), operators, values).result()
        return perf_counter() - started


def timed(runs: Sequence[Run], forecast: Sequence[float], rounds: int) -> list[float]:
    """Return the median seconds of each, turns taken; hopeless ones once, after a first run."""
    first = []
    for run, guess in zip(runs, forecast, strict=True):
        if guess > 10.0 and guess > 10 * min(forecast):
            first.append(float("nan"))
            continue
        first.append(min(run() for _ in range(2)) if guess < 3.0 else run())
    best = min(seconds for seconds in first if seconds == seconds)
    near = [k for k, seconds in enumerate(first) if seconds <= 8 * best]
    took: list[list[float]] = [[] for _ in runs]
    for turn in range(5 * rounds):
        for k in near:
            if turn < rounds or sum(took[k]) < SHORT_S:
                if first[k] < WARM_S:
                    runs[k]()
                took[k].append(runs[k]())
    return [statistics.median(took[k]) if took[k] else first[k] for k in range(len(runs))]


def fastest(seconds: Sequence[float]) -> int:
    """Return the choice: as `pilotcut.perfmodel.recommend` makes it."""
    best = 0
    for k, one in enumerate(seconds):
        if one < WORTH * seconds[best]:
            best = k
    return best


# -- wide circuits ---------------------------------------------------------------------------


def wide(modes: Sequence[str], qubits: int = 36, queries: int = 64) -> None:
    """Print the recommendation for EfficientSU2 on two workers, and what its plan then takes."""
    circuit = FAMILIES["EfficientSU2"](qubits)
    observable = "Z" * qubits
    program, binding = read_circuit(circuit)
    terms = pauli_terms(observable, qubits)
    manager = local(2)
    with manager, TaskManager(manager) as tasks:
        description = manager.pilots[0].description
        calibration = measure_through(tasks, description, modes)
        view = CalibratedPilot(description, resources.described(description), calibration)
        for mode in modes:
            asked = Options(mode=mode, queries=queries, batch=16)
            advice = recommend_for(program, binding, terms, [view], asked)
            print(f"{mode}: {advice.lines[0].cuts} cuts: {'; '.join(advice.lines[0].lacks)}")
            print(f"{mode}: {advice.reason}")
            values = np.random.default_rng(1).uniform(-3, 3, (queries, circuit.num_parameters))
            started = perf_counter()
            placement = advice.chosen.placement
            estimator = CutEstimator(tasks, labels=placement, mode=mode, seed=5)
            for first in range(0, queries, 16):
                estimator.run([(circuit, observable, values[first : first + 16])]).result()
            took = perf_counter() - started
            forecast = advice.chosen.prediction
            assert forecast is not None
            inside = "inside" if forecast.low_s <= took <= forecast.high_s else "OUTSIDE"
            print(
                f"{mode}: {queries} parameter sets: predicted {forecast.seconds:.2f} s "
                f"({forecast.low_s:.2f}-{forecast.high_s:.2f}), took {took:.2f} s, {inside}"
            )


def answers() -> None:
    """Print how long `recommend` takes, once calibrated and once everything is imported."""
    calibration = measure_through(None, None, ["exact", "counts"], {"exact": 5.0, "counts": 8.0})
    view = CalibratedPilot(None, resources.here(), calibration)
    for qubits in (12, 36, 100):
        for family in ("EfficientSU2", "RealAmplitudes", "QAOA ring", "QAOA 3-regular", "QFT"):
            for mode in ("exact", "counts"):
                answer(view, family, qubits, mode)


def answer(view: CalibratedPilot, family: str, qubits: int, mode: str) -> None:
    """Print one line: seconds, and what was recommended."""
    circuit = FAMILIES[family](qubits)
    started = perf_counter()
    program, binding = read_circuit(circuit)
    terms = pauli_terms("Z" * circuit.num_qubits, circuit.num_qubits)
    try:
        says = recommend_for(program, binding, terms, [view], Options(mode=mode)).reason
    except CutError as error:
        says = f"refused: {error}"
    print(f"{family:16} {qubits:4} {mode:7} {perf_counter() - started:6.2f} s  {says:.110}")


# -- tables ----------------------------------------------------------------------------------


def tables(found: Sequence[Measured]) -> list[str]:
    """Return the lines of the tables."""
    cases: dict[tuple[str, int, str, int], list[Measured]] = {}
    for one in found:
        cases.setdefault(one.case, []).append(one)
    held = {key: some for key, some in cases.items() if key[2] not in sample_circuits.FAMILIES}
    published = {
        key[:2]: fit_published([c for k, c in cases.items() if k[:2] == key[:2] and k not in held])
        for key in cases
    }
    lines = [
        "",
        f"{'':28} {'':5} {'':21} | of cuts alone: ours   | published",
        f"{'picks':28} cases {' | '.join([' right  median  worst'] * 3)}",
    ]
    for name, some in groups(held).items():
        chosen = [regret(c, next(k for k, m in enumerate(c) if m.chosen)) for c in some.values()]
        cut = {key: [m for m in c if m.engine in BY_STATES] for key, c in some.items()}
        ours = [regret(c, fastest([m.predicted_s for m in c])) for c in cut.values()]
        theirs = [regret(c, published_pick(published[key[:2]], c)) for key, c in cut.items()]
        lines.append(
            f"{name:28} {len(ours):5} {summary(chosen)} | {summary(ours)} | {summary(theirs)}"
        )
    lines += ["", f"{'predictions':28} lines  within 1.5x  in interval  median predicted/measured"]
    for name, some in groups(held).items():
        every = [m for c in some.values() for m in c]
        ratio = [m.predicted_s / m.seconds for m in every]
        within = np.mean([max(r, 1 / r) <= 1.5 for r in ratio])
        inside = np.mean([m.low_s <= m.seconds <= m.high_s for m in every])
        middle = statistics.median(ratio)
        lines.append(f"{name:28} {len(every):5} {within:12.1%} {inside:12.1%} {middle:26.2f}")
    return lines


def groups(cases: dict[Any, list[Measured]]) -> dict[str, dict[Any, list[Measured]]]:
    """Return all held-out cases, then those of each mode and number of workers."""
    found = {"all held out": cases}
    for mode, workers in dict.fromkeys(key[:2] for key in cases):
        name = f"{mode}, {workers} worker{'' if workers == 1 else 's'}"
        found[name] = {key: c for key, c in cases.items() if key[:2] == (mode, workers)}
    return found


def regret(candidates: Sequence[Measured], pick: int) -> float:
    """Return how much longer the pick took than the fastest."""
    return candidates[pick].seconds / min(m.seconds for m in candidates)


def summary(regrets: Sequence[float]) -> str:
    """Return the share of right picks, the median regret and the worst."""
    right = np.mean([r <= RIGHT for r in regrets])
    return f"{right:6.1%} {statistics.median(regrets):7.3f} {max(regrets):6.2f}"


def fit_published(cases: Sequence[Sequence[Measured]]) -> PublishedModel:
    """Return the published model with its constants fitted to these cases."""
    pairs = [
        (one.qubits, one.widest, one.cuts, one.workers, some[0].seconds / one.seconds)
        for some in cases
        for one in some
        if one.cuts and some[0].cuts == 0 and one.engine in BY_STATES
    ]
    return PublishedModel.fit(pairs)


def published_pick(model: PublishedModel, candidates: Sequence[Measured]) -> int:
    """Return what the published model picks."""
    speed = [model.speed_up(m.qubits, m.widest, m.cuts, m.workers) for m in candidates]
    return int(np.argmax(speed))


if __name__ == "__main__":
    main()
