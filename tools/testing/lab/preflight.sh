#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# shellcheck disable=SC2317 # check calls them
#
# preflight.sh build | guest | guests: what can be known before the first minute is spent. A
# line for each thing that is missing: of what builds need, of what a guest needs as well, of
# what two guests with much pmem need.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

# Of the packages that a minimal Debian may lack.
commands='awk chroot df find flock mount sed setsid sha256sum stat tar unshare'

need_machine() {
	[ "$(uname -m)" = x86_64 ] ||
		die "this machine is $(uname -m): the lab's Debian, kernel and guests are x86_64"
}

# QEMU, make, overlayfs and mmdebstrap each give some of these a meaning.
need_path() {
	case $top in
	*[[:space:],:\'\"\\\$\#%\&\*\?]*)
		die "the path $top has a space or one of , : ' \" \\ \$ # % & * ?: move the repository"
		;;
	esac
}

need_commands() {
	missing=
	for command in $commands; do
		command -v "$command" >/dev/null || missing="$missing $command"
	done
	[ -z "$missing" ] ||
		die "missing programs:$missing: install mawk, findutils, mount, tar and util-linux"
}

failed=0
check() {
	("$@") || failed=1
}

check need_machine
check need_path
check need_commands
check need_root
check need_space 3
case ${1-} in
build) ;;
guest) check need_memory 6144 ;;
guests) check need_memory 16384 ;;
*) die "preflight.sh build, guest or guests" ;;
esac
# A sysroot that is to be made asks for more. With a network in between: last, and only where
# the rest will do.
[ "$failed" -ne 0 ] || check "$lab/sysroot.sh" check
exit "$failed"
