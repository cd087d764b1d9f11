#!/usr/bin/env bash
# Runs ./dev test in a bare Debian 12, once per PyTorch wheel: what a machine where much is installed cannot show.
#   tools/machines/test_wheels.sh [FOLDER]     as root, with debootstrap; FOLDER (build/debian) keeps the Debian tree and a copy of the checkout
# The environment goes along, and two variables say more:
#   VERSIONS   of torch; PyPI has CUDA builds, the CPU build 2.13.0+cpu is found where PIP_FIND_LINKS or the like names a place with it
#   CARRY      files and folders to copy to the same paths in the tree: wheels, pip's and apt's configuration, ccache's folder, certificates
#              (outside /etc/ssl/certs, which Debian fills anew)
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${1:-build/debian}")
# In a namespace of its own the mounts end with the script.
[ "${DVLM_MOUNTS:-}" ] || DVLM_MOUNTS=own exec unshare --mount "$0" "$folder"

[ -e "$folder/etc/debian_version" ] && [ ! -e "$folder/debootstrap" ] || debootstrap --variant=minbase bookworm "$folder" >/dev/null
[ -e "$folder/etc/hosts" ] || echo "127.0.0.1 localhost" >"$folder/etc/hosts"  # every machine has it; the browser's driver asks it
mount --rbind /dev "$folder/dev"
mount -t proc proc "$folder/proc"
[ -z "${CARRY:-}" ] || cp -rL --preserve=timestamps --parents -t "$folder" $CARRY

for version in ${VERSIONS:-2.13.0+cpu 2.14.1}; do
  printf '\033[1m== torch %s\033[0m\n' "$version" >&2
  rm -rf "$folder/dvlm"
  mkdir "$folder/dvlm"
  git ls-files -z | xargs -0 cp -P --parents -t "$folder/dvlm"
  DVLM_TORCH_VERSION=$version PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$folder" /dvlm/dev test
done
