#!/usr/bin/env bash
# Every decoder that speculates against AR on N prompts of a model: block sizes, weights of drafts, how probable drafts
# must seem to be verified, precisions, instruction sets, numbers of threads, answers that share passes, greedy and
# sampled. AR's own answers must be the same whatever the block, the drafts, the threads and the neighbours.
#   tools/checks/check_lossless.sh <dvlm> <data.jsonl> [N = 500] [model folder]
# ISAS, BLOCKS, DRAFTS, P_MINS, PARALLELS, PRECISIONS, THREADS, TEMPERATURES: lists that replace the defaults below.
# DRAFT_LORAS: folders of adapters that drafts use, "none" for none; AR must answer as without.
set -euo pipefail
dvlm=$1 data=$2 count=${3:-500} model=${4:-}
[ -f "$data" ] || { echo "$data is not a file: give the data.jsonl of dvlm synth" >&2; exit 2; }
decoders=ar,spec,fused,auto
differing=0 runs=0
isas=$(DVLM_ISA=? "$dvlm" bench pass --shape tiny 2>&1 | sed -n 's/.*use one of //p' | tr -d , || true)
case $isas in *AVX512_BF16*) isas+=" AMX_EMULATED" ;; esac
declare -A texts  # the digest of AR's answers, by what may change them
check() {  # isa precision draft threads temperature p_min block parallel adapter
  local setting="$1, $2, drafts $3, $4 threads, T $5, p min $6, B $7, $8 at a time" report identical digest adapter=()
  [ "$9" = none ] || { adapter=(--draft-lora "$9"); setting+=", adapter $9"; }
  report=$(DVLM_ISA=$1 "$dvlm" eval ${model:+--model "$model"} --data "$data" --limit "$count" --decoders $decoders --json \
    --max-tokens 128 --precision "$2" --draft-precision "$3" --threads "$4" --temperature "$5" --seed 7 --draft-p-min "$6" \
    --block-size "$7" --parallel "$8" "${adapter[@]}" 2>/dev/null) || report=
  identical=$(grep -oE '"identical":[0-9]+' <<<"$report" | grep -oE '[0-9]+$' | sort -u) || identical=failed
  digest=$(grep -oE '"digest":"[0-9a-f]+"' <<<"$report" | sort -u) || digest=none
  : "${texts[$1 $2 $5]:=$digest}"
  [ "$digest" = "${texts[$1 $2 $5]}" ] || identical="$identical, AR not as before,"
  runs=$((runs + 1))
  echo "$setting: $identical of $count" >&2
  [ "$identical" = "$count" ] || { differing=$((differing + 1)); echo "differs: $setting: $identical of $count"; }
}
for isa in ${ISAS:-$isas}; do for precision in ${PRECISIONS:-auto}; do for draft in ${DRAFTS:-same int8 int4}; do
  for threads in ${THREADS:-1 2}; do for temperature in ${TEMPERATURES:-0}; do for p_min in ${P_MINS:-0 0.05}; do
    for block in ${BLOCKS:-8 16 32}; do for parallel in ${PARALLELS:-1 4}; do for lora in ${DRAFT_LORAS:-none}; do
      check "$isa" "$precision" "$draft" "$threads" "$temperature" "$p_min" "$block" "$parallel" "$lora"
    done; done; done
  done; done; done
done; done; done
echo "$runs settings of $count prompts with $decoders, $differing with a difference"
[ $runs -gt 0 ] && [ $differing -eq 0 ]
