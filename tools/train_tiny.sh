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
short=what,where,exists,colour,read,count,relation
data look --split train --seed 2 --count 40000 --min-turns 1 --max-turns 2 --types $short
data ask --split train --seed 4 --count 24000 --min-turns 5 --max-turns 7 --sign-share 0.5 --types $short
data find --split train --seed 5 --count 16000 --min-turns 4 --max-turns 6 --sign-share 0.2 --max-objects 4 --types where,where,exists,relation,count
data train --split train --seed 1 --count 40000 --min-turns 3 --max-turns 5
data long --split train --seed 6 --count 16000 --min-turns 1 --max-turns 2 --types describe,plan,grid,boxes,box
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
