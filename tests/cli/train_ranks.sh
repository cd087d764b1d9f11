#!/usr/bin/env bash
# Training by several processes: two are one, to the bit; a run goes on with any number of them; one that is killed ends
# all with a sentence and leaves what resumes, as does Ctrl-C to one of them.
#   tests/cli/train_ranks.sh <dvlm> <repository>
# Without Python: the variables are those that torchrun sets.
set -euo pipefail
dvlm=$(readlink -f "$1") root=$2
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
failed=0
wrong() { echo "FAIL  $*" >&2; failed=1; }

"$dvlm" synth --out "$work/data" --count 40 --seed 3 >/dev/null 2>&1
# A smaller network: the example's takes a second for a step.
cp -r "$root/examples/tiny/model" "$work/model"
sed -i 's/hidden_size": [0-9]*/hidden_size": 64/; s/"intermediate_size": [0-9]*/"intermediate_size": 64/
  s/"num_hidden_layers": [0-9]*/"num_hidden_layers": 2/; s/"depth": [0-9]*/"depth": 3/
  /"fullatt_block_indexes"/,/\]/ s/5/1/' "$work/model/config.json"
cat >"$work/config.json" <<JSON
{"stage": "convert", "model": "$work/model", "data": "$work/data/data.jsonl", "output": "none", "batch_size": 1,
 "global_batch_size": 6, "steps": 20, "max_length": 512, "learning_rate": 1e-3, "ema_decay": 0.9,
 "weight_decay": 0.01, "bf16": false, "block_size": 8, "threads": 1, "log_interval": 1, "save_dtype": "f32"}
JSON

# run PROCESSES OUTPUT [FLAG...]: all of them; their standard errors are OUTPUT.err.RANK, how they ended is in
# OUTPUT.ended.
port=$((20000 + RANDOM % 20000))
run() {
  local size=$1 output=$2 status=0 pids=() rank
  shift 2
  port=$((port + 1))
  for rank in $(seq 0 $((size - 1))); do
    WORLD_SIZE=$size RANK=$rank MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
      "$dvlm" train --config "$work/config.json" --output "$output" "$@" >"$output.out.$rank" 2>"$output.err.$rank" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" && echo 0 || { status=$?; echo $status; }; done >"$output.ended"
  return $status
}
# end_second SIGNAL OUTPUT: of a run that is under way in the background, once it has done some steps.
end_second() {
  for _ in $(seq 600); do
    [ -e "$2/train.jsonl" ] && [ "$(wc -l <"$2/train.jsonl")" -ge 4 ] && break
    sleep 0.1
  done
  for pid in $(pgrep -f "output $2"); do # rank 1, which need not be the newest
    if grep -qzx RANK=1 "/proc/$pid/environ" 2>/dev/null; then kill "-$1" "$pid"; fi
  done
}
# What was learnt, and the losses on the way.
same() {
  local file=model.safetensors
  [ -e "$1/$file" ] || file=adapter_model.safetensors
  cmp -s "$1/$file" "$2/$file" || wrong "$3: other weights"
  cmp -s <(sed 's/"seconds".*"loss"/"loss"/; s/"samples_per_second".*"bad"/"bad"/' "$1/train.jsonl") \
    <(sed 's/"seconds".*"loss"/"loss"/; s/"samples_per_second".*"bad"/"bad"/' "$2/train.jsonl") || wrong "$3: other losses"
}

run 1 "$work/one" || wrong "one process: $(cat "$work/one.err.0")"
[ "$(wc -l <"$work/one/train.jsonl")" = 20 ] || wrong "one process: not 20 steps"
run 2 "$work/two" || wrong "two processes: $(cat "$work"/two.err.*)"
same "$work/one" "$work/two" "two processes"
run 1 "$work/other" --set global_batch_size=3 --set steps=3 || wrong "another batch: $(cat "$work/other.err.0")"
cmp -s "$work/one/model.safetensors" "$work/other/model.safetensors" && wrong "the comparison sees no difference"
[ "$(cat "$work/two.out.0" | wc -l)" = 1 ] && [ ! -s "$work/two.out.1" ] || wrong "two processes: both say that they are done"
run 2 "$work/recomputed" --set recompute=true || wrong "recomputed: $(cat "$work"/recomputed.err.*)"
same "$work/one" "$work/recomputed" "recomputed"

