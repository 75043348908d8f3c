#!/usr/bin/env bash
# Software: parsl 2026.10.26, HighThroughputExecutor on one machine, without a configuration of providers.
# Expected: an environment's own interpreter, called by its path as in a job script or a service,
#           runs a script with Parsl, as it runs one with a process pool or with dask.
# Happens:  parsl.load raises FileNotFoundError: 'interchange.py'. The executor starts a script that
#           pip has put beside the interpreter, and looks for it on PATH alone; with the environment's
#           bin folder on PATH, which activating it does, the same program runs.
# Output seen:
#   bin not on PATH: FileNotFoundError interchange.py
#   bin on PATH: 7
# Why it matters: batch scripts, cron and systemd call /path/to/env/bin/python and activate nothing.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q parsl==2026.10.26
cat >"$dir/program.py" <<'EOF'
import os
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor


@parsl.python_app
def most(*numbers):
    return max(numbers)


if __name__ == "__main__":
    executor = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=1)
    try:
        with parsl.load(Config(executors=[executor], initialize_logging=False)):
            print(most(3, 7).result())
    except FileNotFoundError as error:
        print(type(error).__name__, os.path.basename(str(error.filename)))
    finally:
        os.chdir("/")
EOF
cd "$dir"
without=$(timeout 120 "$dir/venv/bin/python" program.py 2>/dev/null | tail -1)
with=$(PATH="$dir/venv/bin:$PATH" timeout 120 "$dir/venv/bin/python" program.py 2>/dev/null | tail -1)
echo "bin not on PATH: $without"
echo "bin on PATH: $with"
[ "$without" = "FileNotFoundError interchange.py" ] && [ "$with" = 7 ] || { echo "CHANGED"; exit 1; }
