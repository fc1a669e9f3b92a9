#!/bin/sh
# Builds the rig and the floor (a C compiler is all it takes), seeds a server, and measures both in one run.
set -eu
cd "$(dirname "$0")"
OUT=${OUT:-../build/bench}
mkdir -p "$OUT"
CC=${CC:-cc}
FLAGS="-O2 -Wall -Wno-unused-function -Wno-misleading-indentation -Wno-format-truncation"
command -v "$CC" >/dev/null || { echo "bench needs a C compiler: apt-get install gcc, or CC=…" >&2; exit 1; }
for tool in rig floor; do
    if [ ! -x "$OUT/$tool" ] || [ "$tool.c" -nt "$OUT/$tool" ]; then
        $CC $FLAGS -o "$OUT/$tool" "$tool.c" -lm
    fi
done
exec "${PYTHON:-python3}" run.py --tools "$OUT" "$@"
