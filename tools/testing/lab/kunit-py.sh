#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints KTAP: the tree's own kunit.py takes the .kunitconfig files of the series, one
# at a time; builds a kernel with all of them, in build/kernels/kunit-py; and runs it.
# What kunit.py says goes before its result, after "# ".
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
out=$build/kernels/kunit-py
number=0 failed=0

# check NAME COMMAND [ARG...]: kunit.py COMMAND --arch x86_64 ARG...
check() {
	name=$1 command=$2
	shift 2
	number=$((number + 1))
	status=0
	(cd "$linux" && tools/testing/kunit/kunit.py "$command" --arch x86_64 \
		--build_dir "$out" "$@") >"$tmp/said" 2>&1 || status=$?
	sed 's/^/# /' "$tmp/said"
	if [ "$status" -eq 0 ]; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		failed=$((failed + 1))
	fi
}

# Inside the sysroot.
inside() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	# kunit.py tries KVM first, and a /dev/kvm may open and then hang.
	[ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm
	configs=$(git -C "$linux" diff --name-only --diff-filter=A base HEAD -- '*.kunitconfig')
	[ -n "$configs" ] || die "kunit-py: the series has no .kunitconfig"
	# shellcheck disable=SC2086 # a list
	set -- $configs
	echo "1..$(($# + 1))"
	all=
	for config; do
		check "kunit.py config --kunitconfig ${config%/*}" config --kunitconfig "$config"
		all="$all --kunitconfig $config"
	done
	# shellcheck disable=SC2086 # a list
	check "kunit.py run$(printf ' %s' "$@")" run --jobs "${JOBS:-$(nproc)}" \
		--timeout 1200 $all '*dax*'
	return "$failed"
}

case ${1-} in
inside)
	inside
	exit
	;;
esac

need_root
lock
need_space 3
mkdir -p "$out"
# Mounts of enter are private already; /dev/kvm is hidden from kunit.py alone.
exec "$lab/enter" unshare --mount --propagation unchanged "$lab/kunit-py.sh" inside
