#!/usr/bin/env bash
# Software: torch 2.13.0 (CPU).
# Expected: a function traced by torch.jit.trace has the gradient of the function, at every call: of
#   |z|^2 at z = 1 + 2i it is 2 + 4i, of Re exp(i t) at t = 0.5 it is -0.4794.
# Happens:  so it is at the first call. From the second on, as torch has optimised the trace, the
#   first is 2 - 4i, without a warning, and the second raises RuntimeError: the optimiser's
#   derivative of a product lacks the conjugation of the other factor and, for a real factor, the real
#   part. With check_trace=True, the default, the check's calls without a gradient come before, and
#   all is right. (For torch.jit.script: issue 154324 of pytorch/pytorch, closed.)
# Output seen:
#   |z|^2: 2+4j 2+4j 2+4j
#   |z|^2, traced: 2+4j 2-4j 2-4j
#   |z|^2, traced with check_trace: 2+4j 2+4j 2+4j
#   exp: -0.4794 -0.4794 -0.4794
#   exp, traced: -0.4794 RuntimeError RuntimeError
#   exp, traced with check_trace: -0.4794 -0.4794 -0.4794
# Why it matters: traced tensor networks of circuits are complex, their check takes as long as tracing,
#   and a training that is wrong from its second step on looks like one with a poor learning rate.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0
"$dir/venv/bin/python" - <<'PY'
import sys
import warnings
warnings.filterwarnings("ignore")  # there is no numpy here, and torch.jit is deprecated
import torch
def slopes(function, at):
    found = []
    for _ in range(3):
        x = at.clone().requires_grad_()
        try:
            (slope,) = torch.autograd.grad(function(x), x)
        except RuntimeError as error:
            assert "input_is_complex == grad_is_complex" in str(error)
            found.append("RuntimeError")
        else:
            found.append(f"{slope.item():.0f}" if slope.is_complex() else f"{slope.item():.4f}")
    return " ".join(found)
cases = {"|z|^2": (lambda z: (z * z.conj() + 1.0).real.sum(), torch.tensor([1 + 2j]),
                   "2+4j 2+4j 2+4j", "2+4j 2-4j 2-4j"),
         "exp": (lambda t: torch.exp(1j * t).real.sum(), torch.tensor([0.5]),
                 "-0.4794 -0.4794 -0.4794", "-0.4794 RuntimeError RuntimeError")}
for name, (function, at, right, wrong) in cases.items():
    ways = {name: (function, right),
            f"{name}, traced": (torch.jit.trace(function, (at,), check_trace=False), wrong),
            f"{name}, traced with check_trace": (torch.jit.trace(function, (at,)), right)}
    for way, (traced, seen) in ways.items():
        found = slopes(traced, at)
        print(f"{way}: {found}")
        if found != seen:
            sys.exit(f"CHANGED: {way} no longer is {seen}")
PY
