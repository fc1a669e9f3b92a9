#!/bin/sh
# bench/run.sh --help says what it measures and how.
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m bench.run "$@"
