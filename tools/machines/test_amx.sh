#!/usr/bin/env bash
# What ./dev test-amx does: runs the tests that use AMX on a machine that has it, emulated instruction by instruction:
# Debian's Linux in Bochs as an Intel Xeon of the fourth generation. Right answers only: its times mean nothing.
#   tools/machines/test_amx.sh [test and its filter...]
set -euo pipefail
cd "$(dirname "$0")/../.."
machine=build/amx-machine
tests=("test_kernels --gtest_filter='Linear*AMX*:TileUnit.*:-*EMULATED*'" test_model
       "test_decode --gtest_filter='*Lossless*:-*RandomModels*'")
[ $# -eq 0 ] || tests=("$*")

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

# Bochs from the source of Debian 13 (older ones have no AMX) and the kernel of this machine's Debian, by an apt of
# their own.
fetch() {
  local work=$PWD/$machine/apt release uri
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' "Codename: $release" | head -1)
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
  printf '%s\n' "deb $uri $release main" "deb-src $uri trixie main" >"$work/sources.list"
  touch "$work/status"
  local apt=(-qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=-
             -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache")
  apt-get "${apt[@]}" update
  local kernel
  kernel=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image\)/\1/p')
  # Not every mirror knows a plus sign as %2b, which is what apt-get itself would ask for.
  { apt-get "${apt[@]}" source --print-uris bochs; apt-get "${apt[@]}" download --print-uris "$kernel"; } |
    while read -r uri file _ hash; do
      case $file in *.orig.tar.xz | *.deb) ;; *) continue ;; esac
      uri=${uri//\'/}
      /usr/lib/apt/apt-helper download-file "${uri//%2b/+}" "$machine/$file" "$hash" >/dev/null
    done
  rm -rf "$work" "$machine/bochs" "$machine/linux"
  mkdir "$machine/bochs"
  tar xf "$machine"/bochs_*.orig.tar.xz -C "$machine/bochs" --strip-components 1
  dpkg-deb -x "$machine"/linux-image-*.deb "$machine/linux"
  rm "$machine"/bochs_* "$machine"/linux-image-*.deb
}

build_bochs() {
  patch -s -d "$machine/bochs" -p1 <tools/machines/amx/bochs.patch
  (cd "$machine/bochs" && ./configure --with-nogui --enable-x86-64 --enable-avx --enable-evex --enable-amx --enable-pci \
    --enable-all-optimizations --disable-docbook && make -j "$(nproc)") >"$machine/build.log" 2>&1 ||
    { tail -20 "$machine/build.log" >&2; return 1; }
}

# A disc that boots Linux with the tests, the libraries and the files that they read.
make_disc() {
  local root=$machine/root disc=$machine/disc program library
  rm -rf "$root" "$disc"
  mkdir -p "$root"/{bin,dev,proc,tmp} "$disc/isolinux" "$root$PWD/tests"
  cp /bin/busybox tools/machines/amx/init "$root/bin"
  mv "$root/bin/init" "$root/init"
  cp -r tests/fixtures "$root$PWD/tests"
  printf '%s\n' "${tests[@]}" >"$root/tests"
  for program in "${tests[@]%% *}"; do
    strip -o "$root/bin/$program" "build/$preset/tests/$program"
    for library in $(ldd "build/$preset/tests/$program" | grep -o '/[^ ]*'); do
      install -D "$library" "$root$library"
    done
  done
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$disc/initrd.gz"
  cp "$machine"/linux/boot/vmlinuz-* "$disc/vmlinuz"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$disc/isolinux"
  # Bochs's five-level pages and ACPI do not go together; Linux gets memmove wrong where moves are fast when short
  # (bit 580) but not "enhanced", which no real processor is.
  cat >"$disc/isolinux/isolinux.cfg" <<'TEXT'
DEFAULT dvlm
LABEL dvlm
 KERNEL /vmlinuz
 APPEND initrd=/initrd.gz console=ttyS0 quiet mitigations=off lpj=1000000 tsc=reliable no5lvl acpi=off clearcpuid=580
TEXT
  genisoimage -quiet -o "$machine/machine.iso" -b isolinux/isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
    -boot-info-table "$disc"
}

preset=torch
mkdir -p "$machine"
if [ ! -x "$machine/bochs/bochs" ]; then
  say "fetching and building Bochs"
  fetch
  build_bochs
fi
make_disc
say "testing (AMX, in Bochs)"
cp tools/machines/amx/bochsrc "$machine"
cd "$machine"
: >serial.txt
bochs/bochs -q -f bochsrc >bochs.out 2>&1 &
bochs=$!
trap 'kill $bochs' EXIT
sed -u "/^done/q" < <(tail -f --pid=$bochs serial.txt)
passed=$(grep -c '^exit 0' serial.txt || true)
say "$passed of ${#tests[@]} programs passed"
[ "$passed" -eq ${#tests[@]} ]
