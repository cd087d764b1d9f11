#!/usr/bin/env bash
# Wrong inputs of every kind: each must end with one clear sentence on stderr and a non-zero exit, never with a signal.
#   tests/cli/wrong_inputs.sh <dvlm> <model folder> <a picture>
set -u
dvlm=$1 model=$2 picture=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# refuse NAME PATTERN COMMAND...: the command fails cleanly and says PATTERN.
refuse() {
  local name=$1 pattern=$2 status
  shift 2
  timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null
  status=$?
  if [ $status -eq 0 ] || [ $status -ge 124 ]; then
    echo "FAIL $name: exit status $status"
  elif ! grep -qE "$pattern" "$work/err" "$work/out"; then
    echo "FAIL $name: no '$pattern' in: $(head -c 300 "$work/err")"
  elif [ "$(grep -c . "$work/err")" -gt 2 ]; then
    echo "FAIL $name: more than one sentence: $(head -c 300 "$work/err")"
  else
    passed=$((passed + 1))
    return
  fi
  failed=$((failed + 1))
}

# A copy of the model that a case may spoil.
spoiled() { rm -rf "$work/model" && cp -r "$model" "$work/model" && chmod -R u+w "$work/model"; }

# Overwrites bytes at an offset of a file.
patch() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

run=("$dvlm" run --max-tokens 4 --prompt hi)
weights=$work/model/model.safetensors

refuse "regular expression without its end" "without its" "${run[@]}" --regex "(left"
refuse "grammar without root" "root" "${run[@]}" --grammar <(echo 'a ::= "x"')
refuse "grammar that is not there" "no-such.gbnf" "${run[@]}" --grammar "$work/no-such.gbnf"
refuse "schema that is no JSON" "not valid JSON" "${run[@]}" --json-schema '{"type":'
refuse "schema with what nobody can hold an answer to" "uniqueItems" "${run[@]}" --json-schema '{"uniqueItems": true}'
refuse "schema that nothing fits" "no text" "${run[@]}" --json-schema '{"type": "integer", "minimum": 2, "maximum": 1}'
refuse "option with a slip" "no option --imag \(did you mean --image\?\); dvlm run --help" "$dvlm" run --imag a.png --prompt hi
refuse "command with a slip" "no command serv \(did you mean serve\?\)" "$dvlm" serv
refuse "value that nobody asked for" "\"more\" was not expected" "${run[@]}" more
refuse "option without its value" "^dvlm: error: --threads: " "$dvlm" run --threads
refuse "what must be given" "^dvlm: error: --output is required" "$dvlm" quantize
refuse "adapter that quantize does not know" "no option --lora" "$dvlm" quantize -o "$work/out" --calibration "$picture" --lora "$work"
refuse "memory of half a byte" "\"0.5\" is not a size" "${run[@]}" --memory-limit 0.5
refuse "schema and regular expression" "excludes|not allowed|together" "${run[@]}" --json-schema '{}' --regex a
refuse "schema with masked diffusion" "cannot follow a grammar" "${run[@]}" --regex a --decoder mdm
refuse "text that does not fit" "may follow" "$dvlm" grammar --regex "a+" --text "aab"
refuse "name of the hub that was never pulled" "dvlm pull no-such/model" env HF_HOME="$work" "${run[@]}" --model no-such/model
refuse "pull of what is no name" "org/name" "$dvlm" pull "../x"
refuse "pull without a network" "could not be downloaded|running it again|run it again" env HF_HOME="$work" HF_ENDPOINT=http://127.0.0.1:1 "$dvlm" pull a/b
refuse "missing model folder" "no model folder" "${run[@]}" --model "$work/none"
refuse "folder without a model" "no config.json" "${run[@]}" --model "$work"
spoiled; rm "$weights"
refuse "missing weights" "neither model.safetensors" "${run[@]}" --model "$work/model"
spoiled; truncate -s 100000 "$weights"
refuse "truncated safetensors" "truncated or damaged" "${run[@]}" --model "$work/model"
spoiled; truncate -s 5 "$weights"
refuse "five-byte safetensors" "too short" "${run[@]}" --model "$work/model"
spoiled; patch "$weights" 0 '\377\377\377\377\377\377\377\177'
refuse "absurd header length" "header claims" "${run[@]}" --model "$work/model"
spoiled; patch "$weights" 8 'xxxxxxxx'
refuse "header that is not JSON" "not valid JSON" "${run[@]}" --model "$work/model"
spoiled; sed -i 's/"dtype":"BF16"/"dtype":"BF61"/' "$weights"
refuse "unknown dtype" "dtype" "${run[@]}" --model "$work/model"
spoiled; LC_ALL=C sed -i 's/"model.language_model.norm.weight"/"model.language_model.nrom.weight"/' "$weights"
refuse "missing tensor" "model.norm.weight is missing" "${run[@]}" --model "$work/model"
spoiled; sed -i 's/"intermediate_size": 704/"intermediate_size": 705/' "$work/model/config.json"
refuse "shape that config.json does not ask for" "shape" "${run[@]}" --model "$work/model"
spoiled; sed -i 's/"hidden_size": 256/"hidden_size": -256/' "$work/model/config.json"
refuse "negative size in config.json" "hidden_size" "${run[@]}" --model "$work/model"
spoiled; echo '{"a":' >"$work/model/config.json"
refuse "broken config.json" "not valid JSON" "${run[@]}" --model "$work/model"
spoiled; head -c 3000 "$model/tokenizer.json" >"$work/model/tokenizer.json"
refuse "truncated tokenizer.json" "tokenizer.json" "${run[@]}" --model "$work/model"
pointer='version https://git-lfs.github.com/spec/v1'
spoiled; echo "$pointer" >"$weights"
refuse "Git LFS pointer for weights" "git lfs pull" "${run[@]}" --model "$work/model"
spoiled; echo "$pointer" >"$work/model/tokenizer.json"
refuse "Git LFS pointer for a tokenizer" "git lfs pull" "${run[@]}" --model "$work/model"
spoiled; rm "$weights" "$work/model/config.json"; echo '{}' >"$work/model/adapter_config.json"
refuse "an adapter without its model" "PEFT adapter" "${run[@]}" --model "$work/model"
spoiled; echo '{{ messages }}' >"$work/model/chat_template.jinja"
refuse "another chat template" "template" "${run[@]}" --model "$work/model"

