#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints KTAP: does each step of the series build? In a worktree and a build
# directory of its own, begun with the objects of the patched kernel.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
src=$build/steps-src
out=$build/kernels/steps

# All below runs inside the sysroot.
begin() {
	git -C "$linux" worktree prune
	git -C "$linux" worktree add -q --force --detach "$src" HEAD
	# What is as in the patched kernel must not look newer than its objects.
	git -C "$src" ls-files -z | (cd "$src" && xargs -0 touch --no-dereference --date=@1000000000)
	cp -a "$build/kernels/patched" "$out"
}

# The worktree and its build directory take the place of build/linux and
# build/kernels/patched, whose paths the objects name.
build_step() {
	git -C "$src" checkout -q "$1"
	mount --bind "$src" "$linux"
	mount --bind "$out" "$build/kernels/patched"
	# Options that a later step brings are dropped.
	cp "$build/steps.config" "$build/kernels/patched/.config"
	kernel_make "$linux" "$build/kernels/patched" olddefconfig
	kernel_make "$linux" "$build/kernels/patched" vmlinux
}

case ${1-} in
begin)
	begin
	exit
	;;
step)
	build_step "$2"
	exit
	;;
esac

need_root
lock
[ -e "$build/kernels/patched/.built" ] || die "no patched kernel: make kernel"
need_space 5
rm -rf --one-file-system "$src" "$out"
cp "$build/kernels/patched/.config" "$build/steps.config"
step steps 0 "$lab/enter" "$lab/steps.sh" begin || die "build/steps-src could not be made: see above"
# From the last to the first, as the objects at hand are those of the last.
commits=$("$lab/enter" git -C "$linux" rev-list base..HEAD)
# shellcheck disable=SC2086 # a list
set -- $commits
echo "1..$#"
number=0 failed=0
for commit; do
	number=$((number + 1))
	subject=$("$lab/enter" git -C "$linux" show -s --format=%s "$commit")
	result='ok'
	step "step-$(($# - number + 1))" 0 "$lab/enter" unshare --mount --propagation unchanged \
		"$lab/steps.sh" step "$commit" || {
		result='not ok'
		failed=$((failed + 1))
	}
	echo "$result $number - builds: $subject"
done
rm -rf --one-file-system "$src" "$out"
exit "$failed"
