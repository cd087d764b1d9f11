#!/usr/bin/env bash
# The kernels compiled for the instruction sets of cards: nothing is spilled, and they are made of the instructions that
# they are written for. Prints NOT TESTED for what a missing tool keeps from being tested.
#
#   tests/cuda/compiles.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || { echo "NOT TESTED: nvcc, CUDA's compiler, is not here"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# check ARCHITECTURE INSTRUCTION...: prefixes of instructions that must be there.
check() {
  local arch=$1 log=$work/$1.log spilled
  shift
  nvcc -O3 -std=c++20 -Isrc -DDVLM_VERSION='"test"' -gencode "arch=compute_$arch,code=sm_$arch" -Xptxas -v -cubin \
    -o "$work/$arch.cubin" src/cuda/plugin/card.cu >"$log" 2>&1 || { cat "$log"; failed=1; return; }
  spilled=$(awk '/Function properties for/ {name = $NF} /bytes spill stores/ && !/ 0 bytes spill stores, 0 bytes spill loads/ {print name}' "$log")
  [ -z "$spilled" ] || { echo "sm_$arch spills registers in:"; echo "$spilled"; failed=1; }
  echo "sm_$arch: $(grep -c 'Function properties' "$log") kernels, at most $(grep -o 'Used [0-9]* registers' "$log" | sort -k2 -n | tail -n 1 | cut -d' ' -f2) registers"
  command -v cuobjdump >/dev/null || { echo "NOT TESTED: instructions of sm_$arch, for want of cuobjdump"; return 0; }
  cuobjdump -sass "$work/$arch.cubin" >"$work/$arch.sass"
  for instruction in "$@"; do
    grep -q "\b$instruction" "$work/$arch.sass" || { echo "sm_$arch: there is no $instruction"; failed=1; }
  done
}

check 80 HMMA.16816.F32.BF16 HMMA.16816.F32 LDGSTS.E.BYPASS.128 MUFU.EX2
check 89 HMMA.16816.F32.BF16 HMMA.16816.F32 LDGSTS.E.BYPASS.128 MUFU.EX2 F2FP.F16.E4M3
check 90 HMMA.16816.F32.BF16 HMMA.16816.F32 LDGSTS.E.BYPASS.128 MUFU.EX2 F2FP.F16.E4M3 ACQBULK PREEXIT
exit $failed