run=("$dvlm" run --model "$model" --max-tokens 4)
refuse "missing picture" "none.png" "${run[@]}" --prompt hi --image "$work/none.png"
: >"$work/empty.png"
refuse "zero-byte picture" "empty.png" "${run[@]}" --prompt hi --image "$work/empty.png"
echo "this is not a picture" >"$work/text.png"
refuse "text named .png" "text.png" "${run[@]}" --prompt hi --image "$work/text.png"
head -c 600 "$picture" >"$work/half.png"
refuse "truncated picture" "half.png" "${run[@]}" --prompt hi --image "$work/half.png"
printf 'P6\n50000 2\n255\n' >"$work/wide.ppm"; head -c 300000 /dev/zero >>"$work/wide.ppm"
refuse "50,000 x 2 picture" "longer side" "${run[@]}" --prompt hi --image "$work/wide.ppm"
printf 'P6\n65000 65000\n255\nxx' >"$work/bomb.ppm"
refuse "decompression bomb" "bomb.ppm" "${run[@]}" --prompt hi --image "$work/bomb.ppm"
refuse "folder as a picture" "folder|regular file|directory" "${run[@]}" --prompt hi --image "$work"
refuse "picture at a URL" "http" "${run[@]}" --prompt hi --image "http://localhost/x.png"
refuse "device as a video" "not a regular file" "${run[@]}" --prompt hi --video /dev/zero
refuse "messages beside a picture" "excludes" "${run[@]}" --messages "$work/none.json" --image "$picture"
refuse "pixels below zero" "min-pixels" "${run[@]}" --prompt hi --image "$picture" --min-pixels -5
refuse "comparing in a chat" "question" "${run[@]}" --compare ar
refuse "a seed that JSON cannot hold" "seed.*9007199254740993" "${run[@]}" --prompt hi --seed 9007199254740993
refuse "a seed below zero" "seed.*-1" "${run[@]}" --prompt hi --seed -1
refuse "frames per second that are no number" "fps.*nan" "${run[@]}" --prompt hi --fps nan
refuse "a whole number with an exponent" "top-k.*1e3" "${run[@]}" --prompt hi --top-k 1e3
refuse "an empty value" "model.*empty" "$dvlm" run --prompt hi --model ""
refuse "one wrong number of a list" "rows.*x" "$dvlm" bench pass --rows 1,x
for size in +1x1 " 1x1" 1x 1x1x1 0x1 100000x1; do
  refuse "a size that is none: $size" "WIDTHxHEIGHT" "$dvlm" bench image --shape tiny --size "$size"
