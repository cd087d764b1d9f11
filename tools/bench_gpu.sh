#!/usr/bin/env bash
# Builds build/gpu/pass, which checks and times the kernels of src/cuda, and runs it where there is a card.
#
#   tools/bench_gpu.sh [all|check|check-small|bits|passes|cuts|tiles]
#
# The program needs a driver and nothing else: it can be carried to a machine with a card.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/gpu arch=${DVLM_CUDA_ARCH:-90}
command -v nvcc >/dev/null || { echo "./dev bench-gpu: nvcc, CUDA's compiler, is not on the PATH" >&2; exit 1; }
mkdir -p $out
flags=(-O2 -std=c++20 -Isrc -Itests/cuda)
objects=()
for source in tests/cuda/tower_data.cpp tests/cuda/host_runner.cpp src/cuda/host_block.cpp; do
  objects+=("$out/$(basename "$source" .cpp).o")
  g++ "${flags[@]}" -c "$source" -o "${objects[-1]}"
done
nvcc "${flags[@]}" -gencode "arch=compute_$arch,code=sm_$arch" -o $out/pass bench/gpu/pass.cu "${objects[@]}" \
  -Xlinker -Bstatic -lfmt -Xlinker -Bdynamic -Xcompiler -static-libstdc++
if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "there is no card here: carry $out/pass to a machine that has one, and run it" >&2
  exit 0
fi
exec $out/pass "$@"
