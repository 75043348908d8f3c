"""Plans for ``cuts="auto"``, by the performance model, and its forecasts of their batches.

Made before an estimator is, which asks it for plans: the performance model knows nothing of
estimators, and an estimator nothing of the performance model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qiskit.quantum_info import PauliList

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.program import Program
from pilotcut.cutting.plan import CutPlan
from pilotcut.options import EngineOptions
from pilotcut.perfmodel.calibrate import calibrated_pilots
from pilotcut.perfmodel.device_forecast import DeviceForecaster
from pilotcut.perfmodel.forecast import Forecaster
from pilotcut.perfmodel.known_pilots import Views
from pilotcut.perfmodel.options import Options
from pilotcut.perfmodel.recommend import recommend_for
from pilotcut.perfmodel.recommendation import Recommendation
from pilotcut.tasks import TaskManager


class AutoCuts:
    """Recommended plans for the circuits of an estimator.

    Parameters
    ----------
    auto
        Options of the recommendation by name, and "pilots"; see `pilotcut.CutEstimator`.
    mode, shots, max_width, joint_cuts, wires, engine
        Of the estimator; `shots` are 0 in exact mode.

    Raises
    ------
    UserError
        For options that there are not, or that make no sense.
    """

    def __init__(
        self,
        auto: Mapping[str, Any],
        *,
        mode: str,
        shots: int,
        max_width: int | None,
        joint_cuts: bool,
        wires: str,
        engine: EngineOptions,
    ) -> None:
        asked = dict(auto) | {"mode": mode, "max_width": max_width}
        asked |= {"engine": engine.way, "dtype": engine.dtype}
        self._pilots = asked.pop("pilots", None)
        if mode != "exact":
            asked |= {"shots": shots, "joint_cuts": joint_cuts, "wires": wires}
        self._options = Options.of(asked)
        self._mode, self._shots = mode, shots
        self._forecasters: dict[tuple[str, int], Forecaster | DeviceForecaster] = {}

    def pilots(self, tasks: TaskManager | None) -> Views:
        """Return the pilots with what is known of them; those that are not are measured."""
        return calibrated_pilots(tasks, self._pilots, self._mode)

    def recommend(
        self, program: Program, binding: Binding, terms: PauliList, pilots: Views
    ) -> Recommendation:
        """Return the plan that is predicted to be fastest, and keep what predicts its batches."""
        found = recommend_for(program, binding, terms, pilots, self._options)
        self._forecasters[found.plan.fingerprint, self._shots] = found.forecaster
        return found

    def forecast(self, plan: CutPlan, rows: int, shots: int) -> dict[str, Any]:
        """Return what was predicted of a batch, for the record; nothing where nobody did."""
        known = self._forecasters.get((plan.fingerprint, self._shots))
        if known is None:
            return {}
        if shots != self._shots:  # of a round that measures errors, or for a precision
            of_shots = replace(known, shots=shots, _records={})
            known = self._forecasters.setdefault((plan.fingerprint, shots), of_shots)
        return known.record(plan, rows)
