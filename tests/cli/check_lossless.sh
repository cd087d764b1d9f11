#!/usr/bin/env bash
# tools/checks/check_lossless.sh on three prompts and one setting: it reads what dvlm eval prints.
#   tests/cli/check_lossless.sh <dvlm> <repository>
set -euo pipefail
dvlm=$1 root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$dvlm" synth --out "$work" --count 3 --split test --seed 1 >/dev/null 2>&1
isa=$(DVLM_ISA=? "$dvlm" bench pass --shape tiny 2>&1 | sed -n 's/.*use one of \([A-Z0-9_]*\).*/\1/p' || true)
said=$(ISAS=$isa DRAFTS=same THREADS=1 P_MINS=0 BLOCKS=8 PARALLELS=1 \
  "$root/tools/checks/check_lossless.sh" "$dvlm" "$work/data.jsonl" 3 "$root/models/dvlm-tiny" 2>/dev/null) || {
  echo "FAIL  $said" >&2
  exit 1
}
[ "$said" = "1 settings of 3 prompts with ar,spec,fused,auto, 0 with a difference" ] || { echo "FAIL  $said" >&2; exit 1; }
