#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints KTAP: does the series, applied to the pristine base by git am, give the
# very tree that the lab builds?
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
check=$build/check

# Inside the sysroot.
apply() {
	rm -rf --one-file-system "$check/am"
	git clone -q --shared --no-checkout "$linux" "$check/am"
	cd "$check/am"
	git config user.name lab
	git config user.email lab@localhost
	# Only the files that the series touches need to be there.
	git -C "$linux" diff --name-only --no-renames base HEAD | sed 's|^|/|' |
		git sparse-checkout set --no-cone --stdin
	git checkout -q --detach base
	git am -q "$check/series.mbox"
}

if [ "${1-}" = apply ]; then
	apply
	exit
fi

need_root
lock
tree_of() {
	"$lab/enter" git -C "$1" rev-parse "$2^{tree}"
}

mkdir -p "$check"
echo '1..3'
"$lab/series.sh" "$check/series"
if grep -qi '^Signed-off-by:' "$check/series.mbox"; then
	echo 'not ok 1 - nobody has signed the series yet # a person does when sending'
else
	echo 'ok 1 - nobody has signed the series yet'
fi
if "$lab/enter" "$lab/series-check.sh" apply >"$check/am.log" 2>&1; then
	echo 'ok 2 - git am takes the series'
else
	tail -n 5 "$check/am.log"
	echo 'not ok 2 - git am takes the series'
	echo 'not ok 3 - its tree is the one that the lab builds'
	exit 1
fi
if [ "$(tree_of "$check/am" HEAD)" = "$(tree_of "$linux" HEAD)" ] &&
	"$lab/enter" git -C "$linux" diff --quiet HEAD; then
	echo 'ok 3 - its tree is the one that the lab builds'
else
	echo 'not ok 3 - its tree is the one that the lab builds'
	exit 1
fi
rm -rf --one-file-system "$check/am"
