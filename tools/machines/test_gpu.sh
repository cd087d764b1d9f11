#!/usr/bin/env bash
# What ./dev test-gpu and ./dev bench-gpu do: make build/card-kit, which holds all that a machine with a card needs to
# test dvlm and to measure it (a driver beside it, and nothing to compile), and run it where there is a card.
#   tools/machines/test_gpu.sh test|bench|pass [what tools/machines/gpu/run.sh takes]
# Without a card the kit is rehearsed: everything that can runs on the host's layer.
set -euo pipefail
cd "$(dirname "$0")/../.."
kit=build/card-kit arch=${DVLM_CUDA_ARCH:-90}
command -v nvcc >/dev/null || { echo "nvcc, CUDA's compiler, is not on the PATH" >&2; exit 1; }

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

# The kernels alone, checked and timed: it needs no other file of the kit.
build_pass() {
  local out=build/gpu source objects=() flags=(-O2 -std=c++20 -Isrc -Itests/cuda)
  mkdir -p $out
  for source in tests/cuda/tower_data.cpp tests/cuda/host_runner.cpp src/cuda/host_block.cpp src/core/error.cpp src/core/utf8.cpp; do
    objects+=("$out/$(basename "$source" .cpp).o")
    g++ "${flags[@]}" -c "$source" -o "${objects[-1]}"
  done
  nvcc "${flags[@]}" -gencode "arch=compute_$arch,code=sm_$arch" -o $out/pass bench/gpu/pass.cu "${objects[@]}" \
    -Xlinker -Bstatic -lfmt -Xlinker -Bdynamic -Xcompiler -static-libstdc++
}

# libraries PROGRAM...: those that they are linked with, but for the C library's own, which a machine has.
libraries() {
  ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -Ev '/(libc|libm|libdl|libpthread|librt|libresolv)\.so'
}

make_kit() {
  say "building (card)"
  cmake --preset card -DDVLM_CUDA_ARCHITECTURES="$arch" >/dev/null
  cmake --build --preset card -j "${DVLM_JOBS:-$(nproc)}" --target dvlm dvlm_cuda_plugin pretended_cards test_cuda test_backends >&2
  build_pass
  local programs=(build/card/apps/dvlm/dvlm build/card/tests/test_cuda build/card/tests/test_backends build/gpu/pass)
  rm -rf $kit
  mkdir -p $kit/bin $kit/lib $kit/models $kit/examples/tiny $kit/bench $kit/tests/fixtures
  cp "${programs[@]}" build/card/apps/dvlm/libdvlm_cuda_plugin.so $kit/bin
  mkdir $kit/bin/host
  ln $kit/bin/dvlm $kit/bin/host/dvlm
  cp build/card/tests/pretended/libpretended_cards.so $kit/bin/host/libdvlm_cuda_plugin.so
  find $kit/bin -type f | xargs strip
  libraries "${programs[@]}" | xargs cp -Lt $kit/lib
  cp -r models/dvlm-tiny $kit/models
  cp -r examples/desk.png $kit/examples
  cp -r examples/tiny/model $kit/examples/tiny
  cp -r tests/fixtures/model tests/fixtures/model-fp8 tests/fixtures/choose $kit/tests/fixtures
  cp bench/acceptance-tiny.json $kit/bench
  cp tools/machines/gpu/run.sh $kit
  git describe --always --dirty >$kit/version
  tar -C build -czf $kit.tar.gz card-kit
  say "$(du -h $kit.tar.gz | cut -f1) in $kit.tar.gz: unpack it on a machine with a card and run card-kit/run.sh"
}

make_kit
exec $kit/run.sh "$@"
