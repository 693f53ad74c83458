#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# build/acpi: ACPI tables for guests of --platform nfit and cxl, from acpi/*.asl.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

need_root
lock
[ -e "$sysroot/.stamp" ] || die "no sysroot: make tools builds it first"
out=$build/acpi
mkdir -p "$out"
key=$(cat "$sysroot/.stamp" "$lab"/acpi/*.asl "$lab/acpi.sh" | digest)
! stamped "$out/.stamp" "$key" || exit 0
# iasl's own remarks about style are no errors; -we makes warnings errors.
# shellcheck disable=SC2016 # expanded inside
step acpi 0 "$lab/enter" sh -eu -c '
	for asl in tools/testing/lab/acpi/*.asl; do
		iasl -we -p "build/acpi/$(basename "$asl" .asl)" "$asl"
	done
' || die "the ACPI tables could not be compiled: see above"
printf '%s\n' "$key" >"$out/.stamp"
