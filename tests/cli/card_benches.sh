#!/usr/bin/env bash
# What the program computes on a card from end to end, and every benchmark there: it is put beside a plugin that pretends
# to have three, of which the last computes as the host's layer does. What it says about cards is tested by cards.sh.
#   tests/cli/card_benches.sh DVLM PLUGIN SOURCES
set -u
dvlm=$1 plugin=$2 sources=$3
model=$sources/models/dvlm-tiny picture=$sources/examples/desk.png acceptance=$sources/bench/acceptance-tiny.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln "$dvlm" "$work/dvlm" 2>/dev/null || cp "$dvlm" "$work/dvlm"
cp "$plugin" "$work/libdvlm_cuda_plugin.so"
dvlm=$work/dvlm
failed=0

# expect NAME PATTERN COMMAND...: it ends well and prints that.
expect() {
  local name=$1 pattern=$2 begin=$SECONDS; shift 2
  if timeout 300 "$@" --device cuda:2 >"$work/out" 2>&1 </dev/null && grep -qE "$pattern" "$work/out"; then
    echo "passed in $((SECONDS - begin)) s: $name"
  else
    echo "FAIL $name: no '$pattern' in: $(head -c 2000 "$work/out")"
    failed=1
  fi
}

ask=("$dvlm" run -m "$model" --image "$picture" --prompt "Where is the hammer?" -n 6 --json)
bench=("$dvlm" bench)
replay=(--shape tiny --prompt-tokens 16 -n 8 --draft-precision same --acceptance "$acceptance")
expect "an answer" '"text":"[A-Z]' "${ask[@]}" -d ar
answer=$(grep -o '"text":"[^"]*"' "$work/out")
expect "the same, by speculation" "$answer" "${ask[@]}" -d spec
expect "passes" '^\| bf16 \| 8 \| 0 \| [0-9]' "${bench[@]}" pass --shape tiny --precision bf16 --rows 8 --context 0 --repeats 1
expect "pictures" '^\| bf16 \| 112x112 \|' "${bench[@]}" image --shape tiny --precision bf16 --size 112x112 --repeats 1
expect "loading" '"card":"the host' "${bench[@]}" load --shape tiny --folder "$work/load" --json
expect "decoders" '^\| fp8 \| spec \| 8 \|' "${bench[@]}" decode --precision fp8 --decoders ar,spec --blocks 8 --answers 1 "${replay[@]}"
expect "requests at once" '^\| bf16 \| spec \| 8 \| 2 \|' "${bench[@]}" batch --precision bf16 --decoders spec --concurrent 1,2 \
  --rounds 1 "${replay[@]}"
exit $failed
