#!/usr/bin/env bash
# models/dvlm-tiny from nothing: data, learning to look, answers, conversion. Ctrl-C stops; running it again resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
dvlm=build/torch/apps/dvlm/dvlm

data() {
  local folder=data/tiny/$1
  shift
  [ -f "$folder/data.jsonl" ] || "$dvlm" synth --out "$folder" "$@"
}
data look --split train --seed 2 --count 40000 --min-turns 1 --max-turns 2 --types what,where,exists,colour,read,count,relation
data train --split train --seed 1 --count 40000 --min-turns 3 --max-turns 5
data signs --split train --seed 3 --count 16000 --min-turns 3 --max-turns 4 --sign-share 0.95 --types read,read,what,where,exists,relation,grid,describe
data test --split test --seed 1 --count 500

# A run that has begun holds training.safetensors; --resume at its end is a no-op.
stage() {
  local output=$1 config=$2
  if [ -f "$output/training.safetensors" ]; then "$dvlm" train --config "$config" --resume; else "$dvlm" train --config "$config"; fi
}
stage runs/tiny-look examples/tiny/look.json
stage runs/tiny-ar examples/tiny/ar.json
stage runs/tiny examples/tiny/convert.json
"$dvlm" eval --model runs/tiny --data data/tiny/test/data.jsonl