# Adapters, and weights in BF16, likewise.
lora='lora={"rank": 4, "dropout": 0.1, "targets": ["*_proj"]}'
run 1 "$work/one-lora" --set "$lora" --set steps=5 || wrong "an adapter: $(cat "$work/one-lora.err.0")"
run 2 "$work/two-lora" --set "$lora" --set steps=5 --set recompute=true || wrong "an adapter by two: $(cat "$work"/two-lora.err.*)"
same "$work/one-lora" "$work/two-lora" "an adapter by two processes"
run 1 "$work/one-bf16" --set weight_dtype=bf16 --set steps=5 || wrong "BF16 weights: $(cat "$work/one-bf16.err.0")"
run 2 "$work/two-bf16" --set weight_dtype=bf16 --set steps=5 || wrong "BF16 weights by two: $(cat "$work"/two-bf16.err.*)"
same "$work/one-bf16" "$work/two-bf16" "BF16 weights by two processes"

# Two, then one, then three.
run 2 "$work/parts" --set steps=20 --set log_interval=1 --set checkpoint_minutes=0.0001 &
parts=$!
end_second KILL "$work/parts"
wait $parts 2>/dev/null && wrong "a process was killed and the run ended well" || true
grep -q "another process of the run is gone.*--resume" "$work/parts.err.0" || wrong "no sentence when a process is killed: $(cat "$work/parts.err.0")"
: >"$work/parts/training-1-2-of-2.safetensors.1-1.partial"
run 1 "$work/parts" --resume --set steps=20 --set max_bad_samples=0.02 || wrong "resumed by one: $(cat "$work/parts.err.0")"
same "$work/one" "$work/parts" "killed, then resumed by one"
ls "$work/parts" | grep -q partial && wrong "what a killed process wrote is left" || true
ls "$work"/parts/training-*.safetensors >/dev/null 2>&1 && wrong "parts of the state stay when one process goes on" || true

# Ctrl-C to one of them saves and ends all; what resumes is the run that nobody stopped.
run 2 "$work/stopped" --set checkpoint_minutes=0.0001 &
stopped=$! port=$((port + 1)) # which the background has counted for itself
end_second INT "$work/stopped"
wait $stopped && status=0 || status=$?
[ $status = 130 ] && [ "$(sort -u "$work/stopped.ended")" = 130 ] || wrong "Ctrl-C: status $(tr '\n' ' ' <"$work/stopped.ended"), $(cat "$work"/stopped.err.*)"
grep -q "the same command with --resume continues it" "$work/stopped.out.0" || wrong "Ctrl-C: $(cat "$work/stopped.out.0")"
[ "$(wc -l <"$work/stopped/train.jsonl")" -lt 20 ] || wrong "Ctrl-C came when the run was over"
run 2 "$work/stopped" --resume || wrong "resumed after Ctrl-C: $(cat "$work"/stopped.err.*)"
same "$work/one" "$work/stopped" "stopped by Ctrl-C, then resumed"

cp -r "$work/one" "$work/three"
sed -i 's/"steps": 20/"steps": 26/' "$work/config.json"
cp -r "$work/one" "$work/alone"
run 1 "$work/alone" --resume || wrong "resumed by one: $(cat "$work/alone.err.0")"
run 3 "$work/three" --resume || wrong "resumed by three: $(cat "$work"/three.err.*)"
same "$work/alone" "$work/three" "resumed by three"
[ "$(ls "$work"/three/training-*-of-3.safetensors | wc -l)" = 2 ] || wrong "three processes: $(ls "$work/three")"
rm "$work"/three/training-*-2-of-3.safetensors
run 1 "$work/three" --resume && wrong "resumed without a part of the state" || true
grep -q "2-of-3.safetensors is missing" "$work/three.err.0" || wrong "a missing part: $(cat "$work/three.err.0")"

