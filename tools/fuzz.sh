#!/usr/bin/env bash
# Builds fuzz/*.cpp with libFuzzer (clang) and runs each, or the one named, for a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang++ >/dev/null || { echo "./dev fuzz needs clang: apt-get install clang libclang-rt-14-dev" >&2; exit 1; }
CC=clang CXX=clang++ cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDVLM_FUZZ=ON \
  -DDVLM_TESTS=OFF -DDVLM_WERROR=OFF -DDVLM_SANITIZE=address,undefined >/dev/null
cmake --build build/fuzz --target fuzzers
for program in build/fuzz/fuzz/*_fuzz; do
  name=$(basename "$program" _fuzz)
  [ $# -eq 0 ] || [ "$1" = "$name" ] || continue
  mkdir -p "build/fuzz/corpus/$name"
  seeds=tests/fixtures/$name
  echo "== $name"
  "$program" -max_total_time=60 -rss_limit_mb=4096 -print_final_stats=1 "build/fuzz/corpus/$name" $([ -d "$seeds" ] && echo "$seeds")
done
