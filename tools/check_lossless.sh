#!/usr/bin/env bash
# Every decoder that speculates against AR on N prompts of a model: block sizes, weights of drafts, how probable drafts
# must seem to be verified, precisions, instruction sets, numbers of threads, greedy and sampled.
#   tools/check_lossless.sh <dvlm> <data.jsonl> [N = 500] [model folder]
# ISAS, BLOCKS, DRAFTS, P_MINS, PRECISIONS, THREADS, TEMPERATURES: lists that replace the defaults below.
set -euo pipefail
dvlm=$1 data=$2 count=${3:-500} model=${4:-}
decoders=ar,spec,fused,auto
differing=0 runs=0
isas=$(DVLM_ISA=? "$dvlm" bench pass --shape tiny 2>&1 | sed -n 's/.*use one of //p' | tr -d , || true)
case $isas in *AVX512_BF16*) isas+=" AMX_EMULATED" ;; esac
for isa in ${ISAS:-$isas}; do
  for precision in ${PRECISIONS:-auto}; do
    for draft in ${DRAFTS:-same int8 int4}; do
      for threads in ${THREADS:-1 2}; do
        for temperature in ${TEMPERATURES:-0}; do
          for p_min in ${P_MINS:-0 0.05}; do
            for block in ${BLOCKS:-8 16 32}; do
              setting="$isa, $precision, drafts $draft, $threads threads, T $temperature, B $block, p min $p_min"
              identical=$(DVLM_ISA=$isa "$dvlm" eval ${model:+--model "$model"} --data "$data" --limit "$count" --decoders $decoders \
                --json --max-tokens 128 --precision "$precision" --draft-precision "$draft" --threads "$threads" \
                --temperature "$temperature" --seed 7 --block-size "$block" --draft-p-min "$p_min" 2>/dev/null |
                grep -oE '"all":."examples":[0-9]+,"identical":[0-9]+' | grep -oE '[0-9]+$' | sort -u) || identical=failed
              runs=$((runs + 1))
              echo "$setting: $identical of $count" >&2
              [ "$identical" = "$count" ] || { differing=$((differing + 1)); echo "differs: $setting: $identical of $count"; }
            done
          done
        done
      done
    done
  done
done
echo "$runs settings of $count prompts with $decoders, $differing with a difference"
[ $runs -gt 0 ] && [ $differing -eq 0 ]
