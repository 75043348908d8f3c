"""Motifs C.3 and C.5 by seed: whether what they find is luck.

python benchmarks/motif_seeds.py [--seeds 8]
"""

from __future__ import annotations

import argparse
import datetime
import time

import numpy as np

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import embedded
from pilotcut.study.arbiterq import spread
from pilotcut.study.motifs.answer import motif

#: Measures that are shown of a motif, and how they are written.
SHOWN = {
    "curve": {"shared": ".0f", "alone": ".0f"},
    "generative": {"best": ".3f", "random": ".3f"},
}


def main() -> None:
    """Print the median, the least and the most of each measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    began = time.process_time()
    with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as tasks:
        for name, shown in SHOWN.items():
            app = motif(name)
            answers = [app.run(tasks, **app.sizes["small"], seed=s) for s in range(options.seeds)]
            right = np.mean([answer.right for answer in answers])
            said = [
                f"{measure} {spread([answer.measures[measure] for answer in answers], form)}"
                for measure, form in shown.items()
            ]
            print(f"{name}: right for {right:.0%} of the seeds; {', '.join(said)}", flush=True)
    print(f"{datetime.date.today()}, {time.process_time() - began:.0f} s of a core")


if __name__ == "__main__":
    main()
