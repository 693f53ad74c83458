#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Removes build/.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

[ -e "$build" ] || exit 0
need_root
lock
! in_use "$sysroot" || die "a process still runs in $sysroot: end it, then clean"
! grep -q " $build/" /proc/self/mounts || die "something is mounted in $build: unmount it, then clean"
# The lock goes last.
find "$build" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf --one-file-system {} +
rm -rf --one-file-system "$build"
