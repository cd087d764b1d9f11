#!/usr/bin/env bash
# dvlm train --plan: its exit status says whether a run fits, and what the run would refuse it refuses, too.
#   tests/cli/train_plan.sh <dvlm> <repository>
set -euo pipefail
dvlm=$(readlink -f "$1") root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
wrong() { echo "FAIL  $*" >&2; failed=1; }

"$dvlm" synth --out "$work/data" --count 10 --seed 3 >/dev/null 2>&1
model=$root/examples/tiny/model

# plan STATUS PATTERN FLAG...: of the file in $config; PATTERN is what it says, or its error.
plan() {
  local expected=$1 pattern=$2 status=0
  shift 2
  "$dvlm" train --config "$root/$config" --set model="$model" --set data="$work/data/data.jsonl" --set device=cpu \
    --output "$work/run" --plan "$@" >"$work/said" 2>&1 || status=$?
  [ $status = "$expected" ] || wrong "$config $*: status $status, not $expected: $(cat "$work/said")"
  grep -q -- "$pattern" "$work/said" || wrong "$config $*: nothing like '$pattern' in: $(cat "$work/said")"
  [ ! -e "$work/run" ] || wrong "$config $*: a plan made a folder"
}

config=examples/3b/convert.json
plan 0 "^step        256 samples: 256 passes of 1 by 8 processes$" --processes 8 --memory 80GB
plan 0 "^fits in 80.00 GB$" --memory 80GB
plan 1 "^does not fit in 0.01 GB$" --memory 10MB
plan 0 "^time        not measured: .*/run/train.jsonl has no steps yet$" --memory 80GB
plan 1 "'global_batch_size' of 256 is not a number of passes of 1 samples by 3 processes" --processes 3
plan 1 "'freeze' pattern \"vision.\*\" matches no weight" --set 'freeze=["vision.*"]'
plan 0 "^parameters .* million, of which .* train$" --set 'freeze=["visual.*"]' --memory 80GB
config=examples/lora.json
plan 0 "^step        16 samples: 16 passes of 1 by 2 processes$" --processes 2 --memory 80GB
plan 1 "'lora.targets' \"c_attn\" matches no linear layer" --set 'lora={"rank": 8, "targets": ["c_attn"]}'
# What is free here, where the device is.
plan 0 "^fits in .* GB, which are free here$"
plan 0 "^what cuda:99 has free is not known here: --memory says it$" --set device=cuda:99

# What steps took in an earlier start.
config=examples/tiny/ar.json
"$dvlm" train --config "$root/$config" --set model="$model" --set data="$work/data/data.jsonl" --set steps=2 \
  --set max_minutes=0 --set batch_size=1 --set log_interval=1 --output "$work/begun" >/dev/null 2>"$work/said" ||
  wrong "two steps: $(cat "$work/said")"
"$dvlm" train --config "$root/$config" --set model="$model" --set data="$work/data/data.jsonl" --set steps=10 \
  --set max_minutes=0 --set batch_size=1 --output "$work/begun" --plan >"$work/said" 2>&1 ||
  wrong "a run that has begun: $(cat "$work/said")"
grep -q "^time        .* s for each step, .* samples/s, .* left after step 2 (the end of .*train.jsonl)$" "$work/said" ||
  wrong "a run that has begun: $(cat "$work/said")"
[ $failed = 0 ] && echo PASS
exit $failed
