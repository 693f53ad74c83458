#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh ARG...: dax-lab, which runs guests and tests, in the sysroot.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

need_root
case ${1-} in
# Two guests at a time, with more pmem.
xfstests | ndctl-test) need_memory 16384 ;;
*) need_memory 6144 ;;
esac
# It builds kernels, over the one that is there.
[ "${1-}" != mutants ] || lock
need_space 2
cd "$top"
exec "$lab/enter" "$build/target/release/dax-lab" "$@"
