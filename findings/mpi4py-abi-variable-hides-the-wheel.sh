#!/usr/bin/env bash
# Software: mpi4py 4.1.2 with mpich 5.0.2, Linux wheels.
# Expected: MPI4PY_MPIABI=mpich says what is true of this environment, and MPI4PY_LIBMPI names the very
#   file that mpi4py takes by itself; with either, or both, the import works as it does with neither.
# Happens:  where MPI4PY_MPIABI is set, nothing is searched: the library that pip has put beside mpi4py
#   is not found, and MPI4PY_LIBMPI is ignored without a word. Where the system has a library of the
#   same family, that one is loaded instead. MPI4PY_LIBMPI alone works.
# Output seen:
#   neither: ok
#   MPI4PY_LIBMPI: ok
#   MPI4PY_MPIABI=mpich: ImportError: libmpi.so.12: cannot open shared object file: No such file or directory
#   both: ImportError: libmpi.so.12: cannot open shared object file: No such file or directory
# Why it matters: on a cluster with an MPI of its own ranks load another library than the one beside
#   their launcher, and may be a world of one each, all with exit status 0.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q mpi4py==4.1.2 mpich==5.0.2
file=$dir/venv/lib/libmpi.so.12
# What a site has set for us would be something else.
unset MPI4PY_MPIABI MPI4PY_LIBMPI LD_LIBRARY_PATH
try() { # NAME VARIABLE=VALUE...: imports MPI and says whose library it is
    local name=$1 said
    shift
    said=$(env "$@" "$dir/venv/bin/python" - 2>&1 <<'PY'
import mpi4py
mpi4py.rc.initialize = mpi4py.rc.finalize = False
try:
    from mpi4py import MPI
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1] for line in maps if "/libmpi." in line}
    import sys
    print("ok" if any(sys.prefix in file for file in files) else f"another library: {files}")
except ImportError as error:
    print(f"ImportError: {str(error).split(' (')[0]}")
PY
    )
    echo "$name: $said"
}
seen=$(
    try neither
    try MPI4PY_LIBMPI MPI4PY_LIBMPI="$file"
    try MPI4PY_MPIABI=mpich MPI4PY_MPIABI=mpich
    try both MPI4PY_MPIABI=mpich MPI4PY_LIBMPI="$file"
)
echo "$seen"
works=$(grep -c ': ok$' <<<"$seen") || true
[[ $works == 2 && $(sed -n 1,2p <<<"$seen" | grep -c ': ok$') == 2 ]] \
    || { echo "CHANGED: $works of 4 ways to import MPI work, not the first two alone"; exit 1; }
