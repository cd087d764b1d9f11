#!/usr/bin/env bash
# models/dvlm-tiny from nothing: data, autoregressive training, conversion. Ctrl-C stops; running it again resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
dvlm=build/torch/apps/dvlm/dvlm

[ -f data/tiny/train/data.jsonl ] || "$dvlm" synth --out data/tiny/train --split train --count 60000 --seed 1
[ -f data/tiny/test/data.jsonl ] || "$dvlm" synth --out data/tiny/test --split test --count 500 --seed 1

# A run that has begun holds training.safetensors; --resume at its end is a no-op.
stage() {
  local output=$1 config=$2
  if [ -f "$output/training.safetensors" ]; then "$dvlm" train --config "$config" --resume; else "$dvlm" train --config "$config"; fi
}
stage runs/tiny-ar examples/tiny/ar.json
stage runs/tiny examples/tiny/convert.json
"$dvlm" eval --model runs/tiny --data data/tiny/test/data.jsonl