done
refuse "unknown flag" "bogus" "${run[@]}" --bogus
refuse "unknown command" "frobnicate" "$dvlm" frobnicate
refuse "unknown command of a command" "frobnicate" "$dvlm" bench frobnicate
refuse "unknown flag beside a missing one" "dat=x" "$dvlm" eval --dat=x
refuse "unknown decoder" "decoder" "${run[@]}" --prompt hi --decoder fast
refuse "threshold out of range" "threshold" "${run[@]}" --prompt hi --decoder mdm --threshold 7
refuse "top-p out of range" "top_p|top-p" "${run[@]}" --prompt hi --temperature 1 --top-p 0
refuse "prompt longer than the context" "context|positions" "${run[@]}" --prompt "$(head -c 60000 /dev/zero | tr '\0' 'x')"
refuse "broken messages" "not valid JSON" "${run[@]}" --messages <(echo '[{"role":')
echo '[{"role":"user","content":[{"type":"sound"}]}]' >"$work/messages.json"
refuse "unknown content" "sound" "${run[@]}" --messages "$work/messages.json"
refuse "input ids out of range" "99999" "${run[@]}" --input-ids 1,2,99999
refuse "a gap between input ids" "separated by commas" "${run[@]}" --input-ids 1,,2
refuse "a comma after input ids" "separated by commas" "${run[@]}" --input-ids 1,
refuse "out of the memory budget" "[1-9][0-9.]* MiB of memory" "${run[@]}" --prompt hi --memory-limit 1MiB
refuse "memory limit that is no size" "not a size" "${run[@]}" --prompt hi --memory-limit lots
refuse "missing test file" "none.jsonl" "$dvlm" eval --model "$model" --data "$work/none.jsonl"
refuse "folder as a test file" "not a regular file" "$dvlm" eval --model "$model" --data "$work"
echo "$pointer" >"$work/pointer.jsonl"
refuse "Git LFS pointer for a test file" "git lfs pull" "$dvlm" eval --model "$model" --data "$work/pointer.jsonl"
refuse "nothing to evaluate" "nothing to do" "$dvlm" eval --model "$model"
refuse "a benchmark that is none" "no benchmark is called NOPE.*AI2D" "$dvlm" eval --task NOPE --data "$work"
refuse "a folder without benchmarks" "no benchmark" "$dvlm" eval --task all --data "$model"
refuse "a folder that is not there" "cannot list" "$dvlm" eval --task all --data "$work/none"
tsv=$work/POPE.tsv
printf 'index\timage\tquestion\tanswer\n0\t\tIs it?\tYes\n' >"$tsv"
refuse "a benchmark without pictures" "no row has a picture" "$dvlm" eval --task "$tsv"
printf 'index\timage\tquestion\tanswer\n0\t7\tIs it?\tYes\n' >"$tsv"
refuse "the picture of a row that is not there" "row 1: .*\"7\"" "$dvlm" eval --model "$model" --task "$tsv"
printf 'index\timage\tquestion\tanswer\n0\t"iVBORw\tIs it?\tYes\n' >"$tsv"
refuse "a quote without its end" "quote" "$dvlm" eval --task "$tsv"
printf 'index\timage\tquestion\tanswer\n0\t%s\tIs it?\tYes\n' "$(head -c 80 /dev/zero | tr '\0' '!')" >"$tsv"
refuse "a picture that is no base64" "'!'|base64" "$dvlm" eval --model "$model" --task "$tsv"
refuse "thoughts where none are asked for" "thoughts" "$dvlm" eval --task "$tsv" --cot
printf 'index\timage\tquestion\tanswer\n0\t%s\tIs it?\tYes\n' "$(head -c 80 /dev/zero | tr '\0' 'A')" >"$tsv"
refuse "what is no picture" "no picture" "$dvlm" eval --task "$tsv" --endpoint http://127.0.0.1:1/v1 --model some --tries 1
printf 'index\timage\tquestion\tanswer\n0\t%s\tIs it?\tYes\n' \
  iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC >"$tsv"
