#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# build/guest.img: the guest's root, an ext4 image of the sysroot.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

need_root
lock
[ -e "$sysroot/.stamp" ] || die "no sysroot: make image builds it first"
mkdir -p "$build/guest"
key=$(cat "$sysroot/.stamp" "$lab/guest-init" "$lab/image.sh" | digest)
[ ! -e "$build/guest.img" ] || ! stamped "$build/.image" "$key" || exit 0

# The sysroot without what is mounted on it, and without what only builds need.
# shellcheck disable=SC2016 # expanded inside
step image 0 "$lab/enter" sh -eu -c '
	mount --bind / /mnt
	for dir in usr/src usr/lib/rustlib usr/lib/llvm-19 var/lib/apt/lists; do
		mount -t tmpfs tmpfs "/mnt/$dir"
	done
	touch /mnt/usr/sbin/lab-init
	mount --bind tools/testing/lab/guest-init /mnt/usr/sbin/lab-init
	rm -f build/guest.img.tmp
	mke2fs -q -F -t ext4 -O ^has_journal -d /mnt build/guest.img.tmp 4G
' || die "the guest's image could not be made: see above"
mv "$build/guest.img.tmp" "$build/guest.img"
printf '%s\n' "$key" >"$build/.image"
