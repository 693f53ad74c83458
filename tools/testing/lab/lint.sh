#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints KTAP: formatting and static checks of the series, the scripts and the
# tools. What a check has to say goes before its result, after "# ".
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
out=$build/kernels/clippy
number=0 failed=0

# check NAME COMMAND...
check() {
	name=$1
	shift
	number=$((number + 1))
	if "$@" >"$tmp/said" 2>&1; then
		echo "ok $number - $name"
	else
		sed 's/^/# /' "$tmp/said"
		echo "not ok $number - $name"
		failed=$((failed + 1))
	fi
}

# The series' new files, as the series names them.
new_files() {
	git -C "$linux" diff --name-only --diff-filter=A base HEAD -- "$@"
}

kernel_rustfmt() {
	cd "$linux" || return
	new_files '*.rs' | xargs rustfmt --check --color never --edition 2021 --config-path .rustfmt.toml
}

# The kernel's own rules, in the directories that hold our Rust. In a mount
# namespace of its own.
kernel_clippy() {
	[ -e "$build/kernels/patched/.built" ] || die "no patched kernel: make kernel"
	if [ ! -d "$out" ]; then
		rm -rf "$out.tmp"
		cp -a "$build/kernels/patched" "$out.tmp"
		mv "$out.tmp" "$out"
	fi
	cp -p "$build/kernels/patched/.config" "$out/.config"
	dirs=$(new_files '*.rs' | grep -v '^rust/' | cut -d / -f 1,2 | sort -u | sed 's|$|/|')
	# The objects name paths of the patched build: have this one in its place.
	mount --bind "$out" "$build/kernels/patched"
	# shellcheck disable=SC2086 # a list
	kernel_make "$linux" "$build/kernels/patched" CLIPPY=1 prepare $dirs
}

# No warning points into a file of ours.
clippy_clean() {
	unshare --mount --propagation unchanged "$lab/lint.sh" clippy >"$build/logs/clippy.log" 2>&1 || {
		tail -n 20 "$build/logs/clippy.log"
		return 1
	}
	new_files '*.rs' >"$tmp/ours"
	grep -A 2 '^warning' "$build/logs/clippy.log" | grep -F -B 1 -f "$tmp/ours" || return 0
	# A warning is printed once, when the file is compiled: have it again.
	find "$out" -name '.*.o.cmd' -exec grep -l clippy-driver {} + | tr '\n' '\0' |
		xargs -0 rm -f
	return 1
}

# A person signs when sending; MAINTAINERS is for the maintainers to change; the base has no
# history in which the commit of a Fixes: tag could be found.
checkpatch() {
	cd "$linux" || return
	ignore=MISSING_SIGN_OFF,FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID
	# XFS has a format of its own.
	! grep -q '^+++ b/fs/xfs/.*\.c$' "$1" ||
		ignore=$ignore,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT,PREFER_KERNEL_TYPES
	# User space has no such macro.
	! grep -q '^+++ b/fs/xfs/libxfs/xfs_fs\.h$' "$1" || ignore=$ignore,BIT_MACRO
	scripts/checkpatch.pl --strict --quiet --no-summary --show-types \
		--ignore "$ignore" "$1"
}

scripts() {
	cd "$top" || return
	grep -rlE '^#!/bin/(ba)?sh|shellcheck shell=' .ci tools | xargs shellcheck -x
}

tools() {
	cd "$top/tools/testing/dax" || return
	cargo "$@"
}

# Inside the sysroot.
lint() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	set -- "$build"/check/series/*.patch
	[ -e "$1" ] || die "no series: make series"
	shift
	echo "1..$(($# + 6))"
	check 'kernel: rustfmt' kernel_rustfmt
	for patch; do
		check "checkpatch: $(basename "$patch" .patch)" checkpatch "$patch"
	done
	check 'scripts: shellcheck' scripts
	check 'scripts: preflight' "$lab/preflight-test.sh"
	check 'tools: rustfmt' tools fmt --all --check
	check 'tools: clippy' tools clippy -q --release --locked --workspace --all-targets -- -D warnings
	check 'kernel: clippy' clippy_clean
	return "$failed"
}

case ${1-} in
inside)
	lint
	exit
	;;
clippy)
	kernel_clippy
	exit
	;;
esac

need_root
lock
mkdir -p "$build/check" "$build/logs"
"$lab/series.sh" "$build/check/series"
exec "$lab/enter" "$lab/lint.sh" inside
