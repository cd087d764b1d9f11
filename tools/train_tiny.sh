#!/usr/bin/env bash
# models/dvlm-tiny from nothing: data, learning to look, to answer, conversion. Ctrl-C stops; running it again resumes.
set -euo pipefail
[ $# = 0 ] || { sed -n '2s/^# //p' "$0"; echo "It takes no arguments." >&2; exit 2; }
cd "$(dirname "$0")/.."
dvlm=build/torch/apps/dvlm/dvlm

# Each pair ends at once when it is there already; a broken-off one is made again.
data() {
  local folder=data/tiny/$1
  shift
  [ -f "$folder/complete" ] || { "$dvlm" synth --force --out "$folder" "$@" && touch "$folder/complete"; }
}
short=what,where:2,exists,colour,read,count:2,relation:2
charts=chart_value:2,chart_extreme,chart_count,chart_sum,chart_compare,chart_title
documents=doc_total,doc_price,doc_extreme,doc_count,doc_date,doc_who,doc_field,doc_title
long=chart_table,chart_describe,doc_text,doc_json
data look --seed 2 --count 24000 --min-turns 1 --max-turns 2 --cell-regions --types "$short,$charts,$documents"
data ask --seed 4 --count 48000 --min-turns 5 --max-turns 7 --sign-share 0.5 --cell-regions --benchmark-share 0.2 \
  --types "$short,box"
data find --seed 5 --count 16000 --min-turns 4 --max-turns 6 --sign-share 0.2 --max-objects 4 --cell-regions \
  --types where:2,exists,relation:2,count,box:2
data long --seed 6 --count 24000 --min-turns 1 --max-turns 2 --cell-regions --types describe,plan,grid,boxes:2,box
data papers --seed 7 --count 32000 --min-turns 5 --max-turns 7 --benchmark-share 0.2 --types "$charts,$documents,$long"
data dev --seed 99 --count 600 --mode question --types scenes,charts,documents
data test --split test --seed 1 --count 2000
data test-papers --split test --seed 2 --count 1800 --types charts,documents

# A run that is over is left as it is; one that was broken off goes on.
stage() {
  local output=runs/$1 config=examples/tiny/$2.json resume=()
  shift 2
  [ ! -f "$output/complete" ] || return 0
  [ ! -f "$output/training.safetensors" ] || resume=(--resume)
  "$dvlm" train --config "$config" --output "$output" "$@" "${resume[@]}"
  touch "$output/complete"
}
stage tiny-look look
# In two runs, so that each fits into an evening: the first at one learning rate.
stage tiny-answer ar --set model=runs/tiny-look --set schedule=constant --set ema_decay=0.99 --set steps=1500 --set seed=1
stage tiny-ar ar
stage tiny convert
"$dvlm" eval --model runs/tiny --data data/tiny/test/data.jsonl --max-tokens 256
"$dvlm" eval --model runs/tiny --data data/tiny/test-papers/data.jsonl --max-tokens 256
