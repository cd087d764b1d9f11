#!/usr/bin/env bash
# What ./dev demo shows: a question about a picture, answered by dvlm-tiny, and AR against speculation.
set -euo pipefail
dvlm=$1
picture=$(dirname "$0")/../examples/desk.png

ask() {
  if [ -t 1 ]; then printf '\n\033[1m> %s\033[0m\n' "$*"; else printf '\n> %s\n' "$*"; fi
  "$dvlm" run --image "$picture" --prompt "$1" "${@:2}"
}

printf 'The picture: %s\n' "$picture"
ask "Where is the hammer?"
ask "Describe the picture." --decoder ar --compare spec,auto,mdm
