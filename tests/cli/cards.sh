#!/usr/bin/env bash
# What the program takes and says where there are cards: it is put beside a plugin that pretends to have three.
#   tests/cli/cards.sh DVLM PLUGIN MODEL
set -uo pipefail
dvlm=$1 plugin=$2 model=$3
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; rm -rf "$work"' EXIT
failed=0
mkdir "$work/without" "$work/with"
cp "$dvlm" "$work/without/dvlm"
cp "$dvlm" "$work/with/dvlm"
cp "$plugin" "$work/with/libdvlm_cuda_plugin.so"
dvlm=$work/with/dvlm
run=(run -m "$model" --prompt "Hello" -d ar -n 4)

wrong() { echo "WRONG: $*"; cat "$work/out" "$work/err" 2>/dev/null; failed=1; }

# check NAME STATUS PATTERN COMMAND...: the exit status, and all of standard error in one line (empty: nothing).
check() {
  local name=$1 status=$2 pattern=$3 code=0
  shift 3
  "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
  [ $code = "$status" ] || wrong "$name: exit status $code instead of $status"
  # AddressSanitizer warns of the contexts that the pretended cards' threads are.
  sed -i '/WARNING: ASan doesn.t fully support makecontext/d' "$work/err"
  grep -qzE "^$pattern\$" <(tr -d '\n' <"$work/err"; printf '\0') || wrong "$name: standard error is not: $pattern"
}

small="cuda:1 \(Small Card\) has 1.0 MiB free, and the model needs [0-9.]+ MiB"
old="cuda:0 \(Old Card\) has the instruction set 7.5, and dvlm needs 8.0"

check "without a plugin nothing is said" 0 "" "$work/without/dvlm" "${run[@]}"
cp "$work/out" "$work/answer"
check "auto takes the card with room" 0 "the model runs on cuda:2 \(Large Card, 1.0 GiB free; $old; $small\)" \
  "$dvlm" "${run[@]}"
cmp -s "$work/out" "$work/answer" || wrong "the card answers otherwise"
check "f32 is the CPU's" 0 "the model runs on cpu \(--precision f32 needs --device cpu.*\)" "$dvlm" "${run[@]}" --precision f32
check "weights for drafts in whole numbers are the CPU's" 0 "the model runs on cpu \(.*--draft-precision.*\)" "$dvlm" "${run[@]}" --draft-precision int4
check "drafts in FP8 are a card's" 1 "dvlm: error: --draft-precision fp8 needs --device cuda.*" "$dvlm" "${run[@]}" --device cpu --draft-precision fp8
check "drafts in FP8" 0 "" "$dvlm" "${run[@]}" --device cuda:2 --draft-precision fp8
check "packed weights are the CPU's" 0 "the model runs on cpu \(--packed.*\)" "$dvlm" "${run[@]}" --packed "$work/weights.bin"
check "a limit that the model is larger than" 1 "the model runs on cpu \(.*--memory-limit.*\)dvlm: error: .*" \
  "$dvlm" "${run[@]}" --memory-limit 2MiB
check "what is named is not discussed" 0 "" "$dvlm" "${run[@]}" --device cuda:2
check "the CPU neither" 0 "" "$dvlm" "${run[@]}" --device cpu
check "a card that is too small" 1 "dvlm: error: the model needs .* of memory but only .*" "$dvlm" "${run[@]}" --device cuda:1
check "a card that is too old" 1 "dvlm: error: Old Card has the instruction set 7.5.*--device cpu.*" "$dvlm" "${run[@]}" --device cuda
check "a card that is not there" 1 "dvlm: error: there is no card 3: this machine has 0 to 2.*" "$dvlm" "${run[@]}" --device cuda:3
check "f32 on a card" 1 "dvlm: error: --precision f32 needs --device cpu.*" "$dvlm" "${run[@]}" --device cuda:2 --precision f32
check "all are listed" 0 "" "$dvlm" devices
for line in "^cpu " "^cuda:0 +Old Card: .*not usable: has the instruction set" "^cuda:1 +Small Card: .*1.0 MiB free" "^cuda:2 +Large Card"; do
  grep -qE "$line" "$work/out" || wrong "dvlm devices does not say: $line"
done

# Plugins are those of the program, not of where it is called or of who comes first.
mkdir -p "$work/else/where" "$work/prefix/bin" "$work/prefix/lib"
cp "$plugin" "$work/else/where/libdvlm_cuda_plugin.so"
cp "$work/without/dvlm" "$work/prefix/bin/dvlm"
cp "$plugin" "$work/prefix/lib/libdvlm_cuda_plugin.so"
called_as() { (cd "$work/else/where" && exec -a "$1" "$work/without/dvlm" devices); }
for name in dvlm ./dvlm ""; do
  check "called as '$name' from a folder with a plugin" 0 "" called_as "$name"
  grep -q "^no cuda: .* beside $work/without/dvlm, which is not there" "$work/out" || wrong "called as '$name', it takes that plugin"
done
if [ -d "$work/prefix/lib" ] && "$work/prefix/bin/dvlm" devices | grep -q "^cuda:2"; then
  chmod o+w "$work/prefix/lib"
  check "a library folder that others write to" 0 "" "$work/prefix/bin/dvlm" devices
  grep -q "^no cuda: .*/lib/libdvlm_cuda_plugin.so is not loaded: others may write to its folder" "$work/out" ||
    wrong "a plugin is loaded that others may have put there"
else
  wrong "the library folder of an installation is not looked at"
fi

# A card that is lost.
lost="the card failed to finish its work \(for a test\): start dvlm again"
export DVLM_CARD_LOST=$work/lost
touch "$work/lost"
check "a card that is lost" 1 "dvlm: error: $lost" "$dvlm" "${run[@]}" --device cuda:2
rm "$work/lost"
"$dvlm" serve -m "$model" --device cuda:2 --port 0 >"$work/out" 2>"$work/err" &
server=$!
for _ in $(seq 600); do
  port=$(sed -nE 's#.*http://127.0.0.1:([0-9]+)/v1.*#\1#p' "$work/err")
  [ -n "$port" ] && break
  sleep 0.1
done
# ask REQUEST: the first line of the answer and its body.
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$port" || return
  printf '%b' "$1" >&3
  timeout 30 cat <&3
  exec 3<&-
}
body='{"prompt": "Hello", "max_tokens": 2, "dvlm": {"decoder": "ar"}}'
question="POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${#body}\r\n\r\n$body"
health="GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
grep -q "^HTTP/1.1 200" <(ask "$health") || wrong "the server is not well from the start"
touch "$work/lost"
for _ in 1 2; do
  ask "$question" >"$work/answer"
  grep -q "^HTTP/1.1 503" "$work/answer" && grep -qE "$lost" "$work/answer" || wrong "a request is not told: $(cat "$work/answer")"
done
grep -q "^HTTP/1.1 503" <(ask "$health") || wrong "the server says that it is well"
[ "$(grep -cE "$lost" "$work/err")" = 1 ] || wrong "the log does not say it once"
begun=$SECONDS
kill -TERM $server
wait $server || wrong "the server ended with status $?"
server=
[ $((SECONDS - begun)) -le 5 ] || wrong "the server took $((SECONDS - begun)) s to end"
[ $failed = 0 ] && echo "cards: all right"
exit $failed
