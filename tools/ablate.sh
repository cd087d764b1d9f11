#!/usr/bin/env bash
# The paper's ablations on dvlm-tiny: converts one AR checkpoint once per variant and seed, evaluates each model, and
# writes a table and a plot (docs/training.md, Ablations). Ctrl-C stops; running it again resumes and skips what is done.
#
#   tools/ablate.sh [--model FOLDER] [--out FOLDER] [--minutes M] [--seeds N] [--limit N] [--test FILE]
#                   [--variants NAME,NAME...] [--set KEY=VALUE]...
#
# Defaults: runs/tiny-ar (of ./dev train), runs/ablations, 15 minutes a run, 3 seeds, all questions of
# data/tiny/test/data.jsonl, all variants. --set is for every run. The variant two-stage spends one half of these minutes,
# or of --set steps=N, on texts alone. DVLM names another program.
set -euo pipefail
trap 'exit 130' INT TERM
cd "$(dirname "$0")/.."

dvlm=${DVLM:-build/torch/apps/dvlm/dvlm}
model=runs/tiny-ar out=runs/ablations minutes=15 seeds=3 limit= test=data/tiny/test/data.jsonl set=()
# The paper's recipe, where examples/tiny/convert.json departs from it.
recipe=(annealing=paper noisy_prompts=true known_first_token=false full_mask_probability=0 random_block_offset=false
  steps=0)
# What each variant changes.
declare -A changes=(
  [full]=
  [no-annealing]=annealing=none
  [no-causal-context]=clean_attention=block
  [no-auto-truncation]=auto_truncation=false
  [no-vision-efficient]=vision_efficient=false
  [no-complement]=complementary=false
  [two-stage]=
)
variants=full,no-annealing,no-causal-context,no-auto-truncation,no-vision-efficient,no-complement,two-stage
# The first stage of two-stage, whose pictures are told in words: the language model alone, and no regions to see. Between
# the stages nothing is rounded.
text_stage=('freeze=["visual.*"]' region_weight=0 save_dtype=f32)

die() { printf '%s\n' "$*" >&2; exit 2; }
case " $* " in *" -h "* | *" --help "*) sed -n '2,/^set/s/^#  *//p' tools/ablate.sh; exit ;; esac
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "tools/ablate.sh: $1 needs a value; --help lists the flags"
  case $1 in
    --model) model=$2 ;;
    --out) out=$2 ;;
    --minutes) minutes=$2 ;;
    --seeds) seeds=$2 ;;
    --limit) limit=$2 ;;
    --test) test=$2 ;;
    --variants) variants=$2 ;;
    --set) set+=("$2") ;;
    *) die "tools/ablate.sh: unknown flag $1; --help lists the flags" ;;
  esac
  shift 2
done
IFS=, read -ra names <<<"$variants"
for name in "${names[@]}"; do
  [ -n "${changes[$name]+known}" ] || die "there is no variant $name; there are ${!changes[*]}"
done
case ",$variants, ${set[*]}" in
  *,two-stage,*" epochs="*) die "two-stage halves minutes or steps, not epochs: leave it out of --variants" ;;
esac
[[ $seeds =~ ^[1-9][0-9]*$ ]] || die "--seeds must be a number from 1 on, not $seeds"
[ -x "$dvlm" ] || die "$dvlm is not there: build it with ./dev build torch"
[ -f "$model/model.safetensors" ] || die "$model holds no weights: ./dev train makes runs/tiny-ar, --model names another"
[ -f "$test" ] || die "$test is not there: ./dev train makes it, --test names another"

# What a folder was begun with: another budget in the same folder would mix two experiments.
settings="model=$model minutes=$minutes limit=$limit test=$test ${set[*]}"
mkdir -p "$out"
[ -f "$out/settings" ] || printf '%s\n' "$settings" >"$out/settings"
[ "$(cat "$out/settings")" = "$settings" ] ||
  die "$out was begun with other settings ($(cat "$out/settings")): name another --out"

# Half of what limits a run, for each of two stages.
halved() {
  local pair
  for pair in "max_minutes=$minutes" "${set[@]}"; do
    case $pair in
      max_minutes=*) awk -v "all=${pair#*=}" 'BEGIN { print "max_minutes=" all / 2 }' ;;
      steps=*) echo "steps=$((${pair#*=} / 2))" ;;
    esac
  done
}

# The data's value in a configuration, its pictures told in words. A broken-off run leaves no such file.
text_data() {
  local pair data=() file=$out/text/data.json
  for pair in "${set[@]}"; do [[ $pair != data=* ]] || data=(--data "${pair#data=}"); done
  mkdir -p "$out/text"
  [ -f "$file" ] || { tools/text_only.py examples/tiny/convert.json "$out/text" "${data[@]}" >"$file.partial" &&
    mv "$file.partial" "$file"; } || return
  cat "$file"
}

# A model is trained when `trained` says so: its training state, four times its size, is deleted then.
#   run FOLDER KEY=VALUE...
run() {
  local folder=$1 resume=() pair flags=()
  shift
  [ ! -f "$folder/trained" ] || return 0
  [ ! -f "$folder/training.safetensors" ] || resume=(--resume)
  for pair in "$@"; do flags+=(--set "$pair"); done
  "$dvlm" train --config examples/tiny/convert.json "${flags[@]}" --output "$folder" "${resume[@]}"
  touch "$folder/trained"
  rm -f "$folder/training.safetensors"
}

train() {
  local folder=$1 name=$2 seed=$3 half=() data
  local settings=("${recipe[@]}" "seed=$seed" "model=$model" "max_minutes=$minutes" "${set[@]}")
  if [ "$name" != two-stage ]; then
    run "$folder" "${settings[@]}" ${changes[$name]}
    return
  fi
  mapfile -t half < <(halved)
  data=$(text_data)
  run "$folder/text" "${settings[@]}" "${half[@]}" "${text_stage[@]}" "data=$data"
  run "$folder" "${settings[@]}" "${half[@]}" "model=$folder/text"
}

# Block attention leaves no autoregressive half for spec to verify with.
evaluate() {
  local folder=$1 name=$2 decoders=mdm,spec
  [ ! -f "$folder/eval.json" ] || return 0
  [[ ${changes[$name]} != *clean_attention=block* ]] || decoders=mdm
  "$dvlm" eval --model "$folder" --data "$test" --decoders "$decoders" ${limit:+--limit "$limit"} --max-tokens 256 --json \
    >"$folder/eval.json.partial"
  mv "$folder/eval.json.partial" "$folder/eval.json"
}

for ((seed = 1; seed <= seeds; ++seed)); do  # seeds outside: after a third of the night each variant has one
  for name in "${names[@]}"; do
    folder=$out/$name/seed-$seed
    mkdir -p "$folder"
    printf '\033[1m== %s, seed %d of %d\033[0m\n' "$name" "$seed" "$seeds" >&2
    train "$folder" "$name" "$seed"
    evaluate "$folder" "$name"
    tools/ablation_table.py "$out" >/dev/null
  done
done
tools/ablation_table.py "$out"