refuse "an endpoint that is not there" "127.0.0.1:1/v1.*1 tries" "$dvlm" eval --task "$tsv" --endpoint http://127.0.0.1:1/v1 \
  --model some --tries 1
refuse "an endpoint without a model's name" "needs .*model" "$dvlm" eval --task "$tsv" --endpoint http://127.0.0.1:1/v1
refuse "a decoder of an endpoint" "excludes" "$dvlm" eval --task "$tsv" --endpoint http://127.0.0.1:1/v1 --model m --decoders ar
refuse "a key that is not there" "DVLM_NO_KEY" "$dvlm" eval --task "$tsv" --endpoint http://127.0.0.1:1/v1 --model m \
  --key-variable DVLM_NO_KEY
refuse "answers that are not there" "does not exist|none" "$dvlm" eval --report "$work/none"
refuse "unwritable output" "cannot|not a" "$dvlm" synth --out /proc/none --count 1
refuse "question type" "chart_value" "$dvlm" synth --out "$work/typo" --types where,chart_values
refuse "weight of a question type" "box:0" "$dvlm" synth --out "$work/typo" --types where,box:0
echo '{"stage":"ar","colour":1}' >"$work/train.json"
refuse "unknown key in a training file" "colour|LibTorch" "$dvlm" train --config "$work/train.json"
refuse "a device that is none" "no device .*gpu" "$dvlm" run --device gpu --prompt x
refuse "a card that is none" "no device .*cuda:x" "$dvlm" run --device cuda:x --prompt x
# Without the plugin, a driver or a card; who has all of them is told about the 64th.
refuse "no card" "libdvlm_cuda_plugin.so|driver|no NVIDIA card|no card 63" "$dvlm" run --device cuda:63 --prompt x
refuse "missing training file" "none.json|LibTorch" "$dvlm" train --config "$work/none.json"

quantize=("$dvlm" quantize --model "$model" --output "$work/fp8" --samples 1)
refuse "alpha that is no number" "alpha.*nan" "${quantize[@]}" --calibration "$picture" --alpha nan
refuse "missing calibration data" "none.jsonl" "${quantize[@]}" --calibration "$work/none.jsonl"
: >"$work/nothing.jsonl"
refuse "empty calibration data" "holds no record" "${quantize[@]}" --calibration "$work/nothing.jsonl"
echo '{"words": 1}' >"$work/words.jsonl"
refuse "calibration data without text" "line 1" "${quantize[@]}" --calibration "$work/words.jsonl"
refuse "Git LFS pointer for calibration data" "git lfs pull" "${quantize[@]}" --calibration "$work/pointer.jsonl"
echo '{"text": "hi"}' >"$work/hi.jsonl"
refuse "calibration that never reaches the vision tower" "pictures" "${quantize[@]}" --calibration "$work/hi.jsonl"
refuse "output that is a file" "hi.jsonl is a file" "$dvlm" quantize --model "$model" --output "$work/hi.jsonl" --calibration "$work/hi.jsonl"
refuse "output that holds a model" "holds a model" "$dvlm" quantize --model "$model" --output "$model" --calibration "$work/hi.jsonl"
echo '[{"tokens": 5, "accepted": {}}]' >"$work/acceptance.json"
refuse "recorded drafts without blocks" "no blocks" "$dvlm" bench decode --shape tiny --acceptance "$work/acceptance.json"

