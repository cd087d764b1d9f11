#!/usr/bin/env bash
# Builds bench/*_bench.cpp and runs them; arguments go to each (e.g. --benchmark_filter=linear).
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset release -DDVLM_BENCH=ON >/dev/null
cmake --build --preset release
for program in build/release/bench/*_bench; do "$program" "$@"; done
