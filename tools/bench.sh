#!/usr/bin/env bash
# Runs the benchmarks that ./dev bench has built; arguments go to each (e.g. --benchmark_filter=linear).
set -euo pipefail
cd "$(dirname "$0")/.."
for program in build/bench/bench/*_bench; do
  [ -x "$program" ] || { echo "no benchmarks were built: they need libbenchmark-dev" >&2; exit 1; }
  "$program" "$@"
done
