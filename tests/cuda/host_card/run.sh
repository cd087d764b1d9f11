#!/usr/bin/env bash
# The program on a card, from end to end, with the host's layer as the card.
#   tests/cuda/host_card/run.sh <dvlm> <host card's libdvlm_cuda_plugin.so> <models> <a picture> <acceptance file>
set -u
dvlm=$1 plugin=$2 model=$3/dvlm-tiny picture=$4 acceptance=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln "$dvlm" "$work/dvlm" 2>/dev/null || cp "$dvlm" "$work/dvlm"
cp "$plugin" "$work/libdvlm_cuda_plugin.so"
dvlm=$work/dvlm
failed=0

# expect NAME PATTERN STATUS COMMAND...: what it prints and how it ends.
expect() {
  local name=$1 pattern=$2 wanted=$3 status begin=$SECONDS; shift 3
  timeout 300 "$@" >"$work/out" 2>&1 </dev/null
  status=$?
  if [ $status != "$wanted" ] || ! grep -qE "$pattern" "$work/out"; then
    echo "FAIL $name: exit status $status, no '$pattern' in: $(head -c 2000 "$work/out")"
    failed=1
  else
    echo "passed in $((SECONDS - begin)) s: $name"
  fi
}

expect "it is listed" "^cuda:0 +the host's layer" 0 "$dvlm" devices
expect "an answer" '"text":"[A-Z]' 0 "$dvlm" run --device cuda -m "$model" --image "$picture" \
  --prompt "Where is the hammer?" -n 6 -d ar --json
answer=$(grep -o '"text":"[^"]*"' "$work/out")
expect "the same, by speculation" "$answer" 0 "$dvlm" run --device cuda:0 -m "$model" --image "$picture" \
  --prompt "Where is the hammer?" -n 6 -d spec --json
expect "no other card" "there is no card 1" 1 "$dvlm" run --device cuda:1 -m "$model" --prompt hi
expect "no such name" "there is no device" 1 "$dvlm" run --device cuda:x -m "$model" --prompt hi
expect "too little memory" "needs .* of memory but only 1.0 MiB" 1 "$dvlm" run --device cuda -m "$model" --prompt hi \
  --memory-limit 1MiB
expect "f32" "precision f32 needs --device cpu" 1 "$dvlm" run --device cuda -m "$model" --prompt hi --precision f32
expect "packed files" "packed needs --device cpu" 1 "$dvlm" run --device cuda -m "$model" --prompt hi \
  --packed "$work/packed"
expect "passes" '^\| bf16 \| 8 \| 0 \| [0-9]' 0 "$dvlm" bench pass --device cuda --shape tiny --precision bf16 --rows 8 \
  --context 0 --repeats 1
expect "pictures" '^\| bf16 \| 112x112 \|' 0 "$dvlm" bench image --device cuda --shape tiny --precision bf16 \
  --size 112x112 --repeats 1
expect "loading" '"card":"the host' 0 "$dvlm" bench load --device cuda --shape tiny --folder "$work/load" --json
expect "decoders" '^\| fp8 \| spec \| 8 \|' 0 "$dvlm" bench decode --device cuda --shape tiny --precision fp8 \
  --decoders ar,spec --blocks 8 --prompt-tokens 16 -n 8 --answers 1 --draft-precision same --acceptance "$acceptance"
expect "requests at once" '^\| bf16 \| spec \| 8 \| 2 \|' 0 "$dvlm" bench batch --device cuda --shape tiny \
  --precision bf16 --decoders spec --concurrent 1,2 --prompt-tokens 16 -n 8 --rounds 1 --draft-precision same \
  --acceptance "$acceptance"
printf 'nothing' >"$work/libdvlm_cuda_plugin.so"
expect "no plugin" "cannot load .*libdvlm_cuda_plugin.so" 1 "$dvlm" run --device cuda -m "$model" --prompt hi
exit $failed
