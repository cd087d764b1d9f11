#!/usr/bin/env bash
# What ./dev fuzz does: builds fuzz/*.cpp with libFuzzer (clang) and runs each, or the one named, for a minute.
#   tools/fuzz.sh [NAME]      fuzz/NAME_fuzz.cpp alone
# Stops at the first one that finds something, with its exit status; 2 when there is no such fuzzer.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 0 ] || [ -f "fuzz/$1_fuzz.cpp" ] || { echo "there is no fuzz/$1_fuzz.cpp" >&2; exit 2; }
cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target "${1:-fuzzers}${1:+_fuzz}"
for program in build/fuzz/fuzz/*_fuzz; do
  name=$(basename "$program" _fuzz)
  [ $# -eq 0 ] || [ "$1" = "$name" ] || continue
  mkdir -p "build/fuzz/corpus/$name"
  seeds=tests/fixtures/$name
  echo "== $name"
  "$program" -max_total_time=60 -rss_limit_mb=4096 -print_final_stats=1 "build/fuzz/corpus/$name" $([ -d "$seeds" ] && echo "$seeds")
done
