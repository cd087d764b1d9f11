#!/usr/bin/env bash
# Tests dvlm on a card, or measures it there, from the folder that tools/machines/test_gpu.sh makes.
#   run.sh test             the kernels, whole models, decoders and the server's scheduler; what must not differ
#   run.sh bench            dvlm bench, beside probes of the card, then the kernels alone
#   run.sh pass [what]      bin/pass alone: all, check, check-small, bits, passes, cuts, tiles
# Without a card: the same on the host's layer, which is slow and shows that the folder is whole. Prints a report, and
# keeps it beside the script. Status 1 when something failed.
set -uo pipefail
cd "$(dirname "$0")"
export LD_LIBRARY_PATH=$PWD/lib DVLM_CACHE= DVLM_LOG=error
what=${1:-test}; shift || true
[ "$what" != pass ] || exec bin/pass "$@"
card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
if [ -n "$card" ]; then
  export DVLM_TEST_DEVICE=0
  dvlm=bin/dvlm device=cuda shape=3b rows=1,8,32,64,1024 context=0,1300 picture=924x868 tokens=120
else
  # The same program beside a plugin that pretends to have cards; the last is the host's layer.
  dvlm=bin/host/dvlm device=cuda:2 shape=tiny rows=1,8 context=0,40 picture=224x224 tokens=12
fi
report=report-$what-$(date -u +%Y-%m-%d-%H%M).txt failed=0

# step NAME COMMAND...: its output and time in the report.
step() {
  local name=$1 begin=$SECONDS status=0; shift
  echo "== $name"
  "$@" 2>&1 || status=$?
  echo "-- $([ $status = 0 ] && echo passed || echo "FAILED ($status)") in $((SECONDS - begin)) s: $name"
  [ $status = 0 ] || failed=1
}
# on_card NAME COMMAND...: as step, where there is a card.
on_card() {
  if [ -n "$card" ]; then step "$@"; else echo "== NOT RUN: $1 (needs a card)"; fi
}

# Greedy answers about the picture that comes with dvlm, by every lossless decoder, are one answer.
answers_alike() {
  local first= answer decoder
  for decoder in ar spec fused; do
    answer=$($dvlm run -m models/dvlm-tiny --device $device -d $decoder --image examples/desk.png \
      --prompt "Describe the picture." --max-tokens "$tokens") || return 1
    echo "$decoder: $answer"
    [ -z "$first" ] && first=$answer
    [ "$answer" = "$first" ] || return 1
  done
}
sanitized() {
  local tool
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not here"; return 0; }
  for tool in memcheck racecheck synccheck; do
    timeout 120 compute-sanitizer --tool $tool --error-exitcode 1 bin/pass check-small || return 1
  done
}

{
  echo "dvlm $(cat version), $(date -u '+%Y-%m-%d %H:%M UTC'), ${card:-no card: rehearsed on the host layer}"
  if [ "$what" = test ]; then
    step "what there is" $dvlm devices
    on_card "kernels against the host layer" bin/pass check
    on_card "a row's bits beside others" bin/pass bits
    on_card "prompts cut anywhere" bin/pass cuts
    step "whole models against transformers" bin/test_cuda --gtest_brief=1 --gtest_filter='Card*-CardDecoding.*'
    step "speculation is autoregression" bin/test_cuda --gtest_brief=1 --gtest_filter='CardDecoding.*'
    step "engine and scheduler" bin/test_backends --gtest_brief=1 --gtest_filter='OnCard.*'
    step "answers of the program" answers_alike
    on_card "compute-sanitizer" sanitized
  elif [ "$what" = bench ]; then
    step "what there is" $dvlm devices
    step "passes" $dvlm bench pass --device $device --shape $shape --rows $rows --context $context
    step "a picture" $dvlm bench image --device $device --shape $shape --size $picture
    step "decoders" $dvlm bench decode --device $device --shape $shape --acceptance bench/acceptance-tiny.json \
      --draft-precision same --answers 2 -n "$tokens"
    step "requests at once" $dvlm bench batch --device $device --shape $shape --acceptance bench/acceptance-tiny.json \
      --draft-precision same --precision fp8 --decoders spec --concurrent 1,8 --max-tokens "$tokens"
    step "loading" $dvlm bench load --device $device --shape $shape --folder "$(mktemp -d)"
    on_card "kernels" bin/pass passes
    on_card "tiles" bin/pass tiles
  else
    echo "run.sh: there is no $what" >&2; failed=2
  fi
  echo "$([ $failed = 0 ] && echo PASS || echo FAIL)"
  exit $failed
} | tee "$report"
exit "${PIPESTATUS[0]}"