# What makes no sense.
run 4 "$work/four" && wrong "four processes share six samples" || true
grep -q "a 'global_batch_size' of 6 is not a number of passes of 1 samples by 4 processes" "$work/four.err.0" || wrong "four processes: $(cat "$work/four.err.0")"
WORLD_SIZE=2 "$dvlm" train --config "$work/config.json" --output "$work/five" 2>"$work/five.err" && wrong "no RANK" || true
grep -q "the variable RANK must be a number.*torchrun" "$work/five.err" || wrong "no RANK: $(cat "$work/five.err")"
variable() { # NAME VALUE PATTERN
  local status=0
  env WORLD_SIZE=2 RANK=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=1 "$1=$2" timeout 60 "$dvlm" train --config "$work/config.json" \
    --output "$work/six" 2>"$work/six.err" || status=$?
  [ $status = 1 ] && grep -q "the variable $1 must $3" "$work/six.err" || wrong "$1=$2: status $status, $(cat "$work/six.err")"
}
variable MASTER_ADDR "" "name a host"
variable MASTER_ADDR $'a\nb' "name a host"
variable MASTER_PORT 65536 "be a number from 1 to 65535"
variable LOCAL_RANK x "be a number"

# Who waits for the others is ended by a signal.
WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=$((port + 1)) timeout -k 20 5 "$dvlm" train \
  --config "$work/config.json" --output "$work/waits" 2>/dev/null && status=0 || status=$?
[ $status = 124 ] || wrong "SIGTERM to one that waits: status $status" # 137: it had to be killed

# Parts of two runs are not put together.
run 2 "$work/mixed" --set steps=20 --set global_batch_size=2 || wrong "two processes, another batch: $(cat "$work"/mixed.err.*)"
cp "$work/mixed/training-20-2-of-2.safetensors" "$work/two"
run 2 "$work/two" --resume --set steps=21 && wrong "parts of two runs were put together" || true
grep -q "training-20-2-of-2.safetensors is not of the same run and step" "$work/two.err.0" || wrong "parts of two runs: $(cat "$work/two.err.0")"

# Processes that were told different things are no run.
apart() { # NAME FLAG...: of the second process
  local name=$1 status=0
  shift
  port=$((port + 1))
  WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port timeout 120 "$dvlm" train --config "$work/config.json" \
    --output "$work/apart" 2>"$work/apart.err.0" &
  WORLD_SIZE=2 RANK=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port timeout 120 "$dvlm" train --config "$work/config.json" \
    --output "$work/apart" "$@" 2>"$work/apart.err.1" || status=$?
  [ $status = 1 ] && ! wait $! || wrong "$name: status $status"
  for rank in 0 1; do
    grep -q "process 1 was started with another configuration, model or data" "$work/apart.err.$rank" ||
      wrong "$name, process $rank: $(cat "$work/apart.err.$rank")"
  done
}
head -n 39 "$work/data/data.jsonl" >"$work/data/fewer.jsonl"
apart "another seed" --set seed=7
apart "other data" --set data="$work/data/fewer.jsonl"
apart "one that resumes" --resume

# Data that become shorter while they are read.
for _ in $(seq 5000); do head -n 1 "$work/data/data.jsonl"; done >"$work/data/long.jsonl"
run 1 "$work/cut" --set data="$work/data/long.jsonl" --set steps=100000 &
cut=$!
for _ in $(seq 600); do [ -s "$work/cut/train.jsonl" ] && break; sleep 0.1; done
truncate -s 100 "$work/data/long.jsonl"
wait $cut && wrong "data were cut and the run ended well" || true
grep -q "long.jsonl became shorter while it was in use" "$work/cut.err.0" || wrong "data that are cut: $(tail -c 300 "$work/cut.err.0")"
[ $failed = 0 ] && echo PASS
exit $failed
