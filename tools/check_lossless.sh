#!/usr/bin/env bash
# Speculation against AR on N prompts of a model: every block size, precision, number of threads, greedy and sampled.
#   tools/check_lossless.sh <dvlm> <data.jsonl> [N = 200] [model folder]
set -euo pipefail
dvlm=$1 data=$2 count=${3:-200} model=${4:-}
differing=0 runs=0
for precision in f32 bf16; do
  for threads in 1 2; do
    for temperature in 0 0.8; do
      for block in 2 4 8 16 32 64; do
        line=$("$dvlm" eval ${model:+--model "$model"} --data "$data" --limit "$count" --decoders ar,spec --json --max-tokens 128 \
          --precision $precision --threads $threads --temperature $temperature --seed 7 --block-size $block 2>/dev/null |
          grep -oE '"all":."examples":[0-9]+,"identical":[0-9]+' | tail -1 | grep -oE '[0-9]+$')
        runs=$((runs + 1))
        [ "$line" = "$count" ] || { differing=$((differing + 1)); echo "differs: $precision, $threads threads, T $temperature, B $block: $line"; }
      done
    done
  done
done
echo "$runs settings of $count prompts, $differing with a difference"
[ $differing -eq 0 ]
