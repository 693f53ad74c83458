#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# build/target/release: the programs of tools/testing/dax.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

need_root
lock
mkdir -p "$build/guest"
cd "$top/tools/testing/dax"
step tools 0 "$lab/enter" cargo build --release --locked ||
	die "the tools could not be built: see above (a first build fetches from crates.io, perhaps through https_proxy)"
