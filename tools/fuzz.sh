#!/usr/bin/env bash
# What ./dev fuzz does: builds fuzz/*_fuzz.cpp with libFuzzer (clang) and runs them, one after the other.
#   tools/fuzz.sh                   each for a minute
#   tools/fuzz.sh NAME [MINUTES]    fuzz/NAME_fuzz.cpp alone
#   tools/fuzz.sh all MINUTES       each for so long
# Begins with fuzz/corpus/NAME and what earlier runs kept in build/fuzz/corpus/NAME. An input that breaks something
# stays in build/fuzz/found/NAME, beside what the run said (build/fuzz/NAME.log). Prints a table in the end. Status 1
# when something was found, 2 when there is no such fuzzer.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-all} minutes=${2:-1}
[ "$name" = all ] || [ -f "fuzz/${name}_fuzz.cpp" ] || { echo "there is no fuzz/${name}_fuzz.cpp" >&2; exit 2; }
cmake --preset fuzz >/dev/null
target=fuzzers; [ "$name" = all ] || target=${name}_fuzz
cmake --build build/fuzz --target "$target" -j "${DVLM_JOBS:-$(nproc)}" >&2
export DVLM_LOG=error DVLM_CACHE=

# Limits: a parser claims no memory that its input does not hold, and ends soon. Ten seconds with sanitizers, on cores
# that others use too, are less than one without.
limits=(-rss_limit_mb=2048 -malloc_limit_mb=512 -timeout=10 -report_slow_units=5 -print_final_stats=1)

# last PATTERN: what follows it in the last line of the log that has it.
last() { sed -n "s/.*$1 *\([0-9]*\).*/\1/p" "$log" | tail -n 1; }

# run NAME: one row of the table.
run() {
  local found=build/fuzz/found/$1 options=() status=0 cpu
  mkdir -p "build/fuzz/corpus/$1" "$found"
  log=build/fuzz/$1.log
  [ ! -f "fuzz/$1.dict" ] || options=("-dict=fuzz/$1.dict")
  echo "== $1" >&2
  TIMEFORMAT='%U %S'
  cpu=$({ time "build/fuzz/fuzz/$1_fuzz" "${limits[@]}" "${options[@]}" -max_total_time=$((minutes * 60)) \
    -artifact_prefix="$found/" "build/fuzz/corpus/$1" "fuzz/corpus/$1" >"$log" 2>&1; } 2>&1) || status=$?
  cpu=$(tail -n 1 <<<"$cpu" | awk '{printf "%.0f", $1 + $2}')
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$cpu" "$(last executed_units:)" "$(last average_exec_per_sec:)" \
    "$(last 'cov:')" "$(last 'ft:')" "$(last 'corp:')" "$([ $status = 0 ] && echo nothing || echo "see $found")"
  return $status
}

rows= failed=0
for source in fuzz/*_fuzz.cpp; do
  one=$(basename "$source" _fuzz.cpp)
  [ "$name" = all ] || [ "$name" = "$one" ] || continue
  [ -x "build/fuzz/fuzz/${one}_fuzz" ] || { echo "$one is not built here" >&2; continue; }
  rows+=$(run "$one")$'\n' || failed=1
done
printf 'fuzzer\tCPU s\texecutions\tper s\tcov\tft\tcorpus\tfound\n%s' "$rows" | column -t -s $'\t'
exit $failed