# Small but sound: must work.
printf 'P6\n1 1\n255\nabc' >"$work/dot.ppm"
if "${run[@]}" --prompt hi --image "$work/dot.ppm" >/dev/null 2>"$work/err"; then passed=$((passed + 1)); else
  echo "FAIL 1 x 1 picture: $(cat "$work/err")"; failed=$((failed + 1)); fi

spoiled; sed -i 's/Fast_dVLMFor/Qwen2_5_VLFor/' "$work/model/config.json"
sed -i 's/|<MASK>|/<|other|>/' "$work"/model/{tokenizer,tokenizer_config,special_tokens_map}.json
for command in inspect "run --decoder ar --max-tokens 4 --prompt hi --model"; do
  if "$dvlm" $command "$work/model" >"$work/out" 2>&1; then passed=$((passed + 1)); else
    echo "FAIL $command of a model without a mask token: $(cat "$work/out")"; failed=$((failed + 1)); fi
done

for list in "1 8" "1,8"; do
  if [ "$("$dvlm" bench pass --shape tiny --precision fp8 --context 0 --repeats 1 --rows $list | grep -c '^| fp8')" = 2 ]; then
    passed=$((passed + 1)); else echo "FAIL a list given as $list"; failed=$((failed + 1)); fi
done
"$dvlm" synth --out "$work/scenes" --count 2 >/dev/null
if "$dvlm" quantize --model "$model" --output "$work/small" --calibration "$work/scenes/data.jsonl" "$work/scenes/images" \
  --samples 4 --compare 0 >/dev/null 2>"$work/err"; then passed=$((passed + 1)); else
  echo "FAIL calibration data after each other: $(cat "$work/err")"; failed=$((failed + 1)); fi

printf '\xEF\xBB\xBF# keys\n\t \n' >"$work/keys"
refuse "a key file of white space" "holds no API key" "$dvlm" serve --model "$model" --port 0 --api-key-file "$work/keys"
printf 'good\ntwo words\n' >"$work/keys"
refuse "a key with a space" "keys, line 2" "$dvlm" serve --model "$model" --port 0 --api-key-file "$work/keys"

# Without standard streams their numbers must not go to files and clients.
if "$dvlm" run --model "$model" --prompt hi --max-tokens 2 --packed "$work/streams.packed" <&- >&- 2>&- &&
  head -c 21 "$work/streams.packed" | grep -q "dvlm repacked weights"; then passed=$((passed + 1)); else
  echo "FAIL closed standard streams"; failed=$((failed + 1)); fi

# Ctrl-C in the first of two answers: what was written stands, and no table is made of it.
: >"$work/out"
"$dvlm" run --model "$model" --input-ids 1,2 --max-tokens 1000 --decoder ar --compare spec >"$work/out" 2>"$work/err" &
until [ -s "$work/out" ] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
kill -INT $! 2>/dev/null
wait $!
status=$?
if [ $status -eq 130 ] && ! grep -q "tokens/pass" "$work/out"; then passed=$((passed + 1)); else
  echo "FAIL Ctrl-C in a comparison: exit status $status, $(tail -n 3 "$work/out")"; failed=$((failed + 1)); fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
