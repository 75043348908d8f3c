#!/usr/bin/env bash
# Software: pytest 9.2.0 with pytest-xdist 3.8.0, the newest of each.
# Expected: under `-n 2 --dist loadgroup` all tests marked xdist_group("g") run on one worker, and
#   their node ids end in "@g", as with pytest 9.1.1.
# Happens:  the marker has no effect: the tests are dealt to both workers, without a warning.
# Output seen:
#   pytest 9.1.1: 1 process, 20 node ids end in @g
#   pytest 9.2.0: 2 processes, 0 node ids end in @g
# Why it matters: tests that share a cluster, a port or a database are marked so that they do not run
#   at the same time. Now they do; what fails is the test, now and then.
# (xdist writes the suffix to the attribute `_nodeid` of an item, which pytest 9.2 does not read.)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/test_one_group.py" <<'PY'
import os
import time
import pytest
@pytest.mark.xdist_group("g")
@pytest.mark.parametrize("number", range(20))
def test_it(number):
    time.sleep(0.05)
    with open(os.environ["PIDS"], "a") as file:
        print(os.getpid(), file=file)
PY
seen() { # version of pytest: how many processes ran the group, and how many ids name it
    python3 -m venv --clear "$dir/venv"
    "$dir/venv/bin/pip" install -q "pytest==$1" pytest-xdist==3.8.0 execnet==2.1.2
    rm -f "$dir/pids"
    (cd "$dir" && PIDS=$dir/pids "$dir/venv/bin/python" -m pytest -v -n 2 --dist loadgroup \
        -p no:cacheprovider test_one_group.py) > "$dir/said"
    processes=$(sort -u "$dir/pids" | wc -l)
    named=$(grep -c 'PASSED.*@g' "$dir/said" || true)
    echo "pytest $1: $processes process$([ "$processes" = 1 ] || echo es), $named node ids end in @g"
}
seen 9.1.1
[ "$processes $named" = "1 20" ] || { echo "CHANGED: pytest 9.1.1 does not group, either"; exit 1; }
seen 9.2.0
[ "$processes $named" = "2 0" ] || { echo "CHANGED: pytest 9.2.0 groups again"; exit 1; }
