#!/usr/bin/env bash
# What ./dev test-arm does: compiles the rooms for AArch64 and runs their tests under QEMU. The libraries are
# Debian's for arm64, unpacked into build/arm-sysroot: the packages of this machine stay as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
list=packaging/arm-sysroot-packages.txt
sysroot=build/arm-sysroot

# Downloads with an apt of its own, for another architecture and on a machine where nothing is installed.
fill_sysroot() {
  local work=$PWD/build/arm-packages deb
  rm -rf "$work" "$sysroot"
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$sysroot"
  touch "$work/status"
  local apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
             -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache")
  "${apt[@]}" update
  grep -v '^#' "$list" | xargs "${apt[@]}" install -y --download-only --no-install-recommends >/dev/null
  for deb in "$work"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$sysroot"; done
  cp "$list" "$sysroot/packages.txt"
  rm -rf "$work"
}

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

if ! cmp -s "$list" "$sysroot/packages.txt"; then
  say "unpacking arm64 libraries into $sysroot"
  fill_sysroot
fi
say "building (arm)"
[ -f build/arm/build.ninja ] || cmake --preset arm >/dev/null
cmake --build --preset arm -j "$(nproc)"
say "testing (arm, under QEMU)"
ctest --preset arm -j "$(nproc)"
say "testing kernels of later cores (Cortex-A76: dot products of bytes; all that QEMU has: products of matrices)"
for core in cortex-a76 max; do
  qemu-aarch64 -cpu $core -L "$sysroot" build/arm/tests/test_kernels --gtest_filter='Linear*'
done
