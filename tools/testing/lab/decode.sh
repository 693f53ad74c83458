#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# decode.sh LOG: a guest's console with files and lines in its stack traces, by the tree's own
# decode_stacktrace.sh. The kernel "gdb" has the code of the patched one, and symbols;
# KERNEL=name is another kernel.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

log=${1-}
kernel=${KERNEL:-gdb}
[ -n "$log" ] || die "name a log: make decode LOG=build/results/NAME/console.log"
[ -r "$log" ] || die "LOG=$log: cannot be read"
vmlinux=$build/kernels/$kernel/vmlinux
[ -e "$vmlinux" ] || die "no $vmlinux: make kernel FLAVOUR=$kernel builds it"
need_enter
exec <"$log"
cd "$top"
"$lab/enter" readelf -WS "$vmlinux" </dev/null | grep -q '\.debug_line' ||
	die "kernel $kernel has no symbols: leave KERNEL= away, which takes the kernel gdb"
"$lab/kernel.sh" "$kernel" current ||
	say "kernel $kernel is not of the tree as it is now: make kernel FLAVOUR=$kernel" >&2
exec "$lab/enter" build/linux/scripts/decode_stacktrace.sh "$vmlinux" auto "$build/kernels/$kernel"
