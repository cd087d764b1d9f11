#!/usr/bin/env bash
# Two `dvlm serve` behind nginx with packaging/nginx.conf: spread, streams, large requests, a replica that dies, one that is
# told to end, one that comes back, full queues. Prints what came of each; exit status 1 when something failed. Takes a minute.
#   tools/checks/check_replicas.sh <dvlm>          needs nginx-light, curl, jq and python3
set -euo pipefail
dvlm=$1
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin
work=$(mktemp -d) failures=0
replica=() ports=()

cleanup() {
  [ -f "$work/nginx.pid" ] && kill "$(cat "$work/nginx.pid")" 2>/dev/null || true
  for pid in "${replica[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

row() { # row PASS|FAIL|NOTE what result
  [ "$1" != FAIL ] || failures=$((failures + 1))
  printf '%s  %-52s %s\n' "$1" "$2" "$3"
}
check() { # check what result command...: passes when the command does
  local what=$1 result=$2
  shift 2
  if "$@"; then row PASS "$what" "$result"; else row FAIL "$what" "$result"; fi
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() { # start NUMBER PORT [flags]: the replica NUMBER
  local number=$1 port=$2
  shift 2
  "$dvlm" serve --port "$port" --model-name dvlm "$@" 2>"$work/replica$number.log" &
  replica[number]=$! ports[number]=$port
  for _ in $(seq 200); do
    curl -sf -o "$work/health" "http://127.0.0.1:$port/health" && return
    sleep 0.05
  done
  echo "replica $number did not start: $(cat "$work/replica$number.log")" >&2
  exit 1
}

die() { # die NUMBER...: kill -9; bash's own message about it is not wanted
  local number
  for number; do { kill -9 "${replica[number]}" && wait "${replica[number]}"; } 2>/dev/null || true; done
}

answered() { # by replica NUMBER since its start
  curl -s "http://127.0.0.1:${ports[$1]}/metrics" | sed -n 's/^dvlm_requests_total //p'
}
counted() { jq -r --arg kind "$2" '.[$kind] // 0' "$work/$1.json"; }
others() { # NAME: kinds of answers that are neither right nor broken off
  jq '[keys[] | select(. != "right" and . != "broken")] | length' "$work/$1.json"
}
burst() { # burst NAME [options of server_process.py]: into NAME.json
  local name=$1
  shift
  python3 "$here/server_process.py" "$url" "$@" >"$work/$name.json" || true
}

configure() {
  sed -e "s#^user .*#user $(id -un);#" -e "s#^pid .*#pid $work/nginx.pid;#" -e "s#^error_log .*#error_log $work/error.log;#" \
    -e "s#client_body_temp_path [^;]*#client_body_temp_path $work/body#" -e "s#proxy_temp_path [^;]*#proxy_temp_path $work/proxy#" \
    -e "s#access_log /[^ ]*#access_log $work/access.log#" -e "s#listen 80;#listen 127.0.0.1:$front;#" \
    -e "s#127.0.0.1:8081#127.0.0.1:${ports[1]}#" -e "s#127.0.0.1:8082#127.0.0.1:${ports[2]}#" \
    "$here/../../packaging/nginx.conf" >"$work/nginx.conf"
  local paths="fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;"
  sed -i "s#^http {#http {\n    $paths#" "$work/nginx.conf"
}

question() { # question STREAM: about the picture, as JSON
  jq -n --arg url "data:image/png;base64,$(base64 -w0 "$here/../../examples/desk.png")" --argjson stream "$1" '{stream: $stream,
    max_tokens: 120, messages: [{role: "user", content: [{type: "image_url", image_url: {url: $url}},
    {type: "text", text: "Describe the picture."}]}]}' --indent 0
}
whole_text() { jq -r '.choices[0].message.content'; }
stream_text() { sed -n 's/^data: //p' | grep -v DONE | jq -rj '.choices[0].delta.content // ""'; }
send() { curl -s --max-time 60 "$@"; }

same_answers() {
  question false >"$work/whole" && question true >"$work/stream"
  local direct proxied streamed
  direct=$(send -d "@$work/whole" "http://127.0.0.1:${ports[1]}/v1/chat/completions" | whole_text)
  proxied=$(send -d "@$work/whole" "$url/v1/chat/completions" | whole_text)
  streamed=$(send -N -d "@$work/stream" "$url/v1/chat/completions" | stream_text)
  check "an answer is the direct one" "${#proxied} characters" [ "$proxied" = "$direct" ]
  check "a stream is the direct answer" "${#streamed} characters" [ "$streamed" = "$direct" ]
  local times
  times=$(PYTHONPATH=$here python3 -c "
from server_process import *
body = {'messages': [user('Tell me everything.')], 'temperature': 2, 'seed': 4, 'max_tokens': 200, 'stream': True}
outcome = ask(('127.0.0.1', $front), body)
print(f'{outcome.first * 1000:.0f} of {outcome.total * 1000:.0f}')")
  check "a stream is not held back" "first text after $times ms" [ "${times% of *}" -lt $((${times#* of } / 2)) ]
  local id
  id=$(send -D - -o "$work/out" -H 'X-Request-Id: mine-1' "$url/health" | tr -d '\r' | sed -n 's/^X-Request-Id: //Ip')
  check "a request keeps its id" "$id" [ "$id" = mine-1 ]
}

spread() {
  local before1 before2
  before1=$(answered 1) before2=$(answered 2)
  burst spread --requests 40 --clients 4
  local one=$(($(answered 1) - before1)) two=$(($(answered 2) - before2))
  # An answer takes milliseconds, so the one with fewer connections is often a matter of chance.
  check "40 requests are spread over both" "$one and $two" [ $((one + two)) = 40 -a $one -ge 5 -a $two -ge 5 ]
  check "... and rightly answered" "$(cat "$work/spread.json")" [ "$(counted spread right)" = 40 ]
}

large() { # large BYTES: the status of a request of so many bytes
  python3 - "$1" >"$work/large" <<'PYTHON'
import sys
head, tail = b'{"messages": [{"role": "user", "content": "', b'"}]}'
sys.stdout.buffer.write(head + b"a" * (int(sys.argv[1]) - len(head) - len(tail)) + tail)
PYTHON
  send -o "$work/out" -w '%{http_code}' -H 'Expect:' --data-binary "@$work/large" "$url/v1/chat/completions" || true
}

sizes() {
  local status
  status=$(large $((64 << 20)))
  check "64 MiB reach dvlm, which says what is wrong" "$status: $(jq -r .error.message "$work/out" | cut -c1-60)" \
    grep -q "context" "$work/out"
  status=$(large $(((64 << 20) + 1)))
  check "one byte more is refused" "$status: $(jq -r .error.message "$work/out")" [ "$status" = 413 ]
}

dies() {
  burst dies --seconds 8 --clients 6 & local asking=$!
  burst streams --seconds 8 --clients 2 --stream & local streaming=$!
  sleep 3
  die 1
  wait "$asking" "$streaming"
  # An answer whose head went out already cannot come from the other one: at most one of each client.
  check "kill -9 of one: the other answers whole requests" "$(cat "$work/dies.json")" \
    [ "$(counted dies right)" -gt 20 -a "$(counted dies broken)" -le 6 -a "$(others dies)" = 0 ]
  check "... and streams" "$(cat "$work/streams.json")" \
    [ "$(counted streams right)" -gt 20 -a "$(counted streams broken)" -le 2 -a "$(others streams)" = 0 ]
  burst alone --requests 20
  check "one replica alone answers" "$(cat "$work/alone.json")" [ "$(counted alone right)" = 20 ]
  start 1 "${ports[1]}"
  sleep 4 # beyond the rest that nginx gives a replica that failed
  burst again --requests 40
  check "started again it takes part" "$(answered 1) of 40" [ "$(answered 1)" -ge 1 -a "$(counted again right)" = 40 ]
}

ends() {
  burst ends --seconds 8 --clients 6 & local asking=$!
  burst ends_streams --seconds 8 --clients 2 --stream & local streaming=$!
  sleep 3
  kill -TERM "${replica[2]}"
  local status=0
  wait "${replica[2]}" || status=$?
  wait "$asking" "$streaming"
  check "SIGTERM of one: no answer fails" "$(cat "$work/ends.json")" \
    [ "$(counted ends right)" -gt 20 -a "$(jq length "$work/ends.json")" = 1 ]
  check "... and no stream" "$(cat "$work/ends_streams.json")" [ "$(jq length "$work/ends_streams.json")" = 1 ]
  check "... and its exit status" "$status" [ "$status" = 0 ]
}

fills() {
  die 1
  start 1 "${ports[1]}" --max-waiting 1
  start 2 "${ports[2]}" --max-waiting 1
  sleep 2.5
  burst full --requests 200 --clients 24
  check "full queues say 429, not 502" "$(cat "$work/full.json")" \
    [ $(($(counted full right) + $(counted full 'status 429'))) = 200 -a "$(counted full 'status 429')" -gt 0 ]
  burst after --requests 20 --clients 2
  check "... and then answer again" "$(cat "$work/after.json")" [ "$(counted after right)" = 20 ]
}

slow() {
  die 1 2
  start 1 "${ports[1]}"
  start 2 "${ports[2]}"
  sleep 4
  local result
  result=$(PYTHONPATH=$here python3 -c "
import json, malformed
from server_process import *
address, request = ('127.0.0.1', $front), malformed.with_head(json.dumps(question()).encode())
crowds = [malformed.Slow(address, 200, request, begin) for begin in (1, request.index(b'{'))]
crowds.append(malformed.Slow(address, 300, b'x', 0))
print(json.dumps(dict(burst(address, 40, 0, 4, False))))")
  check "700 slow and silent clients: others are answered" "$result" [ "$result" = '{"right": 40}' ]
}

none() {
  die 1 2
  local status
  status=$(send -o "$work/out" -D "$work/head" -w '%{http_code}' "$url/v1/models")
  check "no replica at all: 503 with Retry-After" "$status: $(jq -r .error.message "$work/out")" \
    [ "$status" = 503 -a "$(grep -ci '^retry-after' "$work/head")" = 1 ]
}

front=$(free_port) url=http://127.0.0.1:$front
start 1 "$(free_port)"
start 2 "$(free_port)"
configure
check "nginx -t" "$(nginx -v 2>&1)" nginx -q -t -e "$work/error.log" -c "$work/nginx.conf"
nginx -e "$work/error.log" -c "$work/nginx.conf"
for part in same_answers spread sizes dies ends fills slow none; do $part; done
echo "$([ $failures = 0 ] && echo PASS || echo FAIL): $failures failures"
[ $failures = 0 ]
