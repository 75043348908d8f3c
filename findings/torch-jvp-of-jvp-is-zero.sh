#!/usr/bin/env bash
# Software: torch 2.13.0 (CPU).
# Expected: forward mode over forward mode through a torch.autograd.Function whose jvp is written in
#   differentiable operations gives the second derivative: of sin it is -sin(0.5) = -0.4794.
# Happens:  it is 0, without a warning (with jacfwd: issue 197867 of pytorch/pytorch). All other
#   orders are right, and so is forward over forward through torch.sin itself.
# Output seen:
#   forward over forward, torch.sin -0.4794
#   forward over forward 0.0000
#   reverse over forward -0.4794
#   forward over reverse -0.4794
#   reverse over reverse -0.4794
# Why it matters: simulators of circuits are custom Functions; Hessians and curvature by forward mode,
#   natural for few parameters, vanish.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0
"$dir/venv/bin/python" - <<'PY'
import math
import sys
import warnings
warnings.filterwarnings("ignore")  # there is no numpy here
import torch
from torch.func import grad, jvp
class Sine(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return torch.sin(x)
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(*inputs)
        ctx.save_for_backward(*inputs)
    @staticmethod
    def jvp(ctx, t):
        return t * torch.cos(ctx.saved_tensors[0])
    backward = jvp
x = torch.tensor(0.5, dtype=torch.float64)
forward = lambda f: lambda x: jvp(f, (x,), (torch.ones_like(x),))[1]
s = Sine.apply
seen = {"forward over forward, torch.sin": forward(forward(torch.sin))(x),
        "forward over forward": forward(forward(s))(x), "reverse over forward": grad(forward(s))(x),
        "forward over reverse": forward(grad(s))(x), "reverse over reverse": grad(grad(s))(x)}
for name, value in seen.items():
    print(f"{name} {value:.4f}")
    right = 0 if name == "forward over forward" else -math.sin(0.5)
    if abs(value - right) > 1e-9:
        sys.exit(f"CHANGED: {name} no longer is {right:.4f}")
PY
