#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: hash() of a ParameterExpression without parameters left is that of its number, or at
#   least a number: the class is hashable, and hash(x/x*2) is 2.
# Happens:  it raises if the number is negative.
# Output seen:
#   x/x*2 is 2, hash 2
#   x/x*-1 is -1, hash: OverflowError: can't convert negative int to unsigned
#   x-x-2 is -2, hash: OverflowError: can't convert negative int to unsigned
#   x/x*-1.5 is -1.5, hash: OverflowError: can't convert negative int to unsigned
# Why it matters: caches and sets of angles (templates, batches of parameters) work until an angle
#   cancels to a negative constant.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit.circuit import Parameter
x = Parameter("x")
def show(text, value):
    try:
        seen = str(hash(value))
    except OverflowError as error:
        seen = f": OverflowError: {error}"
    print(f"{text} is {value}, hash{seen if seen[0] == ':' else ' ' + seen}")
    return seen
if show("x/x*2", x / x * 2) != "2":
    sys.exit("CHANGED: the hash of a positive constant is another")
for text, value in (("x/x*-1", x / x * -1), ("x-x-2", x - x - 2), ("x/x*-1.5", x / x * -1.5)):
    if "OverflowError" not in show(text, value):
        sys.exit(f"CHANGED: hash({text}) no longer raises OverflowError")
PY
