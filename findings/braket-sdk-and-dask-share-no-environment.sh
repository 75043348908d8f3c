#!/usr/bin/env bash
# Software: amazon-braket-sdk 1.127.5 and dask 2025.1.0, their declared requirements.
# Expected: a client of a cloud's devices and a task scheduler can be installed side by side.
# Happens:  no environment holds both: the client pins cloudpickle to 2.2.1 exactly, dask wants 3 or
#           newer. Without a version of dask, pip tries all of its releases before it says so.
# Output seen:
#   amazon-braket-sdk wants cloudpickle==2.2.1, dask wants cloudpickle>=3.0.0
#   pip: ResolutionImpossible
# Why it matters: an extra that names Braket's provider cannot be installed beside dask; the provider
# needs an interpreter of its own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --no-deps amazon-braket-sdk==1.127.5 dask==2025.1.0
wants() { "$dir/venv/bin/python" -c "
from importlib.metadata import requires
print(next(r.replace(' ', '') for r in requires('$1') if r.startswith('cloudpickle')))"; }
echo "amazon-braket-sdk wants $(wants amazon-braket-sdk), dask wants $(wants dask)"
if "$dir/venv/bin/pip" install -q --dry-run amazon-braket-sdk==1.127.5 dask==2025.1.0 \
    >"$dir/out" 2>&1; then
    echo "CHANGED: both can be installed"
    exit 1
fi
grep -q ResolutionImpossible "$dir/out" || { echo "CHANGED: $(tail -1 "$dir/out")"; exit 1; }
echo "pip: ResolutionImpossible"
