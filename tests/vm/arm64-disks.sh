#!/bin/sh
# Run QEMU for a kernel without 9p: what the guest sees of the host is on disks that are made here,
# and what it left in /run/share is fetched from one of them when it has ended.
#   arm64-disks.sh SHARE CHECKOUT TREE QEMU [OPTION]...
set -eu
share=$1 checkout=$2 tree=$3
shift 3
work=${TMPDIR:?}

mkdir -p "$work/host$checkout" "$work/host$tree/lib"
tar -C "$checkout" --exclude=./.cache --exclude=./.git --exclude=./.venv --exclude=__pycache__ \
    -cf - . | tar -C "$work/host$checkout" -xf -
cp -a "$tree/lib/modules" "$work/host$tree/lib/"

# disk DIRECTORY SPARE: an ext4 image of a directory, with so many KiB to spare
disk() {
    size=$(du -sk "$1" | cut -f 1)
    mke2fs -q -t ext4 -d "$1" "$work/$(basename "$1").img" "$((size * 5 / 4 + $2))k"
}

mkdir "$work/share"
cp -a "$share/." "$work/share/"
disk "$work/share" 65536
disk "$work/host" 16384
status=0
setpriv --pdeathsig KILL "$@" \
    -drive "if=virtio,format=raw,file=$work/share.img" \
    -drive "if=virtio,format=raw,readonly=on,file=$work/host.img" || status=$?
debugfs -R "rdump / $share" "$work/share.img" 2>/dev/null
exit "$status"
